"""The mark without Retrain: whichever is larger, and only what is known."""

import numpy as np
import pytest

from mlu.auditing.baseline import NO_MARK, any_reader_finding, baseline_findings
from mlu.metrics.findings import Trial
from mlu.metrics.trials import observed_excess

TRUTH = np.arange(120) % 2 == 0


def trial(distance, seed, held_out=np.nan):
    scores = np.random.default_rng(seed).normal(size=len(TRUTH)) + distance * (TRUTH - 0.5)
    return Trial(scores, TRUTH, np.arange(len(TRUTH)), held_out)


def evidence(linear, forest, seed):
    """Two readers in each place; the second one is better at held-out people."""
    found = {}
    for number, place in enumerate(("outputs", "features", "stages")):
        found[place] = trial(linear, [seed, number, 0], 0.6)
        found[f"{place}/trees"] = trial(forest, [seed, number, 1], 0.7)
    return found


def figures(*given):
    return {one.path: one for one in baseline_findings(*given)}


def test_the_strongest_reader_is_held_against_the_larger_mark():
    ours, random = evidence(3, 3, 1), evidence(0.5, 0.5, 2)
    floor = {"": trial(0, 3, 0.5), "/trees": trial(1.5, 4, 0.8)}
    found = figures(ours, [random], floor)
    strongest = ours["features/trees"]
    marks = [random["features/trees"], floor["/trees"]]
    expected = min(observed_excess(strongest, mark) for mark in marks)
    assert found["baseline/strongest/features/excess"].value == pytest.approx(expected)
    assert found["baseline/strongest/excess"].value == pytest.approx(
        max(found[f"baseline/strongest/{place}/excess"].value for place in ("outputs", "features"))
    )
    same = max(
        min(observed_excess(ours[path], random[path]), observed_excess(ours[path], floor["/trees"]))
        for path in ours
        if not path.startswith("stages")
    )
    assert found["baseline/same_reader/excess"].value == pytest.approx(same)


def test_a_model_that_shows_no_more_than_the_larger_mark_is_not_beyond_it():
    ours, random = evidence(1, 1, 5), evidence(0.2, 0.2, 6)
    low, high = {"": trial(0, 7, 0.5)}, {"": trial(1.5, 8, 0.5)}
    assert figures(ours, [random], low)["baseline/same_reader/excess"].low > 0
    assert figures(ours, [random], high)["baseline/same_reader/excess"].low < 0
    assert figures(ours, [random, evidence(1.5, 1.5, 9)], low)["baseline/strongest/excess"].low < 0


def test_one_mark_may_be_missing_and_without_any_there_is_a_reason():
    ours, random = evidence(2, 2, 1), evidence(1, 1, 2)
    floor = {"": "no retained label"}
    alone = figures(ours, [random], floor)["baseline/strongest/excess"]
    assert alone.value is not None
    none = figures(ours, [], floor)
    assert {one.missing for one in none.values()} == {NO_MARK}
    unread = figures(dict.fromkeys(ours, "too few"), [random], floor)
    assert unread["baseline/same_reader/excess"].missing == "too few"


def test_any_reader_looks_at_outputs_and_features():
    ours = {**evidence(1, 1, 1), "stages": trial(9, 2)}
    found = any_reader_finding("any_reader", ours)
    assert found.path == "any_reader/balanced_accuracy"
    assert 0.5 < found.value < 0.95
    assert any_reader_finding("x", dict.fromkeys(ours, "too few")).missing == "too few"
