import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from mlu.metrics.intervals import (
    CONFIDENCE,
    error_correlation,
    mean_interval,
    mean_rate_interval,
    rate_interval,
    wilson,
)

law = settings(deadline=None, derandomize=True, max_examples=50)
Z = stats.norm.ppf(0.975)
COVERAGE = 0.93
"""Promised at least, of a nominal 0.95: the theory is that of infinitely many persons."""


def of(success, clusters=None, trial=None):
    """The interval of one column."""
    success = np.asarray(success, float).reshape(-1, 1)
    trial = np.ones_like(success, bool) if trial is None else np.asarray(trial).reshape(-1, 1)
    clusters = np.arange(len(success)) if clusters is None else np.asarray(clusters)
    low, high = rate_interval(success, trial, clusters)
    return low[0], high[0]


def score_interval(rate, count):
    """Wilson's interval from its definition: where |rate - p| = z sqrt(p (1 - p) / count)."""

    def excess(p):
        return abs(rate - p) - Z * math.sqrt(p * (1 - p) / count)

    low = 0.0 if rate == 0 else brentq(excess, 0, min(rate, 1 - 1e-12), xtol=1e-14)
    high = 1.0 if rate == 1 else brentq(excess, max(rate, 1e-12), 1, xtol=1e-14)
    return low, high


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 7), (7, 7), (3, 10), (199, 200), (5000, 9000), (0, 1)]
)
def test_wilson_equals_scipys(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    np.testing.assert_allclose(
        wilson(np.array(successes / trials), np.array(trials), Z), expected, atol=1e-12
    )


@law
@given(st.integers(1, 400), st.data())
def test_wilson_solves_the_score_equation_for_any_count(hundredths, data):
    count = hundredths / 4 + 0.1
    rate = data.draw(st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.88, 1.0]))
    np.testing.assert_allclose(
        wilson(np.array(rate), np.array(count), Z), score_interval(rate, count), atol=1e-9
    )


@law
@given(st.floats(0.1, 1e6), st.floats(0, 1), st.floats(0.5, 5))
def test_wilson_never_leaves_the_rate_outside_by_rounding(count, rate, quantile):
    rates = np.array([0.0, rate, 1.0])
    low, high = wilson(rates, np.full(3, count), quantile)
    assert (low <= rates).all()
    assert (rates <= high).all()


@law
@given(st.integers(2, 300), st.integers(1, 299))
def test_one_image_a_person_gives_wilson_at_students_count(trials, successes):
    successes = 1 + successes % (trials - 1)
    if successes == trials:
        return
    student = stats.t.ppf(0.975, trials - 1)
    expected = score_interval(successes / trials, (trials - 1) * (Z / student) ** 2)
    np.testing.assert_allclose(of(np.arange(trials) < successes), expected, atol=1e-9)


def test_many_images_of_many_persons_give_plain_wilson():
    expected = stats.binomtest(30_000, 100_000).proportion_ci(CONFIDENCE, method="wilson")
    np.testing.assert_allclose(of(np.arange(100_000) < 30_000), expected, atol=1e-6)


@law
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(2, 6))
def test_repeated_images_add_nothing(success, copies):
    persons = np.arange(len(success))
    repeated = of(np.repeat(success, copies), np.repeat(persons, copies))
    np.testing.assert_allclose(repeated, of(success, persons), atol=1e-12)


@law
@given(st.integers(0, 999))
def test_order_and_names_of_persons_do_not_count(seed):
    random = np.random.default_rng(seed)
    success, persons = random.random(40) < 0.7, random.integers(0, 12, 40)
    shuffle, names = random.permutation(40), random.permutation(100)
    np.testing.assert_allclose(
        of(success[shuffle], names[persons][shuffle]), of(success, persons), atol=1e-12
    )


