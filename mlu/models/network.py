"""The one shape that every model has here: a body that gives pooled features, and a linear head."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mlu.system.collectives import all_gather_batch

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's colour channels, for images in [0, 1]."""

POOL = "pool"
"""Name of the stage that pools maps or tokens to features."""

ERASER = "erase"
"""Name of the stage that `Network.erase` adds."""

WHOLE = "whole"
"""Name of the only part of a body that was made elsewhere."""

ANSWER = "answer"
"""Name of the stage behind it that takes the tensor out of what it returns, where that is none."""

ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
"""What nn.MultiheadAttention has instead of linear layers: one matrix for queries, keys and values,
or three."""

Weights = Mapping[str, Tensor]
"""Tensors by the names of a network's parameters."""

Renames = Sequence[tuple[str, str]]
"""Regular expressions, applied in turn, and what takes their place: from somebody else's names of
weights to ours."""


class Stage(NamedTuple):
    """Where what a stage gives can be seen.

    Attributes:
        module: Name in the body.
        axis: Of its output, on which the channels lie: 1 of maps and features, -1 of tokens.
    """

    module: str
    axis: int = 1


class Body(nn.Sequential):
    """Named stages from normalised images to pooled features, shape (batch, features)."""


class Taken(nn.Module):
    """A tensor of an object, such as the models of Hugging Face return, by its name there."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, said: Any) -> Tensor:
        found: Tensor = getattr(said, self.name)
        return found


class Network(nn.Module):
    """A classifier of images, uint8 or float in [0, 1], with one logit per label.

    Attributes:
        body: Stages in order, of which the last pools and flattens; or one part that was made
            elsewhere.
        head: Linear map from features to logits; row k belongs to label k.
        stages: What an attacker may look at, by name and in order; the last gives what the head
            reads.
        renames: Of weights that were saved under the names of whoever made the architecture.
        pixels: Whether images are what is said above, and normalised here; else they are whatever
            the body takes, which gets them as they are.
    """

    mean: Tensor
    std: Tensor
    pixels: bool = True

    def __init__(
        self,
        stages: "OrderedDict[str, nn.Module]",
        features: int,
        labels: int,
        *,
        within: Mapping[str, Stage] | None = None,
        renames: Renames = (),
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        """Join a body to a new head.

        Args:
            stages: Of the body.
            features: Numbers that the last stage gives of an image.
            labels: Number of logits.
            within: What an attacker may look at, where that is not just the end of each stage.
            renames: See above.
            mean: Of the colour channels, for images in [0, 1].
            std: Likewise.
        """
        super().__init__()
        self.body = Body(stages)
        self.head = nn.Linear(features, labels)
        self.stages = dict(stage_ends(stages) if within is None else within)
        self.renames = renames

        # Constants of the architecture, no state: a user's weights need not hold them.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

        # Convolutions, on CPUs and GPUs alike, are fastest when the channels of a pixel lie side by
        # side.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def around(cls, body: nn.Module, head: nn.Linear, named: str | None = None) -> "Network":
        """A network that was made elsewhere.

        Args:
            body: Gives pooled features of whatever its images are.
            head: Reads them.
            named: Name of these features in the object that the body returns; None where it
                returns them themselves.
        """
        net = cls(OrderedDict(), head.in_features, head.out_features)
        net.body.add_module(WHOLE, body)
        net.head, net.pixels, net.stages = head, False, {WHOLE: Stage(WHOLE)}

        if named is not None:
            net.body.add_module(ANSWER, Taken(named))
            net.stages = {WHOLE: Stage(ANSWER)}

        return net

    def erase(self, matrix: Tensor, offset: Tensor) -> None:
        """Add a last stage to the body: features become `matrix @ features + offset`.

        A second one joins the first.
        """
        earlier = getattr(self.body, ERASER, None)
        if earlier is not None:
            offset = matrix @ earlier.bias.detach() + offset
            matrix = matrix @ earlier.weight.detach()

        layer = nn.Linear(len(offset), len(offset)).to(offset)
        layer.load_state_dict({"weight": matrix, "bias": offset})
        self.body.add_module(ERASER, layer)
        self.stages[ERASER] = Stage(ERASER)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features, shape (batch, features); of all ranks' rows while `data_parallel`."""
        if not self.pixels:
            return all_gather_batch(self.body(images))

        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        images = (images - self.mean) / self.std
        return all_gather_batch(self.body(images.contiguous(memory_format=torch.channels_last)))

    def denormalised(self, images: Tensor) -> Tensor:
        """Images that the network takes, of normalised ones, shape (batch, 3, height, width).

        In [0, 1] and beyond.
        """
        return images * self.std + self.mean if self.pixels else images

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, labels)."""
        logits: Tensor = self.head(self.features(images))
        return logits


@contextmanager
def watched(net: Network, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Within it, whenever the network runs, the means of the channels at some stages.

    With their gradients, by name, shape (batch, channels), of all ranks' rows while
    `data_parallel`.
    """
    means: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        means[name] = all_gather_batch(channel_means(output, net.stages[name].axis))

    with hooked(net, names, keep):
        yield means


