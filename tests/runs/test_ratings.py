"""Ratings: the verdict of the report, what is lost, and an order in which losing gains nothing."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from mlu.runs.ratings import (
    RANKED_WORDS,
    RANKING_COLUMNS,
    Limits,
    Rating,
    in_order,
    losses_in,
    order_of_rating,
    ranking_cells,
    rating_of_runs,
    rules_of_ranking,
)
from mlu.runs.verdicts import HEADLINE, verdict_of_runs
from tests.support.made_runs import made_run, metrics_of, results_of

NAMES = ("Bald", "Male", "Young")


def run_of(seed, retained=0.94, excess=0.0, labels=NAMES, **changes):
    metrics = metrics_of(retained=retained, excess=excess, labels=labels) | changes
    run = made_run(metrics, run=results_of(seed=seed)["run"])
    return replace(run, config={**run.config, "dataset": {"name": "faces", "seed": 2000 + seed}})


def runs_of(excesses, **changes):
    return [run_of(seed, excess=excess, **changes) for seed, excess in enumerate(excesses, 1)]


@pytest.mark.parametrize("shift", [-0.02, 0.012, 0.2])
def test_the_word_follows_from_student_s_interval_over_replicates(shift):
    excesses = shift + np.array([0.001, -0.002, 0.004, 0.0, -0.003])
    runs = runs_of(excesses)
    rating = rating_of_runs("mine", runs, Limits())

    half = student.ppf(0.975, 4) * excesses.std(ddof=1) / math.sqrt(5)
    assert (rating.mean, rating.high) == pytest.approx((shift, shift + half))
    expected = "shown" if shift + half <= 0.02 else "exceeded" if shift > 0.1 else "not shown"
    assert rating.word == expected == verdict_of_runs(runs).word
    assert (rating.retained, rating.reference) == pytest.approx((0.94, 0.94))
    assert (rating.lost, rating.unchanged, rating.copied) == ((), (), ())


def test_what_is_unchanged_is_exceeded_whatever_people_can_show():
    runs = runs_of([0.0, 0.001, 0.002, 0.001, 0.0])
    assert rating_of_runs("mine", runs, Limits()).word == "shown"
    still = rating_of_runs("mine", runs, Limits(), unchanged=[2, 3])
    assert still.word == "exceeded"
    assert still.said.startswith("Exceeded: replicates 2, 3 are the original as given. By readers")


def test_a_replicate_that_cannot_be_read_shows_nothing():
    runs = runs_of([0.0, 0.001, 0.002, 0.001, 0.0])
    runs[3] = run_of(4, **{HEADLINE: None})
    rating = rating_of_runs("mine", runs, Limits())
    assert rating.word == "not shown"
    assert rating.said.startswith("Not shown: replicate 4 is not to be read.")
    blind = [run_of(seed, **dict.fromkeys(run.figures)) for seed, run in enumerate(runs, 1)]
    assert rating_of_runs("mine", blind, Limits()).word == "not shown"
    assert rating_of_runs("mine", blind, Limits()).lost


def test_losses_are_means_over_replicates_against_retrain():
    # Retrain keeps 0.94 of everything.
    even = [run_of(1, retained=0.90), run_of(2, retained=0.94)]
    assert list(losses_in(even, Limits(max_loss=0.0201))) == []
    (said,) = losses_in(even, Limits(max_loss=0.0199))
    assert said == "accuracy 2.0"

    sacrificed = {"unlearned/test/label/Young/balanced_accuracy": 0.5}
    forgotten = {"unlearned/test/label/Male/balanced_accuracy": 0.5}
    assert list(losses_in([run_of(1, **forgotten)], Limits())) == []
    (said,) = losses_in([run_of(1, **sacrificed)], Limits())
    assert said == "Young 44.0"


ratings = st.builds(
    Rating,
    name=st.sampled_from("abcdef"),
    word=st.sampled_from(RANKED_WORDS),
    said=st.just(""),
    mean=st.none() | st.floats(-0.5, 0.5),
    high=st.none() | st.floats(-0.5, 0.5),
    lost=st.sampled_from([(), ("Young",)]),
    unchanged=st.sampled_from([(), (), (1,)]),
    copied=st.sampled_from([(), (), (2,)]),
    ours=st.booleans(),
)


@given(st.lists(ratings, max_size=8), st.randoms())
def test_nobody_gains_by_losing_labels_or_by_leaving_models_as_they_were(given_ratings, random):
    shuffled = list(given_ratings)
    random.shuffle(shuffled)
    placed = in_order(shuffled)
    ranked = [one for one in placed if one.place is not None]
    assert [one.place for one in ranked] == list(range(1, len(ranked) + 1))
    assert [bool(one.rating.copied) for one in placed] == sorted(
        one.place is None for one in placed
    )
    keys = [[order_of_rating(one.rating) for one in in_order(ratings) if one.place is not None]
            for ratings in (shuffled, given_ratings)]  # fmt: skip
    assert keys[0] == keys[1]

    for better, worse in itertools.pairwise(ranked):
        one, other = better.rating, worse.rating
        assert not (one.unchanged and not other.unchanged)
        if bool(one.unchanged) == bool(other.unchanged):
            assert not (one.lost and not other.lost)
            if bool(one.lost) == bool(other.lost):
                assert RANKED_WORDS.index(one.word) <= RANKED_WORDS.index(other.word)
                if one.word == other.word and None not in (one.high, other.high):
                    assert max(one.high, 0) <= max(other.high, 0)


def test_a_row_has_a_cell_for_each_column_and_tells_ours_from_others():
    mine = Rating(name="wf, us", word="shown", said="", mean=0.01, low=-0.02, high=0.04)
    ours = replace(mine, name="wf", ours=True, seconds=0.04, passes=12345.0, lost=("x", "y"))
    rows = [dict(zip(RANKING_COLUMNS, ranking_cells(one), strict=True)) for one in in_order(
        [replace(mine, method="trick"), ours, replace(mine, copied=(1,))])]  # fmt: skip
    assert [row["place"] for row in rows] == ["1", "2", "–"]
    assert [row["made by"] for row in rows] == ["others", "us", "others"]
    assert rows[0]["weights"] == "wf, us (trick)"
    assert rows[0]["above Retrain, points"] == "+1.0 [-2.0, +4.0]"
    assert (rows[1]["seconds"], rows[1]["image passes"]) == ("0.04", "12,345")
    assert rows[1]["lost, points"] == "x, y"
    assert rows[2]["forgotten?"] == "shown: a given Retrain"


def test_to_read_less_than_on_retrain_is_no_merit_and_to_keep_more_is():
    mild = Rating(name="a", word="shown", said="", high=-0.001, retained=0.9)
    harsh = replace(mild, name="b", high=-0.3, retained=0.89)
    worse = replace(mild, name="c", high=0.01, retained=0.95)
    assert [one.rating.name for one in in_order([worse, harsh, mild])] == ["a", "b", "c"]


def test_the_rule_states_its_limits():
    text = " ".join(rules_of_ranking(Limits(0.03, 0.12), 5, 0.025))
    for number in ("5 replicates", "2.5 points", "3 points below", "12 points"):
        assert number in text
