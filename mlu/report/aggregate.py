"""From runs that differ in seeds to one number with an interval, and which one is the best."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mlu.metrics.verdict import student_interval
from mlu.runs.read import Gap, Run
from mlu.runs.results import Figure
from mlu.runs.seeds import Draw, Seeds
from mlu.runs.verdicts import by_seed, ends_of

STRONGEST = "attack/aia/strongest/excess"
"""Path, after the model's, of what the strongest reader finds above Retrain."""
_TRAINED = ("original", "retrain")
"""Stages of which the seconds are those of a training."""

Better = Literal["high", "low"]
Kind = Literal["seeds", "run", "runs"]


@dataclass(frozen=True)
class Interval:
    """95 % interval.

    Attributes:
        low: Lower end.
        high: Upper end.
        kind: `seeds` for Student's t over seeds, `run` for the run's own, `runs` for their mean.
    """

    low: float
    high: float
    kind: Kind


@dataclass(frozen=True)
class Cell:
    """One number of runs that differ in seeds alone.

    Attributes:
        value: Mean over seeds; None where no run has it.
        sd: Standard deviation over seeds (n - 1); None for fewer than two.
        interval: None where nothing tells how sure the number is.
        runs: Those that made it, one for each seed, by seed.
        holes: What is missing, and why.
        at_least: Some run only knows that its number is not below what it gives.
        silent: In every run the number is chance by construction, and so no evidence.
    """

    value: float | None
    sd: float | None = None
    interval: Interval | None = None
    runs: tuple[Run, ...] = ()
    holes: tuple[str, ...] = ()
    at_least: bool = False
    silent: bool = False


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds, with n - 1; None for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def seed_interval(figures: Sequence[Figure], limits: tuple[float, float]) -> Interval | None:
    """Where the number lies that other seeds would give on average, with 95 % confidence.

    Over two or more seeds Student's t, mean ± t(n - 1) sd / sqrt(n): a seed draws another split,
    other initial weights and another order, so the spread between seeds holds all of that, which a
    run's own interval (people of its test split alone) does not. Where one of the three is drawn
    anew alone (`runs.seeds`), the spread holds that one alone. Seeds that agree exactly have no
    spread to go by; then the mean of the runs' own ends. One seed has its own interval.

    Args:
        figures: One with a value for each seed.
        limits: Least and largest number possible: Student's t knows no bounds.
    """
    values = [figure.value for figure in figures if figure.value is not None]
    if any(figure.censored for figure in figures) or not values:
        return None

    if spread := student_interval(values):
        low, high = np.clip(spread, *limits)
        return Interval(float(low), float(high), "seeds")

    own = ends_of([figure for figure in figures if figure.value is not None])

    return Interval(*own, "run" if len(values) == 1 else "runs") if own else None


def cell(
    runs: Iterable[Run],
    path: str,
    limits: tuple[float, float] = (-np.inf, np.inf),
    seeds: Iterable[Seeds] = (),
    gaps: Iterable[Gap] = (),
) -> Cell:
    """The number at `path`, over seeds.

    Args:
        runs: That differ in nothing else that matters to this number; the latest of each seed that
            has it counts.
        path: As in `results.json`.
        limits: Least and largest number possible.
        seeds: That other rows have: one that lacks here is a hole.
        gaps: Jobs of the same kind that left nothing.
    """
    runs, seeds, gaps = tuple(runs), tuple(seeds), tuple(gaps)
    found = by_seed(runs, path)
    known = [pair for pair in found.values() if pair[1].value is not None]
    holes = holes_in(found, path, seeds, gaps)
    if not known:
        return Cell(None, holes=shortened(holes))

    devices = {device for run, _ in known if (device := measured_on(run, path))}
    if len(devices) > 1:
        return without(f"measured on different devices: {', '.join(sorted(devices))}")

    figures = [figure for _, figure in known]
    values = [figure.value for figure in figures if figure.value is not None]
    at_least = any(figure.censored for figure in figures)
    part = tuple(run for run, _ in known)

    return Cell(
        mean(values),
        deviation(values),
        seed_interval(figures, limits),
        part,
        holes,
        at_least,
        silent=all(run.is_silent(path) for run in part),
    )


def holes_in(
    found: Mapping[Draw, tuple[Run, Figure]],
    path: str,
    seeds: Iterable[Seeds],
    gaps: Iterable[Gap],
) -> tuple[str, ...]:
    """Seeds that have no number at `path`, those that should be there included, and why."""
    holes = [
        f"seed {run.seeds}: {figure.reason}"
        for run, figure in found.values()
        if figure.value is None
    ]

    expected = {one.deciding(path): one for one in seeds}
    failed, unknown = dict[Draw, str](), list[str]()
    for gap in gaps:
        if gap.seeds is None:
            unknown.append(gap.reason)
        else:
            failed[gap.seeds.deciding(path)] = gap.reason
            expected[gap.seeds.deciding(path)] = gap.seeds

    for draw in sorted(set(expected) - set(found)):
        holes.append(f"seed {expected[draw]}: {failed.get(draw, 'no run')}")

    return (*holes, *unknown[-1:])


def shortened(holes: Sequence[str]) -> tuple[str, ...]:
    """Reasons why no seed has a number: without the seeds, where all say the same."""
    reasons = {hole.split(": ", 1)[-1] for hole in holes}
    return tuple(reasons) if len(reasons) == 1 else tuple(holes)


def measured_on(run: Run, path: str) -> str | None:
    """The device of a clock's number; None for numbers that do not depend on it."""
    if path.split("/")[0] not in ("seconds", "speedup"):
        return None
    stage = path.removeprefix("seconds/")
    measured = run.results.measured.get(stage if stage in _TRAINED else "unlearned")
    return (measured and measured.device) or run.device


def winner(cells: Sequence[Cell], better: Better, floor: float | None = None) -> int | None:
    """Which of the rivals is the best beyond doubt: its interval touches no other's.

    Args:
        cells: Of the rivals; those without a value are none.
        better: Whether more or less is better.
        floor: Where less than this is no merit; numbers below it count as this.

    Returns:
        Its place, or None: fewer than two rivals, a rival without an interval, or intervals that
        overlap.
    """
    spans = {
        place: span(found, better, floor)
        for place, found in enumerate(cells)
        if found.value is not None
    }
    known = {place: ends for place, ends in spans.items() if ends is not None}
    if len(known) < 2 or len(known) < len(spans):
        return None

    best = max(known, key=lambda place: known[place][0])

    return (
        best
        if all(known[best][0] > high for place, (_, high) in known.items() if place != best)
        else None
    )


def span(found: Cell, better: Better, floor: float | None) -> tuple[float, float] | None:
    """Ends of an interval, turned round where less is better."""
    if found.interval is None:
        return None
    low, high = (
        end if floor is None else max(floor, end)
        for end in (found.interval.low, found.interval.high)
    )
    return (low, high) if better == "high" else (-high, -low)


def without(reason: str) -> Cell:
    """A number that there cannot be, and why."""
    return replace(Cell(None), holes=(reason,))
