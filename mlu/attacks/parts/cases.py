"""Images that a reader learns a label from, or is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mlu.data.split import Split
from mlu.models.outputs import Outputs

HELD_OUT = 4
"""One part in so many of the attacker's people is held out to choose a reader."""

FEWEST_HELD_OUT = 10
"""People on either side that must be held out, else no reader is chosen by them."""


@dataclass(frozen=True)
class Cases:
    """Images whose target is known, in several views.

    Attributes:
        seen: By view what is seen of each, shape (images, ...).
        truth: The target, bool, shape (images,).
        persons: Number of the person on each, shape (images,).
    """

    seen: Mapping[str, np.ndarray]
    truth: np.ndarray
    persons: np.ndarray

    def subset(self, rows: np.ndarray) -> "Cases":
        seen = {view: numbers[rows] for view, numbers in self.seen.items()}
        return Cases(seen, self.truth[rows], self.persons[rows])

    @property
    def fewest(self) -> int:
        """Images of the rarer class."""
        return int(min(self.truth.sum(), (~self.truth).sum()))

    @property
    def fewest_people(self) -> int:
        """People of whom some image has the label, or of whom some lacks it: the fewer of both."""
        return min(len(np.unique(self.persons[self.truth == side])) for side in (True, False))


@dataclass(frozen=True)
class Side:
    """Images to learn from or to be judged on.

    Attributes:
        images: Their targets and people.
        seen: By view what the attacker sees of each, shape (images, ...).
    """

    images: Split | Outputs
    seen: Mapping[str, np.ndarray] = field(default_factory=dict)

    def cases(self, column: int) -> Cases:
        """The images whose target in a column is known."""
        known = self.images.known[:, column].numpy()
        truth = self.images.targets[:, column].numpy()[known] > 0
        seen = {view: numbers[known] for view, numbers in self.seen.items()}
        return Cases(seen, truth, self.images.identities[known])


def held_out(cases: Cases, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows to learn from and rows of other people to choose a reader by, about a quarter of all.

    Both have the label about equally often.

    Args:
        cases: All that the attacker has.
        seed: Of the draw.

    Returns:
        None where fewer than FEWEST_HELD_OUT people would be held out with the label, or without.
    """
    if cases.fewest_people < HELD_OUT:
        return None

    folds = StratifiedGroupKFold(HELD_OUT, shuffle=True, random_state=seed)
    learnt, kept = next(folds.split(cases.truth, cases.truth, cases.persons))
    if cases.subset(kept).fewest_people < FEWEST_HELD_OUT:
        return None

    return learnt, kept
