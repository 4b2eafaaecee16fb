"""Holding two ways of doing the same thing against each other."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch

PAIRS = 7


@dataclass(frozen=True)
class Comparison:
    """Medians over pairs.

    Attributes:
        name: What was done.
        alternative: What it is held against.
        unit: `s`, or `MB` at the peak.
        ours: In that unit.
        theirs: Of the alternative.
        ratio: Median of the pairs' ratios, ours / theirs.
    """

    name: str
    alternative: str
    unit: str
    ours: float
    theirs: float
    ratio: float


def compare(name: str, ours: Callable[[], object], alternative: str, other: Callable[[], object]) -> Comparison:
    """Warm both up once, then time them in turn, so that a machine whose speed drifts favours neither."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(PAIRS)]
    first, second = zip(*pairs, strict=True)
    ratio = statistics.median(one / two for one, two in pairs)
    return Comparison(name, alternative, "s", statistics.median(first), statistics.median(second), ratio)


def compare_memory(name: str, ours: Callable[[], object], alternative: str, other: Callable[[], object]) -> Comparison:
    """Peak of what torch allocates on the CPU, which is the same at every run."""
    one, two = peak_megabytes(ours), peak_megabytes(other)
    return Comparison(name, alternative, "MB", one, two, one / two)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_megabytes(work: Callable[[], object]) -> float:
    """Largest sum of allocations and releases since the start."""
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(changes)) / 1e6
