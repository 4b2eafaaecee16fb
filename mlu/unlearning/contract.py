"""The contract of a method: what it is given, and what it must give."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from mlu.data.base import TaskName
from mlu.data.split import Split
from mlu.models.network import Network, Weights
from mlu.models.tasks import ForgetRequest, Task
from mlu.system.seeding import generator
from mlu.training.optimise import Tuning


@dataclass(frozen=True)
class Problem:
    """All that a method may use to forget.

    Attributes:
        net: The network to score and to edit, in evaluation mode: the original, or what an earlier
            round left. Never written to.
        original: The original network, as a teacher. Never written to.
        task: Losses and predictions of its outputs.
        request: The columns to forget and to retain.
        train: The training split, plain images with all targets.
        validation: The validation split, to choose between candidates; nothing is trained on it.
        seed: Seed of every random choice of the method; another one in every round.
        retraining: Image passes, forward and backward counted apart, that training without the
            label would take; None where that is not known.
    """

    net: Network
    original: Network
    task: Task
    request: ForgetRequest
    train: Split
    validation: Split
    seed: int
    retraining: int | None = None

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @cached_property
    def retain(self) -> Split:
        """Training images without what must be forgotten: targets, or images of classes."""
        return self.task.without(self.train, self.request.forgotten)

    @cached_property
    def forget(self) -> Split:
        """Training images with nothing but what must be forgotten."""
        return self.task.only(self.train, self.request.forgotten)

    def generator(self) -> torch.Generator:
        """A fresh generator on the CPU, in the same state at every call."""
        return generator(self.seed)


@dataclass(frozen=True)
class Edit:
    """Where fine-tuning starts, and how far and how fast each weight may go from there.

    The first three map names of the network's parameters to tensors that broadcast to the
    parameter's shape.

    Attributes:
        weights: Values to start from; a parameter that is not named keeps the original's.
        radius: Largest distance from the start, in units of weight: 0 frozen, inf free; not named:
            free.
        rate: Factor on every update, in [0, 1]; not named: 1.
        eraser: An affine map of the pooled features to add before the head: matrix (features,
            features) and offset (features,); None for none.
    """

    weights: Weights = field(default_factory=dict)
    radius: Weights = field(default_factory=dict)
    rate: Weights = field(default_factory=dict)
    eraser: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One epoch of fine-tuning.

    Attributes:
        images: What it goes through, once, shuffled.
        loss: Of a batch of them (augmented), for the network that is tuned: a scalar. With
            `beside` it is given a batch of those as well.
        beside: Images of which a batch accompanies each batch of `images`, as often as that takes,
            shuffled anew each time; None for none.
        lr: Learning rate; None for that of the tuning.
        batch_size: Images per step; None for that of the tuning.
        beside_size: Images of `beside` per step; None for as many.
        fresh: Whether the optimiser starts anew, without the momentum of earlier passes.
        judge: Makes the network after this pass (in evaluation mode) a candidate for the result:
            gives its figure, and what that should be. Of all candidates the one is kept whose
            figure is nearest to what the last one wants; without any, the last network.
    """

    images: Split
    loss: Callable[..., Tensor]
    beside: Split | None = None
    lr: float | None = None
    batch_size: int | None = None
    beside_size: int | None = None
    fresh: bool = False
    judge: Callable[[Network], tuple[float, float]] | None = None


class Method(ABC):
    """One way to forget: what it edits, and what it then minimises.

    A method is one file and one yaml. It is a dataclass: its fields are the keys of its yaml, and
    with them what it makes is kept in the cache.

    Attributes:
        tasks: The kinds of data that it serves.
        reads_forgotten: Whether, in a multi-label task, it looks at the forgotten target of each
            training image; else it knows the share of positives at most.
        name: Name of its yaml.
        tuning: Fine-tuning after the edit.
        rounds: How often edit and fine-tuning are repeated.
        verify: Most balanced accuracy that whoever carries out the rounds may find of a forgotten
            label to end them before the last; None where nobody asks.
    """

    tasks: ClassVar[tuple[TaskName, ...]] = ("multilabel", "singlelabel")
    reads_forgotten: ClassVar[bool]
    name: str
    tuning: Tuning = Tuning(steps=0)
    rounds: int = 1
    verify: float | None = None

    def within(self, problem: Problem) -> "Method":
        """The method with settings that its own limit on work allows for a problem.

        Most have no such limit.
        """
        return self

    @abstractmethod
    def edit(self, problem: Problem) -> Edit:
        """Weights to start fine-tuning from, and how far each may drift.

        It must not change `problem`.
        """

    def choice(self, problem: Problem) -> Weights | None:
        """The forget set W_f (paper, Section 3): weights that `edit` treats, bool, by layer.

        None of a method that chooses no weights. It must not change `problem`.
        """
        return None

    @abstractmethod
    def passes(self, problem: Problem) -> Sequence[Pass]:
        """The epochs of fine-tuning; none where there is no fine-tuning.

        It must not change `problem`.
        """

    def finish(self, problem: Problem, net: Network) -> Network:
        """The network with a last touch, after fine-tuning and new statistics; most have none.

        It must not change `problem`, and may change the network, which is in evaluation mode and
        without gradients.
        """
        return net
