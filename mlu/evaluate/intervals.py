"""95 % intervals of rates, from images of which several may show the same person."""

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def rate_interval(success: np.ndarray, trial: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval at the number of independent images that the sample is worth (Korn and Graubard, 1998).

    Images of one person are not independent: the variance between persons gives the effective number, with Student's
    quantile for few persons. Where all trials succeed, or none, every person counts once.

    Args:
        success: In [0, 1], shape (images, columns); read only where `trial`.
        trial: Which images count, bool, shape (images, columns).
        clusters: Person on each image, shape (images,).

    Returns:
        Lower and upper ends, shape (columns,); NaN where there is no trial.
    """
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=clusters[order][:1] - 1))
    successes = np.add.reduceat((success * trial)[order].astype(float), starts, axis=0)
    trials = np.add.reduceat(trial[order].astype(float), starts, axis=0)
    total = trials.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = successes.sum(0) / total
        persons = (trials > 0).sum(0)
        variance = ((successes - rate * trials) ** 2).sum(0) / total**2 * persons / (persons - 1)
        effective = np.where(variance > 0, rate * (1 - rate) / variance, persons)
    normal = stats.norm.ppf((1 + CONFIDENCE) / 2)
    student = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(persons - 1, 1))
    return wilson(rate, np.minimum(effective, total) * (normal / student) ** 2, normal)


def wilson(rate: np.ndarray, count: np.ndarray, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a rate seen in `count` (any positive number) independent trials."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = quantile**2 / count
        centre = (rate + weight / 2) / (1 + weight)
        half = quantile / (1 + weight) * np.sqrt(rate * (1 - rate) / count + weight / (4 * count))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def mean_interval(
    first: np.ndarray, second: np.ndarray, first_ends: tuple[np.ndarray, ...], second_ends: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean of two independent rates from theirs (Newcombe's square-and-add method, 1998)."""
    middle = (first + second) / 2
    low = middle - np.hypot(first - first_ends[0], second - second_ends[0]) / 2
    high = middle + np.hypot(first_ends[1] - first, second_ends[1] - second) / 2
    return np.clip(low, 0, 1), np.clip(high, 0, 1)
