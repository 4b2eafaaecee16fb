"""One audit, as configured: the models, what is asked of them, and what they must keep."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from mlu.attacks.contract import Attack
from mlu.auditing.policy import Policy
from mlu.data.base import Dataset
from mlu.models.backbones import Backbone
from mlu.runs.seeds import Seeds

Answering = Callable[[Tensor], tuple[Any, Any]]
"""Features and outputs of images, which are float in [0, 1], shape (images, 3, height, width)."""

Source = Path | nn.Module | Answering
"""A model: a file of weights, a module that ends in a linear layer, or a function."""

ROLES = {"before": "original", "after": "unlearned", "retrain": "retrain", "baseline": "random"}
"""Key of a model -> what it is called in figures."""


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """Everything that an audit needs.

    Attributes:
        dataset: The images, what is on them, and whom they show.
        backbone: Of the models whose weights are given.
        attacks: What reads them; `aia` among them, which the verdict is on.
        forget: Names of the outputs that were to be forgotten; empty where others are asked for.
        concepts: Columns of the table that no output stands for.
        numbers: Likewise, of numbers.
        models: By key of ROLES; empty where features are given.
        head: Name of the last linear layer of modules; None where it is to be found.
        features: File of what the models give of each image; None where these are asked.
        unseen: Which images the models have not learnt from: `split`, validation and test; `all`.
        mean: Of the colour channels, for images in [0, 1]; None as the backbone has it.
        std: Likewise.
        policy: What must be kept.
        seeds: Of all that is drawn at random; attacks draw by the first of several.
        accelerator: `auto`, `cpu` or `gpu`.
        folder: Where the audit is left.
        config: The configuration, to be written down.
    """

    dataset: Dataset
    backbone: Backbone
    attacks: tuple[Attack[Any], ...]
    forget: tuple[str, ...]
    concepts: tuple[str, ...]
    numbers: tuple[str, ...]
    models: Mapping[str, Source]
    head: str | None
    features: Path | None
    unseen: Literal["split", "all"]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    policy: Policy
    seeds: Seeds
    accelerator: str
    folder: Path
    config: Mapping[str, Any]

    @property
    def concepts_or_numbers(self) -> tuple[str, ...]:
        """Names of the columns to audit that no output stands for."""
        return (*self.concepts, *self.numbers)

    @property
    def tunes(self) -> bool:
        """Whether some attack trains the models further."""
        return any(
            attack.name in ("relearn", "durability") or getattr(attack, "panel", None) == "full"
            for attack in self.attacks
        )

    @property
    def asks_the_network(self) -> bool:
        """Whether some attack asks the network itself about training images."""
        return any(getattr(attack, "insider", False) for attack in self.attacks)

    @property
    def asks_of_training(self) -> bool:
        """Whether some attack looks at what the models say of images that they have learnt from."""
        return any(attack.name == "mia" for attack in self.attacks)
