from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from mlu.report.aggregate import (
    Cell,
    Interval,
    cell,
    deviation,
    mean,
    seed_interval,
    winner,
)
from mlu.runs.read import Figure, collect
from mlu.runs.seeds import Seeds

from tests.support.made_runs import fail, interval as ends, leave, metrics_of  # isort: skip

ANY = (-np.inf, np.inf)
PATH = "unlearned/test/retained/accuracy"


def figures(*values, half=None):
    return [
        Figure(value, *(() if half is None else (value - half, value + half))) for value in values
    ]


def bar(value, low, high):
    return Cell(value, interval=Interval(low, high, "run"))


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=9).filter(lambda values: np.ptp(values) > 1e-6)
)
def test_mean_deviation_and_interval_are_those_of_scipy(values):
    half = scipy.stats.sem(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=half)
    found = seed_interval(figures(*values), ANY)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert mean(values) == pytest.approx(np.mean(values))
    assert deviation(values) == pytest.approx(scipy.stats.tstd(values))
    assert found.kind == "seeds"


def test_three_seeds_by_hand():
    # mean 0.9, deviations -0.01, 0, 0.01: sd 0.01; t(2) = 4.3027; half width 4.3027 * 0.01 /
    # sqrt(3) = 0.02484.
    found = seed_interval(figures(0.89, 0.90, 0.91, half=0.5), ANY)
    assert (found.low, found.high) == pytest.approx((0.87516, 0.92484), abs=1e-5)


def test_one_seed_has_its_own_interval_or_none():
    found = seed_interval(figures(0.9, half=0.02), ANY)
    assert (found.low, found.high, found.kind) == (0.88, 0.92, "run")
    assert seed_interval(figures(0.9), ANY) is None
    assert deviation([0.9]) is None


def test_seeds_that_agree_exactly_do_not_claim_certainty():
    found = seed_interval([Figure(0.5, 0.48, 0.52), Figure(0.5, 0.46, 0.56)], ANY)
    assert (found.low, found.high, found.kind) == (pytest.approx(0.47), pytest.approx(0.54), "runs")
    assert seed_interval(figures(0.5, 0.5), ANY) is None


def test_intervals_of_shares_end_where_shares_do():
    found = seed_interval(figures(0.95, 0.99), (0, 1))
    assert found.high == 1
    assert found.low > 0


def test_steps_that_were_cut_off_have_no_interval():
    assert seed_interval([Figure(200.0, censored=True), Figure(150.0)], ANY) is None


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 0.3)), max_size=6),
    st.sampled_from(["high", "low"]),
    st.sampled_from([None, 0.0, 0.4]),
)
def test_no_winner_touches_another(rivals, better, floor):
    cells = [bar(value, value - below, value + above) for value, below, above in rivals]
    best = winner(cells, better, floor)
    if best is None:
        return
    least = -np.inf if floor is None else floor
    mine = cells[best].interval
    for place, other in enumerate(cells):
        if place != best:
            low, high = max(least, other.interval.low), max(least, other.interval.high)
            assert max(least, mine.low) > high if better == "high" else max(least, mine.high) < low


@pytest.mark.parametrize(
    ("cells", "better", "floor", "best"),
    [
        ([bar(0.9, 0.88, 0.92), bar(0.8, 0.78, 0.82)], "high", None, 0),
        ([bar(0.9, 0.88, 0.92), bar(0.8, 0.78, 0.82)], "low", None, 1),
        ([bar(0.9, 0.88, 0.92), bar(0.85, 0.80, 0.88)], "high", None, None),  # they touch
        (
            [bar(0.9, 0.88, 0.92), bar(0.8, 0.79, 0.81), bar(0.7, 0.5, 0.9)],
            "high",
            None,
            None,
        ),  # the third is unsure
        (
            [bar(0.9, 0.88, 0.92), Cell(0.1)],
            "high",
            None,
            None,
        ),  # how sure the other is, is not known
        ([bar(0.9, 0.88, 0.92), Cell(None)], "high", None, None),  # nobody to beat
        ([bar(0.9, 0.88, 0.92), bar(0.8, 0.78, 0.82), Cell(0.1)], "high", None, None),
        (
            [bar(-0.2, -0.3, -0.1), bar(-0.05, -0.06, -0.04)],
            "low",
            0,
            None,
        ),  # less than nothing is no merit
        ([bar(-0.2, -0.3, -0.1), bar(0.05, 0.04, 0.06)], "low", 0, 0),
        ([], "high", None, None),
    ],
)
def test_who_is_best_by_hand(cells, better, floor, best):
    assert winner(cells, better, floor) == best


