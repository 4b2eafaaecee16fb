"""Figures of how well an attacker estimates a number, such as years, with their intervals.

As of answers to yes or no (`trials`), people are drawn and not images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from mlu.metrics.findings import Finding
from mlu.metrics.trials import drawn_people, percentile_interval

AMOUNT_METRICS = ("r2", "rank_correlation")

_LEAST = 1e-12
"""Variances below this are none."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """An attacker's estimates for images that it did not learn from, and the true numbers.

    Attributes:
        values: float64, shape (images,).
        truth: float64, shape (images,).
        persons: Number of the person on each image, shape (images,).
    """

    values: np.ndarray
    truth: np.ndarray
    persons: np.ndarray


def amount_findings(path: str, estimate: Estimate | str) -> Iterator[Finding]:
    """`path/r2` and `path/rank_correlation`, with 95 % percentile intervals over people.

    R^2 is 1 - (squared error) / (squared distance from the mean of the judged images): 0 is what
    the mean gives, and who knows less than that has less. The rank correlation is Spearman's; its
    interval ranks images once, among all that are judged.

    Args:
        path: Prefix of the findings.
        estimate: Or why there is none.
    """
    if isinstance(estimate, str):
        yield from (Finding(f"{path}/{name}", None, missing=estimate) for name in AMOUNT_METRICS)
        return
    if np.ptp(estimate.truth) == 0:
        why = "the number is the same on all judged images"
        yield from (Finding(f"{path}/{name}", None, missing=why) for name in AMOUNT_METRICS)
        return

    _, person = np.unique(estimate.persons, return_inverse=True)
    weights = drawn_people(int(person.max()) + 1)[person].astype(np.float64)
    one = np.ones((len(estimate.truth), 1))
    ranks = rankdata(estimate.values), rankdata(estimate.truth)

    seen = [
        (r_squared(estimate.values, estimate.truth, each), correlation(*ranks, each))
        for each in (one, weights)
    ]
    for name, value, draws in zip(AMOUNT_METRICS, *seen, strict=True):
        yield Finding(f"{path}/{name}", float(value[0]), *percentile_interval(draws))


def r_squared(values: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R^2 of estimates under each column of weights, shape (images, draws); NaN without spread."""
    total = weights.sum(0)
    error = (values - truth) ** 2 @ weights
    spread = truth**2 @ weights - (truth @ weights) ** 2 / total
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = 1 - error / np.where(spread > _LEAST, spread, np.nan)
    return found


def correlation(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation under each column of weights, shape (images, draws).

    0 where the first has no spread: who says the same of everybody tells nothing. NaN where the
    other has none.
    """
    total = weights.sum(0)
    # From the middle, so that squares stay small.
    one, other = one - one.mean(), other - other.mean()
    means = one @ weights / total, other @ weights / total
    shared = (one * other) @ weights / total - means[0] * means[1]
    spreads = (
        (one**2) @ weights / total - means[0] ** 2,
        (other**2) @ weights / total - means[1] ** 2,
    )

    with np.errstate(divide="ignore", invalid="ignore"):
        found = shared / np.sqrt(spreads[0] * spreads[1])
    found = np.where(spreads[0] > _LEAST, found, 0.0)

    return np.where(spreads[1] > _LEAST, found, np.nan)
