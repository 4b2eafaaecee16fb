import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlu.methods.parts.thrift import FEWEST, Work, within_share
from mlu.training.optimise import Tuning
from tests.support.planted import planted_problem

TUNING = Tuning(steps=10, batch_size=8, recalibrate=16)
PROBLEM = planted_problem(64)
"""64 images, so that the limit is that of FEWEST."""
LIMIT = FEWEST / 64


def within(work, share, retraining, **more):
    return within_share(work, replace(PROBLEM, retraining=retraining), share, **more)


def test_the_passes_of_a_method_are_counted_by_hand():
    work = Work(TUNING, images=5, refit=7)
    assert work.passes(64, soft=0) == 10 * 8 * 2 + 16 + 7 + 3 * 5
    assert work.passes(64, soft=0.5) == 10 * 8 * 3 + 16 + 7 + 3 * 5
    # There are no more images than there are.
    assert Work(TUNING, refit=7).passes(6, soft=0) == 10 * 6 * 2 + 6 + 6
    assert Work(Tuning(epochs=2, batch_size=8)).passes(64, soft=0) == 2 * 64 * 2


@pytest.mark.parametrize(
    ("tuning", "steps"),
    [
        (Tuning(steps=3, batch_size=8), 3),
        (Tuning(epochs=2, batch_size=8), 16),
        (Tuning(epochs=2, steps=9, batch_size=8), 9),
        (Tuning(epochs=1, steps=9, batch_size=8), 8),
        (Tuning(steps=0), 0),
    ],
)
def test_steps_are_those_that_end_first(tuning, steps):
    assert tuning.steps_over(64) == steps


@pytest.mark.parametrize(("share", "retraining"), [(None, 1), (0.1, None), (1.0, 10**9)])
def test_without_a_limit_or_below_it_nothing_changes(share, retraining):
    work = Work(TUNING, images=5, refit=7)
    assert within(work, share, retraining) is work


@given(
    share=st.floats(0.001, 1),
    retraining=st.integers(1, 100_000),
    images=st.integers(0, 500),
    refit=st.integers(0, 64),
    soft=st.sampled_from([0.0, 0.5]),
    rounds=st.integers(1, 3),
)
def test_all_rounds_together_keep_to_the_share_or_make_the_least_there_is(
    share, retraining, images, refit, soft, rounds
):
    work = Work(TUNING, images, refit)
    found = within(work, share, retraining, soft=soft, rounds=rounds)
    least = Work(replace(TUNING, steps=1, recalibrate=0), 2 if images else 0)
    limit = max(share * retraining * LIMIT, rounds * least.passes(64, soft))

    # One more step, or two images to score, may be the least.
    slack = rounds * least.passes(64, soft)
    assert rounds * found.passes(64, soft) <= limit + slack
    assert found.tuning.steps >= 1
    assert (found.images > 0) == (images > 0)

    # No less than that, but for what is rounded down.
    if found is not work:
        factor = share * retraining * LIMIT / (rounds * work.passes(64, soft))
        assert factor < 1
        assert found.tuning.steps >= math.floor(factor * 10)
        assert found.refit >= math.floor(factor * refit)


def test_below_the_fewest_images_the_limit_falls_no_further():
    few, many = planted_problem(64), planted_problem(4 * FEWEST)
    work = Work(Tuning(steps=1000, batch_size=32))
    # Epochs over so many images.
    found = {
        len(problem.train): within_share(
            work, replace(problem, retraining=2 * 8 * len(problem.train)), share=0.1
        ).tuning.steps
        for problem in (few, many)
    }
    assert found[64] == 0.1 * 8 * FEWEST // 32
    assert found[4 * FEWEST] == 4 * found[64]


def test_a_method_without_fine_tuning_stays_without():
    found = within(Work(Tuning(steps=0, recalibrate=640), images=500), 0.001, 10)
    assert found.tuning.steps == 0
    assert found.images == 2
