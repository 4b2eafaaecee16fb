"""Overlap of two choices of weights, and what chance would give."""

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import stats

from mlu.metrics.findings import Finding
from mlu.metrics.intervals import CONFIDENCE

NOTHING_CHOSEN = "no weight was chosen"

Choice = Mapping[str, np.ndarray]
"""Bool, by layer: which of its weights were chosen, any shape."""


def overlap_findings(path: str, ours: Choice, theirs: Choice) -> Iterator[Finding]:
    """`path/overlap`, the share of our choice that theirs holds too, and `path/by_chance`.

    The latter is what as many weights of each layer, drawn at random, would hold of ours on
    average, with the ends between which 95 % of such draws lie: of a sum of hypergeometric numbers,
    a normal distribution of the same mean and variance.

    Args:
        path: Prefix of the findings.
        ours: Of the forgotten labels.
        theirs: Of the same layers.
    """
    size = sum(int(chosen.sum()) for chosen in ours.values())
    if not size:
        for name in ("overlap", "by_chance"):
            yield Finding(f"{path}/{name}", None, missing=NOTHING_CHOSEN)
        return

    shared = sum(int((chosen & theirs[layer]).sum()) for layer, chosen in ours.items())
    yield Finding(f"{path}/overlap", shared / size)

    mean, variance = 0.0, 0.0
    for layer, chosen in ours.items():
        count, share = int(theirs[layer].sum()), float(chosen.mean())
        left = (chosen.size - count) / max(chosen.size - 1, 1)
        mean, variance = mean + count * share, variance + count * share * (1 - share) * left

    reach = stats.norm.ppf((1 + CONFIDENCE) / 2) * variance**0.5
    low, high = np.clip([mean - reach, mean + reach], 0, size) / size
    yield Finding(f"{path}/by_chance", float(mean / size), float(low), float(high))


def share_findings(path: str, ours: Choice) -> Iterator[Finding]:
    """`path/chosen`, the share of all weights, and `path/layer/<layer>/chosen` and `weights`."""
    everything = sum(chosen.size for chosen in ours.values())
    yield Finding(f"{path}/chosen", sum(int(one.sum()) for one in ours.values()) / everything)

    for layer, chosen in ours.items():
        yield Finding(f"{path}/layer/{layer}/chosen", float(chosen.mean()))
        yield Finding(f"{path}/layer/{layer}/weights", float(chosen.size))
