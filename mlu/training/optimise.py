"""Stochastic optimisation as every training here uses it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, LRScheduler, OneCycleLR

from mlu.data.augment import AugmentName

LOWEST_RESTART = 0.05
"""Where a warm-restart cycle ends, as a share of `lr` (CF-k's source: from 0.1 to 0.005)."""


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """An optimiser and its learning rate.

    Attributes:
        batch_size: Images per step.
        lr: Learning rate; its peak where the schedule has one.
        optimiser: `sgd`, or `adam` (which has no use for `momentum`).
        momentum: In [0, 1).
        weight_decay: Added to the gradient as `weight_decay * weight`.
        schedule: `constant`; `one_cycle` (up to `lr`, then down to nearly zero); or `warm_restarts`
            (cosine cycles of 1, 2, 4, ... epochs).
        clip: Largest norm of a step's gradient; None for no limit.
    """

    batch_size: int
    lr: float
    optimiser: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "one_cycle", "warm_restarts"] = "constant"
    clip: float | None = None


@dataclass(frozen=True, kw_only=True)
class Training(Optimisation):
    """Training of the original, Retrain and every other model that starts from scratch.

    Attributes:
        epochs: Passes over the training split.
    """

    epochs: int

    def remedy(self, stage: str) -> str:
        """Advice where the training of `stage` diverges."""
        return f"{stage}: training diverged, lower training.lr={self.lr:g}"


@dataclass(frozen=True, kw_only=True)
class Tuning(Optimisation):
    """Fine-tuning after an edit: some epochs or some steps, whichever ends first.

    With 0 of either there is none.

    Attributes:
        epochs: Passes over the images that the method asks for; None for no limit.
        steps: Number of optimiser steps; None for no limit.
        recalibrate: Training images for new batch-norm statistics after the last step (steps
            themselves use those of their batch); 0 keeps the running average of the steps.
        augment: What is done to images: as in training (`paper`), cut at random out of a border and
            mirrored (`crop`), or nothing (`none`).
        statistics: What batch norms normalise by: those of each `batch`; the ones that they have
            `kept`, which then stay; or the first where their own weights are `free` to move, and
            the second where these are frozen.
    """

    batch_size: int = 64
    lr: float = 0.01
    epochs: int | None = None
    steps: int | None = None
    recalibrate: int = 0
    augment: AugmentName = "paper"
    statistics: Literal["free", "batch", "kept"] = "free"

    def steps_over(self, images: int) -> int:
        """Optimiser steps that fine-tuning makes, of so many images an epoch.

        >>> Tuning(epochs=2, batch_size=8).steps_over(64), Tuning(steps=3).steps_over(64)
        (16, 3)
        """
        batches = max(1, math.ceil(images / self.batch_size))
        steps = self.epochs_of(batches) * batches
        return steps if self.steps is None else min(steps, self.steps)

    @property
    def makes_steps(self) -> bool:
        """Whether there is any fine-tuning."""
        return self.steps != 0 and self.epochs != 0

    def remedy(self, method: str) -> str:
        """Advice where fine-tuning by a method diverges."""
        return f"{method}: choose milder settings, such as a lower method.tuning.lr={self.lr:g}"

    def epochs_of(self, batches: int) -> int:
        """Epochs of `batches` steps each that fine-tuning begins."""
        by_steps = math.inf if self.steps is None else math.ceil(self.steps / max(batches, 1))
        return int(min(by_steps, math.inf if self.epochs is None else self.epochs))


def optimiser_of(
    net: nn.Module, settings: Optimisation, steps: int, lrs: Sequence[float]
) -> dict[str, Any]:
    """An optimiser and its schedule, in the form that Lightning's `configure_optimizers` returns.

    Args:
        net: What it moves.
        settings: Which optimiser, and the shape of its schedule.
        steps: Number of all steps.
        lrs: Learning rate of each epoch (their peak, where the schedule has one).
    """
    parameters, lr, decay = net.parameters(), settings.lr, settings.weight_decay
    if settings.optimiser == "adam":
        optimiser: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=lr, weight_decay=decay)
    else:
        optimiser = torch.optim.SGD(
            parameters, lr=lr, momentum=settings.momentum, weight_decay=decay
        )

    schedule: LRScheduler
    if settings.schedule == "constant":
        schedule = LambdaLR(optimiser, lambda epoch: lrs[min(epoch, len(lrs) - 1)] / lr)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "epoch"},
        }

    if settings.schedule == "one_cycle":
        schedule = OneCycleLR(optimiser, lr, total_steps=steps, cycle_momentum=False)
    else:
        epoch = math.ceil(steps / len(lrs))
        schedule = CosineAnnealingWarmRestarts(
            optimiser, T_0=epoch, T_mult=2, eta_min=LOWEST_RESTART * lr
        )

    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
