"""The people that it takes: how small an excess over Retrain a test split can show, as a plan.

Two readings of the same people are compared by their balanced accuracies, each the mean of two
rates, of n1 people with the label and n0 without it:

    Var(difference) = 2 (1 - rho) * (p (1 - p) / n1 + p (1 - p) / n0) / 4

where p is how often a reading is right, and rho the correlation, over people, of whether both are.
A plan has to assume these two. A person counts as one trial on each side, for at worst all images
of one person are read alike.
"""

import math

import numpy as np
from scipy.special import ndtri

RATE = 0.5
"""Assumed share of right readings: that of the largest variance."""
CORRELATION = 0.5
"""Assumed correlation of two readings of the same people; 0 asks for twice as many people."""

_QUANTILE = float(ndtri(0.975))


def effective_people(images: np.ndarray) -> float:
    """Number of people with one image each that tell as much as these (Kish, 1965).

    Args:
        images: Of each person, shape (people,), each at least 1.

    Returns:
        (sum m)^2 / sum m^2, in [1, people]; 0 for nobody.
    """
    counts = np.asarray(images, float)
    return float(counts.sum() ** 2 / (counts**2).sum()) if len(counts) else 0.0


def difference_deviation(
    having: float, lacking: float, rate: float = RATE, correlation: float = CORRELATION
) -> float:
    """Standard deviation of the difference of two balanced accuracies of the same people.

    Args:
        having: People with the label, > 0.
        lacking: People without it, > 0.
        rate: Share of right readings, in [0, 1].
        correlation: Of whether both readings are right, in [-1, 1].
    """
    variance = rate * (1 - rate) * (1 / having + 1 / lacking) / 4
    return math.sqrt(2 * (1 - correlation) * variance)


def showable_excess(having: float, lacking: float, correlation: float = CORRELATION) -> float:
    """Half the width of the 95 % interval of an excess: the smallest bound that can be shown.

    So it is for a model that shows exactly as much as Retrain; one that shows more needs more
    people. It is at most 1, and 1 where one side has nobody.
    """
    if min(having, lacking) <= 0:
        return 1.0
    return min(1.0, _QUANTILE * difference_deviation(having, lacking, correlation=correlation))


def people_needed(
    bound: float, having: float, lacking: float, people: int, correlation: float = CORRELATION
) -> int | None:
    """People of the rarer side by which an excess of nothing is shown to be at most a bound.

    The other side is taken to grow alike, and people to have as many images as now.

    Args:
        bound: Largest excess allowed, >= 0.
        having: Effective people with the label.
        lacking: Effective people without it.
        people: Of the rarer side, as they are counted.
        correlation: As in `difference_deviation`.

    Returns:
        None where no number would do: for a bound of 0, or where one side has nobody.
    """
    if bound <= 0 or min(having, lacking) <= 0:
        return None
    half = _QUANTILE * difference_deviation(having, lacking, correlation=correlation)
    return math.ceil(people * (half / bound) ** 2)
