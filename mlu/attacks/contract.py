"""The contract of an attack: what it is given, and what it must give."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic

import numpy as np
from torch import Tensor

from mlu.data.split import Split
from mlu.metrics.findings import Evidence, Finding, Kind
from mlu.models.network import Network
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, Task

PROXY = "proxy"
"""Stands for a model: what the retained labels tell by themselves."""

FEWEST_ASKED = 4
"""Images on each side without which there is nothing to learn from and to be judged by."""


@dataclass(frozen=True)
class Canaries:
    """Training images whose forgotten targets show what a label leaves behind.

    Attributes:
        supervised: Whether the original learnt the image's forgotten targets; else they were
            withheld from it. Bool, shape (training images,).
        flipped: Whether they are the wrong way round: learnt so where supervised, asked about so
            elsewhere. Bool, shape (training images,).
    """

    supervised: np.ndarray
    flipped: np.ndarray


@dataclass(frozen=True)
class ShadowsWanted:
    """Shadow models that an attack needs: of the original, and of each victim.

    Attributes:
        count: How many of each, even.
        jobs: How many are trained side by side.
    """

    count: int
    jobs: int


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
        labels: Names of all columns.
        request: The forgotten columns are what the attacker wants.
        splits: Images and true targets: `train`, `validation`, `test`.
        outputs: What the model says of them; of those that it was not trained on with `stages`.
        canaries: None where the original learnt all targets.
        original: What the original says of the same images, by split.
        retrain: What Retrain says of them; None where there is none.
        seed: Of every random choice of an attack.
        shadows: Shadow models of the original, where the attack needs them.
        matched: Shadow models that went through all that the victim went through, forgetting
            included; where the attack needs them.
        original_net: The original itself, whose weights an attack may mix with the model's. Never
            written to; None where it is not at hand.
    """

    net: Network
    task: Task
    labels: Sequence[str]
    request: ForgetRequest
    splits: Mapping[str, Split]
    outputs: Mapping[str, Outputs]
    canaries: Canaries | None
    original: Mapping[str, Outputs]
    retrain: Mapping[str, Outputs] | None
    seed: int
    shadows: Shadows | None = None
    matched: Shadows | None = None
    original_net: Network | None = None


class Attack(ABC, Generic[Kind]):
    """One way to learn from a model what it should have forgotten.

    An attack is one file and one yaml. It is a dataclass: its fields are the keys of its yaml, and
    with them its evidence is kept in the cache.

    Attributes:
        name: First part of the paths of its evidence.
    """

    name: ClassVar[str]

    def needs(self) -> ShadowsWanted | None:
        """Shadow models that `observe` is given with the victim; None for none."""
        return None

    @abstractmethod
    def observe(self, victim: Victim) -> Evidence[Kind]:
        """All that this attack learns from one model.

        It is kept in the cache, so it depends on nothing but the attack's fields and the victim.
        """

    def without_model(self, victim: Victim) -> Evidence[Kind]:
        """The attacker's knowledge before any model: from the victim's images and targets alone."""
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

    def findings(self, exposure: Mapping[str, Evidence[Kind]]) -> dict[str, list[Finding]]:
        """Every figure of this attack, by the name of the model.

        Args:
            exposure: The evidence of each model by its name, and of PROXY.
        """
        reference = exposure.get("retrain")
        return {name: self.findings_on(name, exposure[name], reference) for name in exposure}

    def findings_on(
        self, name: str, evidence: Evidence[Kind], reference: Evidence[Kind] | None
    ) -> list[Finding]:
        """Every figure of one model; PROXY is not held against Retrain, the reference."""
        alone: list[Finding] = [*self.conclude(evidence)]
        return alone if name == PROXY else [*alone, *self.compare(evidence, reference)]
