"""Training images with withheld or wrong forgotten targets, to see what a label leaves behind."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from mlu.attacks.contract import Canaries
from mlu.data.split import Split
from mlu.models.tasks import ForgetRequest


@dataclass(frozen=True, kw_only=True)
class CanaryShares:
    """The keys of `canaries` in the configuration.

    Attributes:
        withheld: Share of training images whose forgotten targets the original does not learn, in
            [0, 1).
        flipped: Share of them whose forgotten targets are turned round, on both sides, in [0, 1].
    """

    withheld: float
    flipped: float


def canaries_of(split: Split, shares: CanaryShares) -> Canaries | None:
    """Which images of the training split are canaries; None where no target is withheld.

    It depends on an image's place in the data set alone, so that it is the same in every run.
    """
    if shares.withheld == 0:
        return None

    draws = np.random.default_rng(0).random((split.rows.max() + 1, 2))[split.rows]
    return Canaries(
        supervised=draws[:, 0] >= shares.withheld,
        flipped=draws[:, 1] < shares.flipped,
    )


def planted(split: Split, request: ForgetRequest, canaries: Canaries | None) -> Split:
    """The training split as the original learns it."""
    if canaries is None:
        return split

    columns = list(request.forgotten)
    targets = split.targets.clone()
    turned = torch.from_numpy(canaries.flipped)
    targets[:, columns] = torch.where(turned[:, None], 1 - targets[:, columns], targets[:, columns])

    return replace(split, targets=targets).withhold(columns, torch.from_numpy(~canaries.supervised))
