"""The strongest of several readers, and the most that any one of them finds beyond a reference."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from mlu.metrics.findings import Finding, Trial
from mlu.metrics.intervals import CONFIDENCE
from mlu.metrics.trials import drawn_excess

Name = TypeVar("Name")


def strongest_reader(trials: Mapping[Name, Trial | str]) -> Name:
    """The reader that tells people of the attacker's own best who were held out from it.

    What it says of the people that it is judged by is not looked at. The first one where none was
    tried on held-out people.

    Args:
        trials: Of each reader, or why there is none; at least one.
    """
    tried = {}
    for name, trial in trials.items():
        if isinstance(trial, Trial) and not math.isnan(trial.held_out):
            tried[name] = float(trial.held_out)

    return max(tried, key=tried.__getitem__) if tried else next(iter(trials))


def same_reader_excess(path: str, pairs: Sequence[tuple[Trial, Trial]]) -> Finding:
    """`path/excess`: the largest excess of a reader over the same reader on the reference.

    Its ends are simultaneous: with 95 % confidence the true excess of every reader lies within q
    standard errors of what is observed, where q is the 95 % quantile of the largest deviation, in
    standard errors, over draws of people (max-t bootstrap; Romano and Wolf 2005). So no reader
    finds more than the upper end, and some reader finds at least the lower one.

    Args:
        path: Prefix of the finding.
        pairs: The trial of each reader, and its trial on the reference; at least one pair.
    """
    values, spreads, deviations = [], [], []
    for pair in pairs:
        value, draws = drawn_excess(*pair)
        spread = float(np.nanstd(draws))
        values.append(value)
        spreads.append(spread)
        if spread:
            deviations.append(np.abs(draws - value) / spread)

    largest = np.fmax.reduce(deviations) if deviations else np.zeros(1)
    reach = np.nanquantile(largest, CONFIDENCE) * np.array(spreads)
    low, high = (np.array(values) - reach).max(), (np.array(values) + reach).max()

    return Finding(f"{path}/excess", max(values), float(low), float(high))


def largest_excess(path: str, pairs: Sequence[tuple[Trial, Trial]]) -> Finding:
    """`path/excess`: the largest of several excesses, with ends that hold for the largest.

    None is larger than the upper end where that is so of each; the lower end is that of the one
    which is largest beyond doubt, corrected for their number (Bonferroni).

    Args:
        path: Prefix of the finding.
        pairs: A trial and the reference's, of each; at least one pair.
    """
    tail = (1 - CONFIDENCE) / 2
    values, lows, highs = [], [], []
    for pair in pairs:
        value, draws = drawn_excess(*pair)
        low, high = np.nanquantile(draws, [tail / len(pairs), 1 - tail])
        values.append(value)
        lows.append(float(low))
        highs.append(float(high))

    return Finding(f"{path}/excess", max(values), max(lows), max(highs))
