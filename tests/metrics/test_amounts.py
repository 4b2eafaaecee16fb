"""R^2 and rank correlation: as scikit-learn and SciPy have them, over people."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import r2_score

from mlu.metrics.amounts import AMOUNT_METRICS, Estimate, amount_findings, correlation, r_squared
from mlu.metrics.trials import drawn_people

law = settings(deadline=None, derandomize=True, max_examples=40)


def estimate(seed, images=60, noise=1.0, people=None):
    random = np.random.default_rng(seed)
    truth = np.round(random.normal(40, 10, images))
    values = truth + noise * random.normal(0, 10, images)
    persons = np.arange(images) if people is None else random.permutation(images) % people
    return Estimate(values, truth, persons)


def figures(found):
    return {one.path: one for one in amount_findings("x", found)}


@law
@given(st.integers(0, 10_000), st.floats(0.01, 5))
def test_they_are_scikit_learns_and_scipys(seed, noise):
    found = estimate(seed, noise=noise)
    said = figures(found)
    assert [*said] == [f"x/{name}" for name in AMOUNT_METRICS]
    assert said["x/r2"].value == pytest.approx(r2_score(found.truth, found.values))
    spearman = stats.spearmanr(found.values, found.truth).statistic
    assert said["x/rank_correlation"].value == pytest.approx(spearman)


def test_the_ends_are_those_of_draws_of_people_with_all_their_images():
    found = estimate(3, people=20)
    drawn = drawn_people(20)
    squares, ranks = [], []
    ranked = stats.rankdata(found.values), stats.rankdata(found.truth)
    for draw in drawn.T:
        rows = np.concatenate(
            [np.flatnonzero(found.persons == person).repeat(times)
             for person, times in enumerate(draw)]
        )  # fmt: skip
        squares.append(r2_score(found.truth[rows], found.values[rows]))
        ranks.append(stats.pearsonr(ranked[0][rows], ranked[1][rows]).statistic)

    said = figures(found)
    for name, draws in (("r2", squares), ("rank_correlation", ranks)):
        one = said[f"x/{name}"]
        assert (one.low, one.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-9)


def test_by_hand():
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    once = np.ones((4, 1))
    # The mean is 2.5: it has errors of 5, estimates one off each have 4.
    assert r_squared(truth + 1, truth, once) == pytest.approx([1 - 4 / 5])
    assert r_squared(np.full(4, 2.5), truth, once) == pytest.approx([0])
    assert correlation(truth, truth**3, once) == pytest.approx(stats.pearsonr(truth, truth**3)[:1])
    # Twice as much of an image is two images.
    twice = np.array([[2.0], [1.0], [1.0], [1.0]])
    doubled = np.array([1.0, *truth])
    said = np.array([1.5, 1.0, 4.0, 4.5])
    assert r_squared(said, truth, twice) == pytest.approx(
        [r2_score(doubled, np.array([1.5, *said]))]
    )


def test_who_says_the_same_of_everybody_tells_nothing():
    truth = np.random.default_rng(0).normal(size=30)
    said = figures(Estimate(np.full(30, truth.mean()), truth, np.arange(30)))
    assert said["x/r2"].value == pytest.approx(0)
    assert said["x/rank_correlation"].value == 0


def test_without_spread_or_estimate_there_is_a_reason():
    same = figures(Estimate(np.arange(5.0), np.ones(5), np.arange(5)))
    assert {one.missing for one in same.values()} == {"the number is the same on all judged images"}
    assert {one.missing for one in figures("too few").values()} == {"too few"}


def test_shuffled_numbers_are_not_told():
    """Of 200 people in random order the ends hold 0 about 19 times in 20."""
    inside = 0
    for seed in range(100):
        found = estimate(seed, images=200, noise=0.1)
        shuffled = np.random.default_rng(seed).permutation(found.truth)
        one = figures(Estimate(found.values, shuffled, found.persons))["x/rank_correlation"]
        inside += one.low <= 0 <= one.high
    assert inside >= stats.binom.ppf(0.001, 100, 0.95)
