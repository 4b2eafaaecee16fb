"""Stochastic gradient descent as every training here uses it."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Schedule = Literal["constant", "one_cycle"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the original, Retrain and every other model that starts from scratch is trained.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Images per step.
        lr: Learning rate of SGD; its peak under `one_cycle`.
        momentum: In [0, 1).
        weight_decay: Added to the gradient as `weight_decay * weight`.
        schedule: `constant`, or `one_cycle` (up to `lr`, then down to nearly zero).
    """

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    schedule: Schedule


def sgd(
    net: nn.Module, lr: float, momentum: float, weight_decay: float, schedule: Schedule, total_steps: int
) -> dict[str, Any]:
    """SGD and its schedule, in the form that Lightning's `configure_optimizers` returns."""
    optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    if schedule == "constant":
        return {"optimizer": optimiser}
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=total_steps, cycle_momentum=False)
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": one_cycle, "interval": "step"}}
