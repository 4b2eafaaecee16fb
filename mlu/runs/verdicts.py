"""The verdict on runs that differ in their seed, by what attackers read above Retrain."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlu.metrics.findings import part_of_path
from mlu.metrics.verdict import MAX_EXCESS, Excess, Verdict, verdict_on, with_unread
from mlu.runs.read import Run
from mlu.runs.results import Figure, finite_number
from mlu.runs.seeds import Draw

HEADLINE = "unlearned/attack/aia/strongest/excess"

COMPARISONS = {"strongest": "strongest reader", "same_reader": "one reader against itself"}
"""Comparisons by a part of their path, and what they are called.

Of each forgotten label: the strongest reader against Retrain's strongest, and the largest excess
of a reader over itself, both from outputs and features."""


def verdict_of_runs(runs: Iterable[Run]) -> Verdict | None:
    """The verdict on a method, by all COMPARISONS of each forgotten label.

    Where the runs allow different excesses, by the smallest. Of a label that could not be read
    nothing is shown.

    Args:
        runs: That differ in nothing else than in seeds and forget the same labels; of each seed the
            latest with a figure counts.

    Returns:
        None where there are no figures to go by.
    """
    runs = tuple(runs)
    excesses, unread = [], []
    for label in runs[0].results.run.forget_label if runs else ():
        found = [*excesses_of(runs, label)]
        excesses += found
        if len(found) < len(COMPARISONS):
            unread.append(label)

    if not excesses:
        return None
    judged = verdict_on(excesses, min(map(max_excess_of, runs)))

    return with_unread(judged, unread) if unread else judged


def verdict_of_figure(excess: Figure | None, bound: float) -> Verdict | None:
    """The verdict on one figure of one run; None where there is no such figure."""
    if excess is None or excess.value is None:
        return None
    return verdict_on([Excess((excess.value,), ends_of([excess]))], bound)


def excesses_of(runs: Sequence[Run], label: str) -> Iterator[Excess]:
    """The excess in each of COMPARISONS over the runs that know it."""
    for comparison, called in COMPARISONS.items():
        start = f"unlearned/attack/aia/label/{part_of_path(label)}"
        found = by_seed(runs, f"{start}/{comparison}/excess")
        figures = [figure for _, figure in found.values() if figure.value is not None]
        values = tuple(figure.value for figure in figures if figure.value is not None)
        if values:
            yield Excess(values, ends_of(figures), f"{label}, {called}")


def ends_of(figures: Sequence[Figure]) -> tuple[float, float] | None:
    """Mean of the ends of the runs' own intervals; None where one of them has none."""
    ends = [
        (figure.low, figure.high)
        for figure in figures
        if figure.low is not None and figure.high is not None
    ]
    if not ends or len(ends) < len(figures):
        return None
    low, high = np.mean(ends, axis=0)
    return float(low), float(high)


def by_seed(runs: Iterable[Run], path: str) -> dict[Draw, tuple[Run, Figure]]:
    """The latest run of each seed that has the number, else the latest; by seed.

    Runs that share all seeds that decide the number have measured it once.
    """
    found: dict[Draw, tuple[Run, Figure]] = {}
    for run in sorted(runs, key=lambda run: run.date):
        draw, figure = run.seeds.deciding(path), run.figure(path)
        if draw not in found or figure.value is not None:
            found[draw] = run, figure
    return dict(sorted(found.items()))


def max_excess_of(run: Run) -> float:
    """Largest excess that a run's `policy.max_excess` allows; MAX_EXCESS where it has none."""
    policy: Mapping[str, Any] = run.config.get("policy") or {}
    stated = finite_number(policy.get("max_excess"))
    return MAX_EXCESS if stated is None else stated
