"""Measured figures, and the evidence of attacks that they are drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

NO_REFERENCE = "there is no Retrain (reference=none)"

CONSTANT = "constant"
"""End of the path of the 1 that stands where an attacker said the same of every image."""


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
        """The same figure, with its path behind a prefix."""
        return replace(self, path=f"{prefix}/{self.path}")


@dataclass(frozen=True, eq=False)
class Trial:
    """An attacker's answers about images that it did not learn from, and the truth.

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
    """The way on which a forgotten label came back in fine-tuning.

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
