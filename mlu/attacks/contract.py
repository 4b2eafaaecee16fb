"""What an attack is given, and what it must give."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic

import numpy as np
from torch import Tensor

from mlu.data.split import Split
from mlu.metrics.findings import Evidence, Finding, Kind
from mlu.models.network import Network
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, Task

FEWEST = 4
"""Images on each side without which there is nothing to learn from and to be judged by."""


@dataclass(frozen=True)
class Canaries:
    """Training images whose forgotten targets show what a label leaves behind, each of shape
    (training images,).

    Attributes:
        supervised: Whether the original learnt the image's forgotten targets; else they were
            withheld from it.
        flipped: Whether they are the wrong way round: learnt so where supervised, asked about so
            elsewhere.
    """

    supervised: np.ndarray
    flipped: np.ndarray


@dataclass(frozen=True)
class Shadows:
    """Models that an attacker trained as the victim was, each on the images of half of all people.

    Attributes:
        inside: Whose training held which image, bool, shape (shadows, images): training images
            first, then test images.
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
        matched: Shadow models that went through all that the victim went through, forgetting
            included.
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


class Attack(ABC, Generic[Kind]):
    """One way to learn from a model what it should have forgotten. An attack is one file and one
    yaml.

    Attributes:
        name: First part of the paths of its evidence.
    """

    name: ClassVar[str]

    def prepare(self, victim: Victim) -> None:
        """Have made what `observe` will ask for: here jobs share the work, there all wait for the
        one that gathers."""
        return

    @abstractmethod
    def observe(self, victim: Victim) -> Evidence[Kind]:
        """All that this attack learns from one model. Kept in the cache, so it depends on nothing
        but the victim."""

    def without_model(self, victim: Victim) -> Evidence[Kind]:
        """What the attacker knows without looking at any model: the victim's images and targets
        alone."""
        return {}

    @abstractmethod
    def conclude(self, evidence: Evidence[Kind]) -> Iterable[Finding]:
        """Every figure that the evidence of one model gives by itself."""

    @abstractmethod
    def compare(
        self, evidence: Evidence[Kind], reference: Evidence[Kind] | None
    ) -> Iterable[Finding]:
        """Every figure that is relative to Retrain.

        Args:
            evidence: Of one model.
            reference: Of Retrain; None where there is none.
        """
