"""Rank and linear correlation of what was measured of the same things, with intervals."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from mlu.metrics.findings import Finding
from mlu.metrics.intervals import CONFIDENCE

COEFFICIENTS = ("spearman", "pearson")

FEWEST_PAIRS = 5
"""Things without which no correlation is given."""

DRAWS = 500
_FLAT = 1e-12
"""A spread below this share of the size is rounding."""


def correlation_findings(
    path: str, one: np.ndarray, other: np.ndarray, seed: int, names: tuple[str, ...] = COEFFICIENTS
) -> Iterator[Finding]:
    """`path/spearman` and `path/pearson`, each with its 95 % interval.

    Intervals are percentiles of 500 bootstrap samples of the things that were measured; they know
    these things, and no error of what was measured of each.

    Args:
        path: Prefix of the findings.
        one: Of each thing, shape (things,).
        other: Of the same, shape (things,).
        seed: Of the samples.
        names: Which of the two are wanted.
    """
    if len(one) < FEWEST_PAIRS:
        reason = f"{len(one)} things to compare, at least {FEWEST_PAIRS} are needed"
        yield from (Finding(f"{path}/{name}", None, missing=reason) for name in names)
        return

    drawn = np.random.default_rng(seed).integers(0, len(one), (DRAWS, len(one)))
    for name in names:
        value = row_correlations(name, one[None], other[None])[0]
        if np.isnan(value):
            yield Finding(f"{path}/{name}", None, missing="one side is the same of all")
            continue

        seen = row_correlations(name, one[drawn], other[drawn])
        seen = seen[~np.isnan(seen)]
        tail = 100 * (1 - CONFIDENCE) / 2
        # Samples repeat things, so that of an extreme value none may be as extreme.
        low, high = np.percentile([value] if not len(seen) else seen, [tail, 100 - tail])
        ends = float(min(low, value)), float(max(high, value))
        yield Finding(f"{path}/{name}", float(value), *ends)


def row_correlations(name: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation of each pair of rows, shape (rows,); NaN where a row is constant.

    Args:
        name: `spearman` for that of ranks, ties sharing theirs, or `pearson`.
        one: Shape (rows, things).
        other: Likewise.
    """
    if name == "spearman":
        one, other = stats.rankdata(one, axis=1), stats.rankdata(other, axis=1)

    sides = []
    for rows in (one, other):
        centred = rows - rows.mean(1, keepdims=True)
        size = np.sqrt((centred**2).sum(1, keepdims=True))
        flat = size <= _FLAT * np.abs(rows).max(1, keepdims=True) * rows.shape[1] ** 0.5
        sides.append(np.divide(centred, size, out=np.full_like(centred, np.nan), where=~flat))

    found: np.ndarray = (sides[0] * sides[1]).sum(1)

    return found