@law
@given(st.integers(0, 999))
def test_images_that_do_not_count_are_not_read(seed):
    random = np.random.default_rng(seed)
    success, persons, trial = (
        random.random(50) < 0.7,
        random.integers(0, 15, 50),
        random.random(50) < 0.5,
    )
    trial[0] = True
    expected = of(success[trial], persons[trial])
    np.testing.assert_allclose(of(success, persons, trial), expected, atol=1e-12)
    np.testing.assert_allclose(of(success ^ ~trial, persons, trial), expected, atol=1e-12)


def test_what_does_not_count_may_be_undefined():
    assert of([1, 0, 1, math.nan], trial=[True, True, True, False]) == of([1, 0, 1])


def test_columns_are_independent():
    random = np.random.default_rng(0)
    success, trial, persons = (
        random.random((60, 5)),
        random.random((60, 5)) < 0.6,
        random.integers(0, 20, 60),
    )
    lows, highs = rate_interval(success, trial, persons)
    for column in range(5):
        alone = of(success[:, column], persons, trial[:, column])
        np.testing.assert_allclose((lows[column], highs[column]), alone, rtol=1e-12)


@pytest.mark.parametrize("all_right", [True, False])
def test_where_all_are_right_every_person_counts_once(all_right):
    persons = np.repeat(np.arange(8), 5)
    student = stats.t.ppf(0.975, 7)
    expected = score_interval(float(all_right), 8 * (Z / student) ** 2)
    np.testing.assert_allclose(of(np.full(40, all_right), persons), expected, atol=1e-9)


def test_no_trial_and_no_image_have_no_interval():
    assert np.isnan(of([1, 0], trial=[False, False])).all()
    low, high = rate_interval(np.empty((0, 2)), np.empty((0, 2), bool), np.empty(0, int))
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    assert low.shape == high.shape == (2,)


def test_one_person_says_little():
    low, high = of([1, 1, 0, 1], [3, 3, 3, 3])
    assert high - low > 0.9


