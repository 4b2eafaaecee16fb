"""A model's answers for every image, computed once and read by every metric and attack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlu.data.split import Split
from mlu.models.network import Network, channel_means, channel_spread, hooked, maps_of
from mlu.system.collectives import all_gather, round_robin

_IMAGES_AT_ONCE = 512

_LOGITS, _MEANS, _SPREAD = "logits", "means", "spread"


@dataclass(frozen=True)
class Outputs:
    """A model's outputs on one split, on the CPU.

    Attributes:
        logits: float32, shape (images, labels).
        targets: 0 or 1, shape (images, labels).
        known: False where a target is undefined, shape (images, labels).
        identities: Number of the person on each image, shape (images,).
        stages: By the name of each stage of the body, in order, the means of its channels over an
            image's pixels or tokens, float32, shape (images, channels); the last are the features
            that the head reads. Empty where they were not kept.
        spreads: Of the stages that have maps or tokens, the deviations and then the maxima of the
            same channels, float32, shape (images, 2 channels).
        traced: Rows that the stages are of, ascending; None where they are of all images.
    """

    logits: Tensor
    targets: Tensor
    known: Tensor
    identities: np.ndarray
    stages: Mapping[str, Tensor] = field(default_factory=dict)
    spreads: Mapping[str, Tensor] = field(default_factory=dict)
    traced: Tensor | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def subset(self, rows: Tensor) -> "Outputs":
        """The given images; without stages where these are of some images only."""
        stages, spreads = {}, {}
        if self.traced is None:
            stages = {name: means[rows] for name, means in self.stages.items()}
            spreads = {name: spread[rows] for name, spread in self.spreads.items()}

        return Outputs(
            self.logits[rows],
            self.targets[rows],
            self.known[rows],
            self.identities[rows.numpy()],
            stages,
            spreads,
        )

    def with_stages(self) -> "Outputs":
        """The images whose stages were kept."""
        if self.traced is None:
            return self
        return replace(self.subset(self.traced), stages=self.stages, spreads=self.spreads)


@dataclass(frozen=True)
class Answers:
    """Answers of a network to the images of a split, on the CPU.

    Attributes:
        logits: Of all of them, shape (images, labels).
        stages: `Outputs.stages` of those that were watched.
        spreads: `Outputs.spreads` of those.
    """

    logits: Tensor
    stages: Mapping[str, Tensor] = field(default_factory=dict)
    spreads: Mapping[str, Tensor] = field(default_factory=dict)


def respond(net: Network, split: Split) -> tuple[Tensor, Tensor]:
    """Logits and features of all images of a split, without augmentation, on the CPU. One pass."""
    last = list(net.stages)[-1]
    said = trace(net, split, [last], spreads=False)
    return said.logits, said.stages[last]


def respond_by_stage(net: Network, split: Split, traced: Tensor | None = None) -> Answers:
    """Logits of all images, and stages of the images `traced`, otherwise as `respond`."""
    return trace(net, split, list(net.stages), traced)


@torch.no_grad()
def trace(
    net: Network,
    split: Split,
    watched: list[str],
    traced: Tensor | None = None,
    spreads: bool = True,
) -> Answers:
    """Logits, and of each stage that is watched the means, deviations and maxima of its channels.

    Leaves the network in evaluation mode.

    Args:
        net: To ask.
        split: All its images are passed through.
        watched: Names of stages.
        traced: Rows of the images of which that is kept, ascending; None for all.
        spreads: Whether deviations and maxima are wanted, besides the means.
    """
    device = next(net.parameters()).device
    net.eval()
    wanted = torch.ones(len(split), dtype=torch.bool)
    if traced is not None:
        wanted = torch.zeros_like(wanted).index_fill_(0, traced, True)

    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        axis = net.stages[name].axis
        seen[f"{name} {_MEANS}"] = channel_means(output, axis)
        maps = maps_of(inputs[0], output, axis) if spreads else None
        if maps is not None:
            seen[f"{name} {_SPREAD}"] = channel_spread(*maps)

    rows_of = torch.arange(len(split)).split(_IMAGES_AT_ONCE)
    batches = zip(rows_of, wanted.split(_IMAGES_AT_ONCE), strict=True)
    found: dict[int, dict[str, Tensor]] = {}
    with hooked(net, watched, keep):
        for number, ((rows, now), mine) in enumerate(round_robin(batches)):
            if mine:
                logits = net(split[rows].images.to(device))
                kept = {name: values[now.to(device)] for name, values in seen.items()}
                said = {_LOGITS: logits, **kept}
                found[number] = {name: values.float().cpu() for name, values in said.items()}

    batches_of = all_gather(found)
    whole = {name: torch.cat([said[name] for said in batches_of]) for name in batches_of[0]}

    return Answers(
        whole[_LOGITS],
        {name: whole[f"{name} {_MEANS}"] for name in watched},
        {name: whole[key] for name in watched if (key := f"{name} {_SPREAD}") in whole},
    )


def outputs_of(split: Split, said: Answers, traced: Tensor | None = None) -> Outputs:
    """Answers of a network to a split's images, with their targets.

    Args:
        split: The images.
        said: Of all of them.
        traced: Rows of those of which the stages are; None for all.
    """
    return Outputs(
        said.logits,
        split.targets,
        split.known,
        split.identities,
        said.stages,
        said.spreads,
        traced,
    )


def joined_outputs(*parts: Outputs) -> Outputs:
    """One after another, with the stages that all of them have of all their images."""
    whole = all(part.traced is None for part in parts)
    stages = joined_by_name([part.stages for part in parts]) if whole else {}
    spreads = joined_by_name([part.spreads for part in parts]) if whole else {}

    return Outputs(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.targets for part in parts]),
        torch.cat([part.known for part in parts]),
        np.concatenate([part.identities for part in parts]),
        stages,
        spreads,
    )


def joined_by_name(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One after another, of each name that all parts have, in the order of the first."""
    joined = {}
    for name in parts[0]:
        if all(name in part for part in parts):
            joined[name] = torch.cat([part[name] for part in parts])
    return joined
