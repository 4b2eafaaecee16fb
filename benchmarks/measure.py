"""Timing two ways of doing the same thing in turn, so that a machine whose speed drifts favours neither."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

PAIRS = 7


@dataclass(frozen=True)
class Comparison:
    """Medians over pairs.

    Attributes:
        name: What was done.
        alternative: What it is held against.
        seconds: Of ours.
        alternative_seconds: Of the alternative.
        ratio: Median of the pairs' ratios, ours / alternative.
    """

    name: str
    alternative: str
    seconds: float
    alternative_seconds: float
    ratio: float


def compare(name: str, ours: Callable[[], object], alternative: str, other: Callable[[], object]) -> Comparison:
    """Warm both up once, then time them in turn."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(PAIRS)]
    first, second = zip(*pairs, strict=True)
    ratio = statistics.median(one / two for one, two in pairs)
    return Comparison(name, alternative, statistics.median(first), statistics.median(second), ratio)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
