"""Measured figures, and the evidence of attacks that they are drawn from."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

NO_REFERENCE = "there is no Retrain (reference=none)"

CONSTANT = "constant"
"""End of the path of the 1 that stands where an attacker said the same of every image."""

READERS = ("", "weak", "mlp", "svm", "knn", "trees")
"""Readers of numbers: what their figures' paths end in, below the view; the logistic regression's
stand under the view itself."""

NETWORK_READERS = ("conv", "tuned")
"""Readers that are networks."""


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
        chosen: Names of what was chosen among several to give this figure, such as `label` and
            `reader`; None where nothing was.
    """

    path: str
    value: float | None
    low: float | None = None
    high: float | None = None
    missing: str | None = None
    p_value: float | None = None
    chosen: Mapping[str, str] | None = None

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
        held_out: AUROC of the same attacker on people of its own, when it has learnt from the
            others: by this alone may one attacker be preferred to another. NaN where it was not
            tried, shape ().
    """

    scores: np.ndarray
    truth: np.ndarray
    persons: np.ndarray
    held_out: np.ndarray | float = math.nan


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


@dataclass(frozen=True, eq=False)
class Removals:
    """Groups of weights that were set to zero one after the other, and what each cost a label.

    Attributes:
        importance: Mean of a score for the label over the group, shape (groups,).
        layers: Name of the layer of each, shape (groups,).
        own: Rise of the label's mean loss, in nats, shape (2, groups): by one half of the people
            who were asked, and by the other.
        others: Mean rise of the other labels' losses, likewise.
        answers: Fall of the label's balanced accuracy, of all who were asked, shape (groups,); NaN
            where they do not show the label both ways.
    """

    importance: np.ndarray
    layers: np.ndarray
    own: np.ndarray
    others: np.ndarray
    answers: np.ndarray


Kind = TypeVar("Kind", Trial, Recovery, Removals)

Evidence = Mapping[str, Kind | str]
"""By the path of the findings that it leads to; where there is none, why."""


def part_of_path(name: str, taken: Sequence[str] = ()) -> str:
    """A name as one part of a path: in quotes where it has a slash, or is another part's.

    >>> part_of_path("cat"), part_of_path("yes/no"), part_of_path("low", ["low", "high"])
    ('cat', '"yes/no"', '"low"')
    """
    plain = name not in taken and "/" not in name and not name.startswith('"')
    return name if plain else json.dumps(name, ensure_ascii=False)


def split_part(path: str) -> tuple[str, str]:
    """The name that a path begins with, without quotes, and the rest of the path.

    >>> split_part("cat/low"), split_part('"yes/no"/low')
    (('cat', 'low'), ('yes/no', 'low'))
    """
    if path.startswith('"'):
        # In a file that somebody else wrote the quotes may stand for nothing.
        with suppress(json.JSONDecodeError):
            name, end = json.JSONDecoder().raw_decode(path)
            return str(name), path[end + 1 :]

    name, _, rest = path.partition("/")

    return name, rest


def is_one_part(path: str) -> bool:
    """Whether a piece of a path is one part of it: no slash, or all of it in quotes.

    >>> is_one_part("cat"), is_one_part("cat/low"), is_one_part('"yes/no"')
    (True, False, True)
    """
    return "/" not in path or part_of_path(split_part(path)[0]) == path
