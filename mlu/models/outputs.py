"""A model's answers for every image, computed once and read by every metric and attack."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlu.data.split import Split
from mlu.models.network import Network, channel_means
from mlu.system.collectives import all_gather, round_robin

_IMAGES_AT_ONCE = 512


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
        traced: Rows that the stages are of, ascending; None where they are of all images.
    """

    logits: Tensor
    targets: Tensor
    known: Tensor
    identities: np.ndarray
    stages: Mapping[str, Tensor] = field(default_factory=dict)
    traced: Tensor | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def subset(self, rows: Tensor) -> "Outputs":
        """The given images; without stages where these are of some images only."""
        stages = {}
        if self.traced is None:
            stages = {name: means[rows] for name, means in self.stages.items()}

        return Outputs(
            self.logits[rows],
            self.targets[rows],
            self.known[rows],
            self.identities[rows.numpy()],
            stages,
        )

    def with_stages(self) -> "Outputs":
        """The images whose stages were kept."""
        if self.traced is None:
            return self
        return replace(self.subset(self.traced), stages=self.stages)


def respond(net: Network, split: Split) -> tuple[Tensor, Tensor]:
    """Logits and features of all images of a split, without augmentation, on the CPU. One pass."""
    last = list(net.stages)[-1]
    logits, stages = trace(net, split, [last])
    return logits, stages[last]


def respond_by_stage(
    net: Network, split: Split, traced: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of all images, and `Outputs.stages` of the images `traced`, otherwise as `respond`."""
    return trace(net, split, list(net.stages), traced)


@torch.no_grad()
def trace(
    net: Network, split: Split, watched: list[str], traced: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and of each stage that is watched the means of its channels.

    Leaves the network in evaluation mode.

    Args:
        net: To ask.
        split: All its images are passed through.
        watched: Names of stages.
        traced: Rows of the images whose means are kept, ascending; None for all.
    """
    device = next(net.parameters()).device
    net.eval()
    wanted = torch.ones(len(split), dtype=torch.bool)
    if traced is not None:
        wanted = torch.zeros_like(wanted).index_fill_(0, traced, True)

    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen[name] = channel_means(output, net.stages[name].axis)

    hooks = [
        net.body.get_submodule(net.stages[name].module).register_forward_hook(partial(keep, name))
        for name in watched
    ]
    rows_of = torch.arange(len(split)).split(_IMAGES_AT_ONCE)
    batches = zip(rows_of, wanted.split(_IMAGES_AT_ONCE), strict=True)
    found: dict[int, list[Tensor]] = {}
    try:
        for number, ((rows, now), mine) in enumerate(round_robin(batches)):
            if mine:
                logits = net(split[rows].images.to(device))
                means = [seen[name][now.to(device)] for name in watched]
                found[number] = [values.float().cpu() for values in (logits, *means)]
    finally:
        for hook in hooks:
            hook.remove()

    logits, *means_of = map(torch.cat, zip(*all_gather(found), strict=True))

    return logits, dict(zip(watched, means_of, strict=True))


def outputs_of(
    split: Split,
    logits: Tensor,
    stages: Mapping[str, Tensor] | None = None,
    traced: Tensor | None = None,
) -> Outputs:
    return Outputs(logits, split.targets, split.known, split.identities, stages or {}, traced)


def joined_outputs(*parts: Outputs) -> Outputs:
    """One after another, without stages."""
    return Outputs(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.targets for part in parts]),
        torch.cat([part.known for part in parts]),
        np.concatenate([part.identities for part in parts]),
    )
