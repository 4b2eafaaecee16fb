"""What travels between the stages, and what a method must give."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from mlu.data.base import TaskName
from mlu.data.split import Batch, Split
from mlu.models.network import Network, Weights
from mlu.models.outputs import Outputs
from mlu.optimise import Tuning
from mlu.seeding import generator
from mlu.tasks import Task

NO_REFERENCE = "there is no Retrain (reference=none)"

Histograms = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Path -> counts and bin edges."""

PlainTable = tuple[list[str], list[list[Any]]]
"""Names of the columns, and rows of text and numbers; None where there is no figure."""


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
        validation: The validation split, to choose between candidates; nothing is trained on it.
        seed: Seed of every random choice of the method; another one in every round.
    """

    net: Network
    original: Network
    task: Task
    request: ForgetRequest
    train: Split
    validation: Split
    seed: int

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @cached_property
    def retain(self) -> Split:
        """Training images without what must be forgotten: the forgotten targets, or the forgotten classes' images."""
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

    The first three map names of the network's parameters to tensors that broadcast to the parameter's shape.

    Attributes:
        weights: Values to start from; a parameter that is not named keeps the original's.
        radius: Largest distance from the start, in units of weight: 0 frozen, inf free; not named: free.
        rate: Factor on every update, in [0, 1]; not named: 1.
        eraser: An affine map of the pooled features to add before the head: matrix (features, features) and offset
            (features,); None for none.
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
        loss: Of a batch of them (augmented), for the network that is tuned: a scalar.
        lr: Learning rate; None for that of the tuning.
        batch_size: Images per step; None for that of the tuning.
        fresh: Whether the optimiser starts anew, without the momentum of earlier passes.
        judge: Makes the network after this pass (in evaluation mode) a candidate for the result: gives its figure, and
            what that should be. Of all candidates the one is kept whose figure is nearest to what the last one wants;
            without any, the last network.
    """

    images: Split
    loss: Callable[[Network, Batch], Tensor]
    lr: float | None = None
    batch_size: int | None = None
    fresh: bool = False
    judge: Callable[[Network], tuple[float, float]] | None = None


class Method(ABC):
    """One way to forget: what it edits, and what it then minimises. A method is one file and one yaml.

    Attributes:
        tasks: The kinds of data that it serves.
        reads_forgotten: Whether, in a multi-label task, it looks at the forgotten target of each training image;
            else it knows the share of positives at most.
        name: Name of its yaml.
        tuning: Fine-tuning after the edit.
        rounds: How often edit and fine-tuning are repeated.
    """

    tasks: ClassVar[tuple[TaskName, ...]] = ("multilabel", "singlelabel")
    reads_forgotten: ClassVar[bool]
    name: str
    tuning: Tuning = Tuning(steps=0)
    rounds: int = 1

    @abstractmethod
    def edit(self, problem: Problem) -> Edit:
        """Weights to start fine-tuning from, and how far each may drift. Must not change `problem`."""

    @abstractmethod
    def passes(self, problem: Problem) -> Sequence[Pass]:
        """The epochs of fine-tuning; none where there is no fine-tuning. Must not change `problem`."""


@dataclass(frozen=True)
class Finding:
    """One measured figure.

    Attributes:
        path: Where it stands in the results, such as `test/retained/accuracy`.
        value: The figure; None where it could not be computed.
        low: Lower end of its 95 % interval, where it has one.
        high: Upper end.
        missing: Why there is no value; None where there is one.
        p_value: How often chance alone gives as much, where that was asked.
    """

    path: str
    value: float | None
    low: float | None = None
    high: float | None = None
    missing: str | None = None
    p_value: float | None = None

    def under(self, prefix: str) -> "Finding":
        return replace(self, path=f"{prefix}/{self.path}")


@dataclass(frozen=True)
class Canaries:
    """Training images whose forgotten targets show what a label leaves behind, each of shape (training images,).

    Attributes:
        supervised: Whether the original learnt the image's forgotten targets; else they were withheld from it.
        flipped: Whether they are the wrong way round: learnt so where supervised, asked about so elsewhere.
    """

    supervised: np.ndarray
    flipped: np.ndarray


@dataclass(frozen=True)
class Shadows:
    """Models that an attacker trained as the victim was, each on the images of half of all people.

    Attributes:
        inside: Whose training held which image, bool, shape (shadows, images): training images first, then test images.
        logits: What each says, by split, shape (shadows, images, labels).
    """

    inside: np.ndarray
    logits: Mapping[str, Tensor]


@dataclass(frozen=True)
class Victim:
    """A model as an attacker meets it.

    Attributes:
        net: The model, in evaluation mode. Never written to.
        task: What its outputs mean.
        request: The forgotten columns are what the attacker wants.
        splits: Images and true targets: `train`, `validation`, `test`.
        outputs: What the model says of them; of those that it was not trained on with `stages`.
        canaries: None where the original learnt all targets.
        original: What the original says of the same images, by split.
        retrain: What Retrain says of them; None where there is none.
        shadows: Shadow models of the original: so many, so many trained side by side.
        matched: Shadow models that went through all that the victim went through, forgetting included.
        seed: Of every random choice of an attack.
    """

    net: Network
    task: Task
    request: ForgetRequest
    splits: Mapping[str, Split]
    outputs: Mapping[str, Outputs]
    canaries: Canaries | None
    original: Mapping[str, Outputs]
    retrain: Mapping[str, Outputs] | None
    shadows: Callable[[int, int], Shadows]
    matched: Callable[[int, int], Shadows]
    seed: int


@dataclass(frozen=True, eq=False)
class Trial:
    """What an attacker said about images that it did not learn from, and the truth.

    Attributes:
        scores: float64, shape (images,); above 0 the attacker says yes.
        truth: Whether yes is right, bool, shape (images,).
        persons: Number of the person on each image, shape (images,).
    """

    scores: np.ndarray
    truth: np.ndarray
    persons: np.ndarray


@dataclass(frozen=True, eq=False)
class Recovery:
    """How a forgotten label came back in fine-tuning.

    Attributes:
        steps: After which it was looked for, ascending, the last is the cap, shape (looks,).
        balanced_accuracy: What was found there on test images, shape (draws, looks).
        goal: What counts as back, shape ().
    """

    steps: np.ndarray
    balanced_accuracy: np.ndarray
    goal: np.ndarray


Kind = TypeVar("Kind", Trial, Recovery)

Evidence = Mapping[str, Kind | str]
"""By the path of the findings that it leads to; where there is none, why."""


class Attack(ABC, Generic[Kind]):
    """One way to learn from a model what it should have forgotten. An attack is one file and one yaml.

    Attributes:
        name: First part of the paths of its evidence.
    """

    name: ClassVar[str]

    def prepare(self, victim: Victim) -> None:
        """Have made what `observe` will ask for: here jobs share the work, there all wait for the one that gathers."""
        return

    @abstractmethod
    def observe(self, victim: Victim) -> Evidence[Kind]:
        """All that this attack learns from one model. Kept in the cache, so it depends on nothing but the victim."""

    def without_model(self, victim: Victim) -> Evidence[Kind]:
        """What the attacker knows without looking at any model: the victim's images and targets alone."""
        return {}

    @abstractmethod
    def conclude(self, evidence: Evidence[Kind]) -> Iterable[Finding]:
        """Every figure that the evidence of one model gives by itself."""

    @abstractmethod
    def compare(self, evidence: Evidence[Kind], reference: Evidence[Kind] | None) -> Iterable[Finding]:
        """Every figure that is relative to Retrain.

        Args:
            evidence: Of one model.
            reference: Of Retrain; None where there is none.
        """
