"""Looks at a network while it forgets, as figures, and the rule by which a step is kept.

Pure: it knows neither networks nor readers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mlu.metrics.findings import part_of_path

TOLERANCE = 0.01
"""Retained accuracy that a step may lack to the best one, and still be kept."""

RULE = f"retained accuracy within {TOLERANCE:g} of the best, least read by the stronger reader"
"""The rule of `best_step` in a few words."""

TOLD = ("output", "linear", "kernel")
"""What is told of a label: fields of Told."""

_MOST_STEPS = 10**12
"""No method takes as many."""

_ROUNDING = 1e-9
"""Accuracies that differ by less are the same."""


@dataclass(frozen=True)
class Told:
    """Readings of one forgotten label: folded balanced accuracies, in [0.5, 1].

    Attributes:
        output: By the label's own output.
        linear: By a logistic regression of the last features.
        kernel: By a support-vector machine with a Gaussian kernel of the last features.
    """

    output: float
    linear: float
    kernel: float

    @property
    def stronger(self) -> float:
        """The reading of the stronger of the two quick readers."""
        return max(self.linear, self.kernel)


@dataclass(frozen=True, kw_only=True)
class TracePoint:
    """One look at a network.

    Attributes:
        model: Which: `unlearned`, or one that it is held against.
        request: Of the method, from 1; None, as round and step, of other models.
        round: Of the method, from 1.
        step: Steps of fine-tuning by then, of all rounds and requests.
        kept: Whether this is the network that the request has left.
        retained: Retained accuracy, in [0, 1]; None where it is not defined.
        labels: By forgotten label what is told of it; None where it cannot be read.
    """

    model: str
    request: int | None = None
    round: int | None = None
    step: int | None = None
    kept: bool = False
    retained: float | None
    labels: Mapping[str, Told | None]

    def mean(self, of: str) -> float | None:
        """The mean of `output`, `linear`, `kernel` or `stronger` over the labels that are read."""
        told = [getattr(one, of) for one in self.labels.values() if one is not None]
        return sum(told) / len(told) if told else None

    def of_labels(self, labels: Iterable[str]) -> "TracePoint":
        """The same, of some labels alone."""
        return replace(self, labels={label: self.labels.get(label) for label in labels})

    @property
    def is_sound(self) -> bool:
        """Whether its numbers are such as can be seen: anybody may have written them."""
        told = [getattr(one, of) for one in self.labels.values() if one is not None for of in TOLD]
        rates = [*told, *([] if self.retained is None else [self.retained])]
        # Also false of NaN.
        return all(0 <= rate <= 1 for rate in rates) and 0 <= (self.step or 0) < _MOST_STEPS

    def figures(self) -> dict[str, float]:
        """All that is seen, by path; of several labels also `label/<Label>/...`."""
        found = {"retained": self.retained, **{of: self.mean(of) for of in TOLD}}
        if len(self.labels) > 1:
            for label, told in self.labels.items():
                start = f"label/{part_of_path(label)}"
                found |= {f"{start}/{of}": getattr(told, of, None) for of in TOLD}

        return {path: value for path, value in found.items() if value is not None}


def best_step(points: Sequence[TracePoint]) -> int:
    """Number of the point that `keep=best` keeps.

    Of the points whose retained accuracy is within TOLERANCE of the best of all, the start of
    fine-tuning among them, it is the one where the stronger of the two quick readers, averaged over
    the forgotten labels, finds least; of several such the first. A point of which nothing can be
    read takes no part; where that is so of all, the last is kept.
    """
    near = contenders(points)
    return min(near, key=lambda number: preference_of(points, number), default=len(points) - 1)


def contenders(points: Sequence[TracePoint]) -> list[int]:
    """Numbers of the readable points whose retained accuracy is near the best of them."""
    kept = {
        number: point.retained or 0.0
        for number, point in enumerate(points)
        if point.mean("stronger") is not None
    }
    most = max(kept.values(), default=0.0)
    return [number for number, value in kept.items() if value >= most - TOLERANCE - _ROUNDING]


def still_possible(points: Sequence[TracePoint]) -> set[int]:
    """Numbers of the points that may be kept yet, whatever comes: the others need not be held.

    The best retained accuracy only rises, so who is out stays out, and so does who is beaten by a
    point that retains as much.
    """
    near = contenders(points)
    found = {len(points) - 1}
    for number in near:
        retained, order = points[number].retained or 0.0, preference_of(points, number)
        beaten = any(
            (points[other].retained or 0.0) >= retained and preference_of(points, other) < order
            for other in near
        )
        if not beaten:
            found.add(number)

    return found


def preference_of(points: Sequence[TracePoint], number: int) -> tuple[float, int]:
    """Place of a point among those that may be kept: what is read, then its number."""
    read = points[number].mean("stronger")
    return (math.inf if read is None else read, number)