def simulate(persons, mean, spread, simulations, seed):
    """Successes of images whose rate differs between persons, shape (images, simulations)."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, persons)
    rates = random.beta(mean * spread, (1 - mean) * spread, (persons, simulations))
    clusters = np.repeat(np.arange(persons), sizes)
    return random.random((len(clusters), simulations)) < rates[clusters], clusters


def covered(ends, truth):
    return int(((ends[0] <= truth) & (truth <= ends[1])).sum())


@pytest.mark.parametrize(("persons", "mean"), [(60, 0.5), (60, 0.8), (200, 0.93)])
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_intervals_of_clustered_images_cover_the_truth(persons, mean, spread):
    simulations = 4000
    success, clusters = simulate(persons, mean, spread, simulations, 0)
    # The least number that a true coverage of at least COVERAGE falls below once in 10,000.
    least = stats.binom.ppf(1e-4, simulations, COVERAGE)
    assert covered(rate_interval(success, np.ones_like(success), clusters), mean) >= least
    # Control: as if all images were independent.
    alone = rate_interval(success, np.ones_like(success), np.arange(len(success)))
    assert covered(alone, mean) < least


def test_more_images_narrow_the_interval():
    widths = [np.ptp(of(np.arange(n) % 5 > 0)) for n in (10, 50, 250)]
    assert widths[0] > widths[1] > widths[2]


def test_mean_interval_by_hand():
    low, high = mean_interval(
        np.array([0.8]),
        np.array([0.6]),
        (np.array([0.5]), np.array([0.9])),
        (np.array([0.2]), np.array([0.7])),
    )
    assert low[0] == pytest.approx(0.7 - math.hypot(0.3, 0.4) / 2)
    assert high[0] == pytest.approx(0.7 + math.hypot(0.1, 0.1) / 2)


def test_mean_interval_is_newcombes_of_the_difference_turned_over():
    # (a + b) / 2 = (1 + a - (1 - b)) / 2, and an interval of 1 - b is that of b turned over.
    a, b, ends_a, ends_b = 0.9, 0.7, (0.8, 0.95), (0.5, 0.8)
    other, ends = 1 - b, (1 - ends_b[1], 1 - ends_b[0])
    low = a - other - math.hypot(a - ends_a[0], ends[1] - other)
    high = a - other + math.hypot(ends_a[1] - a, other - ends[0])
    found = mean_interval(
        *map(np.array, (a, b)), tuple(map(np.array, ends_a)), tuple(map(np.array, ends_b))
    )
    np.testing.assert_allclose(found, [(1 + low) / 2, (1 + high) / 2], atol=1e-12)


def test_mean_intervals_cover_the_truth():
    simulations, images = 4000, 80
    random = np.random.default_rng(1)
    first, second = (
        random.random((images, simulations)) < 0.9,
        random.random((images, simulations)) < 0.6,
    )
    one, two = (rate_interval(s, np.ones_like(s), np.arange(images)) for s in (first, second))
    ends = mean_interval(first.mean(0), second.mean(0), one, two)
    assert covered(ends, 0.75) >= stats.binom.ppf(1e-4, simulations, COVERAGE)


def test_mean_interval_of_rates_that_persons_share_covers_the_truth():
    """Each person has two images of either kind, all right or all wrong.

    The two rates err together.
    """
    simulations, persons = 4000, 60
    random = np.random.default_rng(2)
    success = np.repeat(random.random((persons, simulations)) < 0.8, 4, axis=0)
    clusters = np.repeat(np.arange(persons), 4)
    first = np.tile([[True], [True], [False], [False]], (persons, simulations))
    one, two = (rate_interval(success, trial, clusters) for trial in (first, ~first))
    shared = error_correlation(success, first, ~first, clusters)
    np.testing.assert_allclose(shared, 1)
    rates = success[first[:, 0]].mean(0), success[~first[:, 0]].mean(0)
    least = stats.binom.ppf(1e-4, simulations, COVERAGE)

    assert covered(mean_interval(*rates, one, two, shared), 0.8) >= least
    # Control: as if the two were independent.
    assert covered(mean_interval(*rates, one, two), 0.8) < least


def test_mean_rate_interval_contains_its_mean_and_knows_persons():
    random = np.random.default_rng(3)
    success, trial = random.random((80, 3)) < 0.7, random.random((80, 3)) < [0.1, 0.9, 1.0]
    mean = np.mean([success[trial[:, column], column].mean() for column in range(3)])
    low, high = mean_rate_interval(success, trial, np.arange(80))
    assert low < mean < high
    repeated = [np.repeat(array, 4, axis=0) for array in (success, trial, np.arange(80))]
    np.testing.assert_allclose(mean_rate_interval(*repeated), (low, high))
    assert np.isnan(mean_rate_interval(success, np.zeros_like(trial), np.arange(80))).all()


def test_mean_rate_intervals_cover_the_truth():
    simulations, images = 1000, 100
    random, truths = np.random.default_rng(4), np.array([0.9, 0.6, 0.5])
    found = 0
    for _ in range(simulations):
        success, trial = (
            random.random((images, 3)) < truths,
            random.random((images, 3)) < [0.3, 0.8, 1.0],
        )
        low, high = mean_rate_interval(success, trial, np.arange(images))
        found += low <= truths.mean() <= high

    assert found >= stats.binom.ppf(1e-4, simulations, COVERAGE)


def test_mean_interval_stays_in_range_and_keeps_what_is_undefined():
    nan = np.array([math.nan])
    low, high = mean_interval(
        np.array([1.0]), np.array([1.0]), (np.array([0.2]), np.ones(1)), (np.zeros(1), np.ones(1))
    )
    assert 0 <= low[0] <= 1 == high[0]
    assert np.isnan(mean_interval(nan, np.ones(1), (nan, nan), (np.zeros(1), np.ones(1)))).all()
