"""What travels between the stages, and what a method must give."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mlu.data.base import TaskName
from mlu.data.split import Batch, Split
from mlu.models.network import Network, Weights
from mlu.seeding import generator
from mlu.tasks import Task

Histograms = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Path -> counts and bin edges."""


@dataclass(frozen=True)
class ForgetRequest:
    """Which labels to forget. Numbers are columns: the last axis of logits and targets."""

    forgotten: tuple[int, ...]
    retained: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """All that a method may use to forget.

    Attributes:
        net: The network to score and to edit, in evaluation mode: the original, or what an earlier round left. Never
            written to.
        original: The original network, as a teacher. Never written to.
        task: Losses and predictions of its outputs.
        request: The columns to forget and to retain.
        train: The training split, plain images with all targets.
        seed: Seed of every random choice of the method; another one in every round.
    """

    net: Network
    original: Network
    task: Task
    request: ForgetRequest
    train: Split
    seed: int

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def generator(self) -> torch.Generator:
        """A fresh generator on the CPU, in the same state at every call."""
        return generator(self.seed)


@dataclass(frozen=True)
class Edit:
    """Where fine-tuning starts, and how far and how fast each weight may go from there.

    All three map names of the network's parameters to tensors that broadcast to the parameter's shape.

    Attributes:
        weights: Values to start from; a parameter that is not named keeps the original's.
        radius: Largest distance from the start, in units of weight: 0 frozen, inf free; not named: free.
        rate: Factor on every update, in [0, 1]; not named: 1.
    """

    weights: Weights = field(default_factory=dict)
    radius: Weights = field(default_factory=dict)
    rate: Weights = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Fine-tuning after an edit.

    Attributes:
        steps: Number of optimiser steps; 0 for none.
        batch_size: Images per step.
        lr: Peak learning rate of SGD.
        momentum: In [0, 1).
        weight_decay: Added to the gradient as `weight_decay * weight`.
        schedule: `constant`, or `one_cycle` (up to `lr` and down to nearly zero).
        recalibrate: Training images for new batch-norm statistics after the last step (steps themselves use those of
            their batch); 0 keeps what is there.
    """

    steps: int = 0
    batch_size: int = 64
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "one_cycle"] = "constant"
    recalibrate: int = 0


class Method(ABC):
    """One way to forget: what it edits, and what it then minimises. A method is one file and one yaml.

    Attributes:
        tasks: The kinds of data that it serves.
        name: Name of its yaml.
        tuning: Fine-tuning after the edit; its objective is not asked for with 0 steps.
        rounds: How often edit and fine-tuning are repeated.
    """

    tasks: ClassVar[tuple[TaskName, ...]] = ("multilabel", "singlelabel")
    name: str
    tuning: Tuning
    rounds: int = 1

    @abstractmethod
    def edit(self, problem: Problem) -> Edit:
        """Weights to start fine-tuning from, and how far each may drift. Must not change `problem`."""

    @abstractmethod
    def objective(self, net: Network, batch: Batch, problem: Problem, epoch: int) -> Tensor:
        """Loss of one fine-tuning batch (augmented training images), a scalar."""


@dataclass(frozen=True)
class Finding:
    """One measured figure.

    Attributes:
        path: Where it stands in the results, such as `test/retained/accuracy`.
        value: The figure; None where it could not be computed.
        low: Lower end of its 95 % interval, where it has one.
        high: Upper end.
        missing: Why there is no value; None where there is one.
    """

    path: str
    value: float | None
    low: float | None = None
    high: float | None = None
    missing: str | None = None

    def under(self, prefix: str) -> "Finding":
        return replace(self, path=f"{prefix}/{self.path}")
