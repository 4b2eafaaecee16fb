import math
from pathlib import Path

import pytest

import benchmarks
from benchmarks import __main__ as command
from benchmarks import growth, measure, plain
from benchmarks.measure import Comparison, compare
from tests.test_imports import ours

HELPERS = {"__init__", "__main__", "measure", "plain", "resident"}


def test_every_file_is_a_benchmark_that_is_listed_once_or_a_helper():
    files = {file.stem for file in Path(benchmarks.__path__[0]).glob("*.py")} - HELPERS
    listed = [*command.BENCHMARKS, *command.LONG]
    assert sorted(listed) == sorted(files)


def test_plain_loops_know_nothing_of_our_methods():
    """What they may share with them.

    Data, augmentation, seeds, the network, and what a problem is.
    """
    shared = {
        "data.augment",
        "data.split",
        "models.network",
        "system.seeding",
        "unlearning.contract",
    }
    assert {name.removeprefix("mlu.") for name in ours(Path(plain.__file__))} == shared


class Clock:
    """Stands still while nothing is done; work is done in the times that it is given, in turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def taking(self, *times: float):
        waiting = iter(times)

        def work() -> None:
            self.now += next(waiting)

        return work


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(measure, "PAIRS", 3)
    return clock


def test_a_comparison_gives_medians_of_what_follows_the_first_call(clock):
    """And of the ratios of pairs: not the ratio of the medians, 2 / 4."""
    found = compare(
        "ours", clock.taking(99, 1, 2, 9), "theirs", clock.taking(77, 4, 3, 5), target=0.7
    )
    assert (found.unit, found.ours, found.theirs) == ("s", 2, 4)
    assert found.ratio == pytest.approx(2 / 3)
    assert not found.missed


@pytest.mark.parametrize(
    ("ratio", "target", "missed"),
    [(1.0, 1.0, False), (1.01, 1.0, True), (math.nan, 1.0, True), (9.0, None, False)],
)
def test_a_target_is_missed_beyond_it_and_where_there_is_no_figure(ratio, target, missed):
    assert Comparison("ours", "theirs", "s", ratio, 1.0, ratio, target).missed == missed


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.3])
def test_the_fit_finds_the_exponent_and_the_factor_of_a_power_law(exponent):
    law = growth.power_law([(size, 0.2 * size**exponent) for size in (100, 400, 1600)])
    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.factor == pytest.approx(0.2)


def test_the_fit_of_noisy_costs_is_that_of_least_squares_in_logarithms():
    """Costs off by factors of 2, 1/2 and 2 around size^1.

    Their logarithms have no slope by size.
    """
    law = growth.power_law([(1, 2.0), (4, 2.0), (16, 32.0)])
    assert law.exponent == pytest.approx(1)
    assert law.factor == pytest.approx(2 ** (1 / 3))


def test_the_table_marks_what_misses_its_target():
    rows = [
        Comparison(name, "theirs", "s", ratio, 1.0, ratio, 1.05)
        for name, ratio in (("good", 1.0), ("bad", 1.1))
    ]
    table = command.table_of("some", [*rows, Comparison("free", "theirs", "s", 9.0, 1.0, 9.0)])
    *_, targets = (list(column.cells) for column in table.columns)
    assert ["✗" in target for target in targets] == [False, True, False]
    assert targets[2] == ""
