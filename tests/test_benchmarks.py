import itertools
import math
from pathlib import Path

import pytest
from scipy import stats

import benchmarks
from benchmarks import __main__ as command
from benchmarks import forgetting, growth, measure, plain
from benchmarks.forgetting import Goal, Limits, Piece, greater_than, holm
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


def test_holm_rejects_what_its_definition_says():
    """Of all subsets: a hypothesis goes if Bonferroni rejects every subset that it is in."""
    pvalues = [0.03, 0.001, 0.2, 0.011, 0.016]
    numbers = range(len(pvalues))
    subsets = [
        chosen
        for size in range(1, len(pvalues) + 1)
        for chosen in itertools.combinations(numbers, size)
    ]
    rejected = {
        chosen: min(pvalues[one] for one in chosen) <= 0.05 / len(chosen) for chosen in subsets
    }
    wanted = [
        all(is_rejected for chosen, is_rejected in rejected.items() if number in chosen)
        for number in numbers
    ]
    assert holm(pvalues) == wanted == [False, True, False, True, True]


def test_a_reader_counts_as_above_only_beyond_doubt():
    values = [0.02, 0.01, 0.03, 0.02, 0.01]
    mean, spread = sum(values) / 5, stats.tstd(values)
    wanted = stats.t.sf((mean - 0.005) / (spread / math.sqrt(5)), df=4)
    assert greater_than(values, 0.005) == pytest.approx(wanted)
    assert greater_than([0.02] * 3, 0.005) == 1.0


@pytest.mark.parametrize(
    ("by", "limit", "met"),
    [
        ("mean", 0.0201, True),
        ("upper", 0.0201, False),
        ("upper", 0.05, True),
        ("least", 0.03, False),
    ],
)
def test_a_goal_is_held_to_the_mean_or_to_its_interval(by, limit, met):
    goal = Goal("excess", (0.01, 0.02, 0.03), limit, by)
    assert goal.is_met is met
    assert goal.comparison("wf").missed is not met
    assert Goal("excess", (0.01,), None).is_met is None
    # One seed has no interval, and shows nothing.
    assert Goal("excess", (-1.0,), 0.5, "upper").is_met is False


def test_what_has_been_run_is_not_run_again(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(forgetting, "FOLDER", tmp_path)
    monkeypatch.setattr(
        forgetting.subprocess, "run", lambda command, check: started.append(command)
    )
    monkeypatch.setattr(forgetting, "read_run", lambda folder: folder)
    piece = Piece(("attack=durability",), 2, Limits())
    for _ in range(2):
        folder = forgetting.run_of("two labels", piece, "wf", seed=2)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text("{}")
    assert folder == tmp_path / "two_labels" / "wf" / "2"
    ((*_, run_dir, method, seed, draw, attack, logger),) = started
    assert (method, seed, draw) == ("method=wf", "seed=2", "dataset.seed=1002")
    assert (run_dir, attack, logger) == (
        f"hydra.run.dir={folder}",
        "attack=durability",
        "logger=none",
    )
