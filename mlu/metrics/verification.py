"""Verification: whether two images show the same person, told by the cosine of their embeddings."""

import numpy as np

from mlu.metrics.findings import Finding

DRAWS = 200
"""Of people, for the interval."""

MOST_COMPARED = 1_000
"""Images of which all pairs are compared; of more the people that come first are."""

_NO_PAIRS = "no two images show the same person, or none show two: there is nothing to verify"


def verification_finding(path: str, embeddings: np.ndarray, persons: np.ndarray) -> Finding:
    """AUROC of cosine over all pairs of images: same person against different ones.

    It is the chance that a pair of the same person is closer than one of two. The interval draws
    people.

    Args:
        path: Of the finding.
        embeddings: Shape (images, numbers), of any length.
        persons: Number of the person on each image, shape (images,).
    """
    embeddings, persons = embeddings[:MOST_COMPARED], persons[:MOST_COMPARED]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(len(unit), 1)
    _, person = np.unique(persons, return_inverse=True)
    one, other = person[first], person[second]
    same = one == other
    if not same.any() or same.all():
        return Finding(path, None, missing=_NO_PAIRS)

    order = np.argsort((unit @ unit.T)[first, second], kind="stable")
    cosines = (unit @ unit.T)[first, second][order]
    one, other, same = one[order], other[order], same[order]
    value = weighted_auroc(cosines, same, np.ones(len(same)))

    random, people, drawn = np.random.default_rng(0), person.max() + 1, []
    for _ in range(DRAWS):
        times = np.bincount(random.integers(people, size=people), minlength=people)
        # Two images of one person drawn twice are one pair of that person each time.
        weights = np.where(same, times[one], times[one] * times[other])
        drawn.append(weighted_auroc(cosines, same, weights.astype(float)))

    low, high = np.nanquantile(drawn, [0.025, 0.975])

    return Finding(path, value, float(min(low, value)), float(max(high, value)))


def weighted_auroc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Chance that a true case scores higher than a false one, ties counting half.

    Args:
        scores: Ascending, shape (cases,).
        truth: Bool, likewise.
        weights: >= 0, likewise.

    Returns:
        In [0, 1]; NaN where either kind has no weight.
    """
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    true = np.add.reduceat(weights * truth, starts)
    false = np.add.reduceat(weights * ~truth, starts)
    below = np.cumsum(false) - false

    total = true.sum() * false.sum()

    return float((true * (below + false / 2)).sum() / total) if total else float("nan")
