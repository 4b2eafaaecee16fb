"""The panel: what is looked at, by which reader, and where its figures stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlu.attacks.parts.readers import LINEAR
from mlu.metrics.findings import NETWORK_READERS, READERS, part_of_path, split_part

OUTPUTS, FEATURES, STAGES, BEYOND = "outputs", "features", "stages", "beyond_retained"

PANEL_PLACES = (OUTPUTS, FEATURES, STAGES)
"""Where a model is read, and the strongest reader is looked for."""

RELEASED = (OUTPUTS, FEATURES)
"""The places that a model gives away; stages are read by who holds network and picture."""

NETWORK = "network"
CONV, TUNED = NETWORK_READERS

_LABEL = "label"

OF_OUTPUT = (LINEAR, "mlp")
"""Readers of the forgotten output alone; theirs are all figures, in whatever view."""
_NONLINEAR = ("mlp", "svm", "knn", "trees")

STANDARD = {
    "output": OF_OUTPUT,
    "outputs": (LINEAR, *_NONLINEAR),
    "retained_outputs": (LINEAR, *_NONLINEAR),
    FEATURES: (LINEAR, "weak", *_NONLINEAR),
    STAGES: (LINEAR, "weak", "svm"),
    BEYOND: (LINEAR, "trees"),
}
"""The readers of each view in the standard panel; each stage has the logistic regression."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Look:
    """One look at a model: a view and a reader.

    Attributes:
        view: What is looked at.
        reader: Its name; empty for the logistic regression.
    """

    view: str
    reader: str

    @property
    def path(self) -> str:
        """Place of its figures, below the label."""
        return f"{self.view}/{self.reader}" if self.reader else self.view

    @classmethod
    def at(cls, path: str) -> "Look":
        """The reading whose figures stand at a path.

        >>> Look.at("features/mlp"), Look.at("features/block4/svm")
        (Look(view='features', reader='mlp'), Look(view='features/block4', reader='svm'))
        """
        view, _, last = path.rpartition("/")
        known = last in (*READERS, *NETWORK_READERS)
        return cls(view, last) if known else cls(path, LINEAR)


def panel_looks(panel: str, stages: Sequence[str]) -> list[Look]:
    """All looks of a panel at a model.

    Args:
        panel: `standard`, or `full` for every reader in every view.
        stages: Names of the network's stages; the last, which gives the features, is not read anew.
    """
    views = {**STANDARD, **{stage_view(stage): (LINEAR,) for stage in stages[:-1]}}

    found = []
    for view, readers in views.items():
        names = READERS if panel == "full" else readers
        found += [Look(view, name) for name in names]

    if panel == "full" and stages:
        found += [Look(FEATURES, CONV), Look(NETWORK, TUNED)]

    return found


def stage_view(stage: str) -> str:
    """The view of a stage's means; a stage that is called like a reader stands in quotes.

    >>> stage_view("block4"), stage_view("svm")
    ('features/block4', 'features/"svm"')
    """
    return f"{FEATURES}/{part_of_path(stage, (*READERS, *NETWORK_READERS))}"


def panel_place(path: str) -> str:
    """The place in which a reading looks; the view itself, where that lies in no place.

    Args:
        path: Of its figures, below the label.
    """
    view = Look.at(path).view
    if view == "retained_outputs":
        return OUTPUTS
    deeper = view.startswith(f"{FEATURES}/") or view == NETWORK
    return STAGES if deeper else view


def label_path(start: str, label: str) -> str:
    """The path of what is read of one label.

    >>> label_path("aia", "Male"), label_path("aia", "yes/no")
    ('aia/label/Male', 'aia/label/"yes/no"')
    """
    return f"{start}/{_LABEL}/{part_of_path(label)}"


def of_labels(start: str, found: Mapping[str, Found]) -> dict[str, dict[str, Found]]:
    """Everything that stands below the path of a label, by label.

    Args:
        start: What all paths begin with.
        found: By its whole path; what is of no label is left out.
    """
    begin = f"{start}/{_LABEL}/"
    by_label: dict[str, dict[str, Found]] = {}
    for path, one in found.items():
        if path.startswith(begin):
            label, rest = split_part(path.removeprefix(begin))
            by_label.setdefault(label, {})[rest] = one

    return by_label


def in_places(found: Mapping[str, Found]) -> Iterator[tuple[str, dict[str, Found]]]:
    """Each place, and what was found in it, by path below the label."""
    for place in PANEL_PLACES:
        yield place, {path: one for path, one in found.items() if panel_place(path) == place}