@contextmanager
def hooked(net: Network, names: Iterable[str], see: Callable[..., None]) -> Iterator[None]:
    """Within it `see` is called whenever one of some stages has run.

    It is given the stage's name, module, inputs (a tuple) and output.
    """
    hooks = []
    try:
        for name in names:
            module = net.body.get_submodule(net.stages[name].module)
            hooks.append(module.register_forward_hook(partial(see, name)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def stage_ends(stages: Iterable[str]) -> dict[str, Stage]:
    """End of each stage of a sequence.

    Pooling gives the means of the maps before it: no other stage.
    """
    found, last = {}, POOL
    for name in stages:
        last = last if name == POOL else name
        found[last] = Stage(name)
    return found


def channel_means(output: Tensor, axis: int) -> Tensor:
    """Means of maps over pixels or of an image's tokens, shape (batch, channels).

    Features are given back as they are.

    Args:
        output: Of a stage; images lie on the first axis.
        axis: On which the channels lie.
    """
    others = [number for number in range(1, output.ndim) if number != axis % output.ndim]
    return output.mean(others) if others else output


def channel_spread(maps: Tensor, axis: int) -> Tensor:
    """Deviations and maxima of maps over pixels or of an image's tokens, shape (batch, 2 channels).

    The deviation is that of the pixels at hand (n, not n - 1).

    Args:
        maps: As a stage gives them; images lie on the first axis.
        axis: On which the channels lie.
    """
    others = [number for number in range(1, maps.ndim) if number != axis % maps.ndim]
    return torch.cat([maps.std(others, correction=0), maps.amax(others)], 1)


def maps_of(taken: Any, output: Tensor, axis: int) -> tuple[Tensor, int] | None:
    """The maps or tokens of a stage, and the axis of their channels; None where it has none.

    Of a stage that pools they are what it took.

    Args:
        taken: What the stage's module took; images lie on the first axis. A tensor, or no maps.
        output: What it gave.
        axis: Of the channels of the output.
    """
    if output.ndim > 2:
        return output, axis
    if isinstance(taken, Tensor) and taken.ndim == 4 and taken.shape[1] == output.shape[1]:
        return taken, 1
    return None


def matrices(module: nn.Module) -> list[str]:
    """Names of the weights that a convolution, a linear layer or attention multiplies by.

    >>> matrices(nn.MultiheadAttention(4, num_heads=1)), matrices(nn.LayerNorm(4))
    (['in_proj_weight'], [])
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        return ["weight"]
    if isinstance(module, nn.MultiheadAttention):
        return [name for name in ATTENTION if getattr(module, name) is not None]
    return []