def test_a_cell_counts_each_seed_once_and_names_what_lacks(tmp_path):
    leave(tmp_path / "0", ends(PATH, 0.8), seed=1)
    leave(tmp_path / "1", ends(PATH, 0.9), seed=1, run={"date": "2026-02-01"})  # made again, later
    leave(tmp_path / "2", ends(PATH, 0.7), seed=2)
    leave(tmp_path / "3", {PATH: None}, {PATH: "no images"}, seed=3)
    gap = collect([fail(tmp_path / "4", error="UserError: no", seed=4)]).gaps
    expected = [Seeds.of({"seed": seed}) for seed in range(1, 6)]
    found = cell(collect([tmp_path]).runs, PATH, (0, 1), seeds=expected, gaps=gap)
    assert found.value == pytest.approx(0.8)
    assert [run.folder.name for run in found.runs] == ["1", "2"]
    assert found.holes == ("seed 3: no images", "seed 4: UserError: no", "seed 5: no run")


def test_what_runs_share_counts_once(tmp_path):
    """Three draws of the method on each of two originals: six models, but two originals."""
    original = PATH.replace("unlearned", "original")
    for train, kept in ((1, 0.90), (2, 0.94)):
        for method in (1, 2, 3):
            seeds = {"train_seed": train, "method_seed": method}
            metrics = ends(original, kept) | ends(PATH, kept + method / 100)
            leave(tmp_path / f"{train}{method}", metrics, run=seeds)

    runs = collect([tmp_path]).runs
    alone = seed_interval(figures(0.90, 0.94), (0, 1))
    assert cell(runs, original, (0, 1)).interval == alone
    assert [len(cell(runs, path).runs) for path in (original, PATH)] == [2, 6]
    wanted = [run.seeds for run in runs]
    assert cell(runs[:1], original, (0, 1), wanted).holes == (
        "seed 1 train_seed=2 method_seed=3: no run",
    )


def test_times_of_different_devices_are_not_averaged(tmp_path):
    for seed, device in ((1, "a CPU"), (2, "a GPU")):
        leave(tmp_path / str(seed), seed=seed, device=device)
    runs = collect([tmp_path]).runs
    for path in ("seconds/unlearn", "speedup", "seconds/retrain"):
        found = cell(runs, path)
        assert (found.value, found.holes) == (
            None,
            ("measured on different devices: a CPU, a GPU",),
        )
    assert cell(runs, PATH).value == pytest.approx(0.9)


def test_nobody_has_a_number_for_one_reason():
    runs = [
        SimpleNamespace(
            seeds=Seeds.of({"seed": seed}),
            date="",
            figure=lambda path: Figure(None, reason="why not"),
        )
        for seed in (1, 2)
    ]
    assert cell(runs, PATH).holes == ("why not",)


def test_a_number_that_is_chance_by_construction_is_marked_where_all_runs_have_it_so(tmp_path):
    path = "unlearned/attack/aia/output/excess"
    loud = metrics_of()
    silent = loud | {"unlearned/attack/aia/output/constant": 1.0}
    runs = collect([leave(tmp_path / "1", silent), leave(tmp_path / "2", loud, seed=2)]).runs
    assert not cell(runs, path).silent
    assert cell(runs[:1], path).silent
