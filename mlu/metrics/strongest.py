"""The strongest of several readers, and the most that any one of them finds beyond a reference."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from mlu.metrics.findings import Finding, Trial
from mlu.metrics.intervals import CONFIDENCE
from mlu.metrics.trials import balance_drawn, balanced_accuracy_of, drawn_excess

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

    Args:
        path: Prefix of the finding.
        pairs: The trial of each reader, and its trial on the reference; at least one pair.

    Returns:
        With the simultaneous ends of `excess_over_larger`: no reader finds more than the upper end,
        and some reader finds at least the lower one.
    """
    return excess_over_larger(path, [(trial, [reference]) for trial, reference in pairs])


def excess_over_larger(path: str, contests: Sequence[tuple[Trial, Sequence[Trial]]]) -> Finding:
    """`path/excess`: the largest excess of a reader over the larger of several references.

    Its ends are simultaneous (`simultaneous_reach`) for every reader and every reference. So no
    reader finds more than the upper end above the larger of its references, and some reader finds
    at least the lower one above all of them.

    Args:
        path: Prefix of the finding.
        contests: The trial of each reader, and what it is held against; at least one of each.
    """
    pairs = [(trial, other) for trial, others in contests for other in others]
    found = [drawn_excess(*pair) for pair in pairs]
    values = np.array([value for value, _ in found])
    reach = simultaneous_reach(values, [draws for _, draws in found])

    ends: list[list[float]] = []
    at = 0
    for _, others in contests:
        own = slice(at, at + len(others))
        at += len(others)
        # Above the larger reference is above all of them.
        ends.append([float(side[own].min()) for side in (values, values - reach, values + reach)])

    value, low, high = np.array(ends).max(0)

    return Finding(f"{path}/excess", float(value), float(low), float(high))


def largest_reading(path: str, trials: Sequence[Trial]) -> Finding:
    """`path/balanced_accuracy`: the most that any one reader tells, each folded as observed.

    Args:
        path: Prefix of the finding.
        trials: Of each reader; at least one.

    Returns:
        With simultaneous ends (`simultaneous_reach`): no reader tells more than the upper end.
    """
    values, draws = [], []
    for trial in trials:
        seen = balanced_accuracy_of(trial) - 0.5
        values.append(0.5 + abs(seen))
        draws.append(0.5 + (1 if seen >= 0 else -1) * (balance_drawn(trial) - 0.5))

    reach = simultaneous_reach(np.array(values), draws)
    low, high = (np.array(values) - reach).max(), (np.array(values) + reach).max()

    return Finding(f"{path}/balanced_accuracy", max(values), float(low), min(float(high), 1.0))


def simultaneous_reach(values: np.ndarray, draws: Sequence[np.ndarray]) -> np.ndarray:
    """Half the width of each of several intervals that hold together with 95 % confidence.

    Every true value lies within q standard errors of what is observed, where q is the 95 % quantile
    of the largest deviation, in standard errors, over draws of people (max-t bootstrap; Romano and
    Wolf 2005).

    Args:
        values: Observed, shape (figures,).
        draws: Of each figure, in the same draws of people.

    Returns:
        Shape (figures,).
    """
    spreads, deviations = [], []
    for value, drawn in zip(values, draws, strict=True):
        spread = float(np.nanstd(drawn))
        spreads.append(spread)
        if spread:
            deviations.append(np.abs(drawn - value) / spread)

    largest = np.fmax.reduce(deviations) if deviations else np.zeros(1)
    reach: np.ndarray = np.nanquantile(largest, CONFIDENCE) * np.array(spreads)

    return reach


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
