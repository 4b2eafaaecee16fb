"""95 % intervals of rates, from images of which several may show the same person."""

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
NO_VARIANCE = 1e-15
"""Below this, a variance of rates is rounding."""

Ends = tuple[np.ndarray, np.ndarray]


def rate_interval(success: np.ndarray, trial: np.ndarray, clusters: np.ndarray) -> Ends:
    """Interval of each column's rate: Wilson's, at the number of images that the sample is worth.

    Images of one person are not independent: the variance between persons gives the effective
    number, with Student's quantile for few persons (Korn and Graubard, 1998). Where persons do not
    differ at all, each counts once.

    Args:
        success: In [0, 1], shape (images, columns); read only where `trial`.
        trial: Which images count, bool, shape (images, columns).
        clusters: Person on each image, shape (images,).

    Returns:
        Lower and upper ends, shape (columns,); NaN where there is no trial.
    """
    rate, residual = rate_and_residual(success, trial)
    persons = (person_sums(trial, clusters) > 0).sum(0)
    return effective_wilson(rate, person_sums(residual, clusters), persons, trial.sum(0))


def mean_rate_interval(
    success: np.ndarray, trial: np.ndarray, clusters: np.ndarray
) -> tuple[float, float]:
    """Interval of the mean of all columns' rates, as in `rate_interval`.

    Columns without trial are left out.
    """
    tried = trial.any(0)
    if not tried.any():
        return np.nan, np.nan

    rate, residual = rate_and_residual(success[:, tried], trial[:, tried])
    together = person_sums(residual, clusters).mean(1, keepdims=True)
    persons = np.array([len(np.unique(clusters[trial.any(1)]))])
    low, high = effective_wilson(
        rate.mean(keepdims=True), together, persons, np.array([trial.sum()])
    )

    return float(low[0]), float(high[0])


def rate_and_residual(success: np.ndarray, trial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each column's rate, and what each image adds to its error, shape (images, columns)."""
    total = trial.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(trial, success, 0).sum(0) / total
        return rate, np.where(trial, success - rate, 0) / total


def person_sums(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Sums over each person's images, shape (persons, columns)."""
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=clusters[order][:1] - 1))
    return np.add.reduceat(values[order].astype(float), starts, axis=0)


def effective_wilson(
    rate: np.ndarray, errors: np.ndarray, persons: np.ndarray, most: np.ndarray
) -> Ends:
    """Wilson's interval at the effective number of trials, `most` at most.

    `errors` have the shape (persons, columns).
    """
    normal = stats.norm.ppf((1 + CONFIDENCE) / 2)
    student = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(persons - 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (errors**2).sum(0) * persons / (persons - 1)
        effective = np.where(variance > NO_VARIANCE, rate * (1 - rate) / variance, persons)
    return wilson(rate, np.minimum(effective, most) * (normal / student) ** 2, normal)


def wilson(rate: np.ndarray, count: np.ndarray, quantile: float) -> Ends:
    """Wilson's score interval of a rate seen in `count` independent trials, any number > 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = quantile**2 / count
        centre = (rate + weight / 2) / (1 + weight)
        half = quantile / (1 + weight) * np.sqrt(rate * (1 - rate) / count + weight / (4 * count))
    # By rounding, that of a rate of 0 or 1 would not always begin or end there.
    return np.clip(centre - half, 0, rate), np.clip(centre + half, rate, 1)


def mean_interval(
    first: np.ndarray,
    second: np.ndarray,
    first_ends: Ends,
    second_ends: Ends,
    correlation: np.ndarray | float = 0.0,
) -> Ends:
    """Interval of the mean of two rates from theirs (Newcombe, 1998).

    Of correlated rates it is that of Zou and Donner (2008).
    """
    middle = (first + second) / 2

    def reach(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        length: np.ndarray = np.sqrt(
            np.maximum(one**2 + other**2 + 2 * correlation * one * other, 0)
        )
        return length / 2

    low = middle - reach(first - first_ends[0], second - second_ends[0])
    high = middle + reach(first_ends[1] - first, second_ends[1] - second)

    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def error_correlation(
    success: np.ndarray, first: np.ndarray, second: np.ndarray, clusters: np.ndarray
) -> np.ndarray:
    """Correlation, over persons, of the errors of two rates of the same images.

    Args:
        success: In [0, 1], shape (images, columns).
        first: Trials of the one rate, bool, shape (images, columns).
        second: Trials of the other.
        clusters: Person on each image, shape (images,).

    Returns:
        Shape (columns,); 0 where there are no errors.
    """
    one, other = (
        person_sums(rate_and_residual(success, trial)[1], clusters) for trial in (first, second)
    )
    scale = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    found: np.ndarray = np.divide(
        (one * other).sum(0), scale, out=np.zeros_like(scale), where=scale > NO_VARIANCE
    )

    return found
