"""Training images whose forgotten targets are withheld or turned round, to see what a label leaves
behind."""

from dataclasses import replace

import numpy as np
import torch

from mlu.attacks.contract import Canaries
from mlu.data.split import Split
from mlu.models.tasks import ForgetRequest


def canaries_of(split: Split, withheld: float, flipped: float) -> Canaries | None:
    """Which images of the training split are canaries; None where no target is withheld.

    It depends on an image's place in the data set alone, so that it is the same in every run.

    Args:
        split: The training split.
        withheld: Share of images whose forgotten targets the original does not learn, in [0, 1).
        flipped: Share of images whose forgotten targets are turned round, on both sides, in [0, 1].
    """
    if withheld == 0:
        return None
    draws = np.random.default_rng(0).random((split.rows.max() + 1, 2))[split.rows]
    return Canaries(draws[:, 0] >= withheld, draws[:, 1] < flipped)


def planted(split: Split, request: ForgetRequest, canaries: Canaries | None) -> Split:
    """The training split as the original learns it."""
    if canaries is None:
        return split
    columns = list(request.forgotten)
    targets = split.targets.clone()
    turned = torch.from_numpy(canaries.flipped)
    targets[:, columns] = torch.where(turned[:, None], 1 - targets[:, columns], targets[:, columns])
    return replace(split, targets=targets).withhold(columns, torch.from_numpy(~canaries.supervised))
