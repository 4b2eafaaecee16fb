"""The verdict on runs that differ in their seed, by what attackers read above Retrain."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlu.metrics.verdict import MAX_EXCESS, Excess, Verdict, verdict_on
from mlu.runs.read import Run
from mlu.runs.results import Figure, finite_number

READERS = ("features", "features/mlp", "outputs", "outputs/mlp", "output", "output/mlp")
"""Views and attackers of attribute inference on which a verdict rests; the first is the
headline."""

HEADLINE = f"unlearned/attack/aia/{READERS[0]}/excess"


def verdict_of_runs(runs: Iterable[Run]) -> Verdict | None:
    """The verdict on a method, by all READERS of which there are figures.

    Where the runs allow different excesses, by the smallest. What is chance by construction, as of
    a silent output, counts for nothing.

    Args:
        runs: That differ in nothing else than the seed; of each seed the latest with a figure
            counts.

    Returns:
        None where there are no figures to go by.
    """
    runs = tuple(runs)
    excesses = [*excesses_of(runs)]
    return verdict_on(excesses, min(map(max_excess_of, runs))) if excesses else None


def verdict_of_figure(excess: Figure | None, bound: float) -> Verdict | None:
    """The verdict on one figure of one run; None where there is no such figure."""
    if excess is None or excess.value is None:
        return None
    return verdict_on([Excess((excess.value,), ends_of([excess]))], bound)


def excesses_of(runs: Sequence[Run]) -> Iterator[Excess]:
    """The excess of each reader over the runs in which it has something to read."""
    for reader in READERS:
        path = f"unlearned/attack/aia/{reader}/excess"
        found = by_seed(heard(runs, path), path)
        figures = [figure for _, figure in found.values() if figure.value is not None]
        values = tuple(figure.value for figure in figures if figure.value is not None)
        if values:
            yield Excess(values, ends_of(figures))


def heard(runs: Iterable[Run], path: str) -> list[Run]:
    """The runs whose figure at `path` is not chance by construction."""
    return [run for run in runs if not run.is_silent(path)]


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


def by_seed(runs: Iterable[Run], path: str) -> dict[int, tuple[Run, Figure]]:
    """The latest run of each seed that has the number, else the latest; by seed."""
    found: dict[int, tuple[Run, Figure]] = {}
    for run in sorted(runs, key=lambda run: run.date):
        figure = run.figure(path)
        if run.seed not in found or figure.value is not None:
            found[run.seed] = run, figure
    return dict(sorted(found.items()))


def max_excess_of(run: Run) -> float:
    """Largest excess that a run's `policy.max_excess` allows; MAX_EXCESS where it has none."""
    policy: Mapping[str, Any] = run.config.get("policy") or {}
    stated = finite_number(policy.get("max_excess"))
    return MAX_EXCESS if stated is None else stated
