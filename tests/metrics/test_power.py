import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlu.metrics import trials
from mlu.metrics.findings import Trial
from mlu.metrics.power import (
    CORRELATION,
    difference_deviation,
    effective_people,
    people_needed,
    showable_excess,
)

law = settings(deadline=None, derandomize=True, max_examples=60)
STUDIES = 3000


def readings(random, people, rate, correlation, studies=STUDIES):
    """Whether two readers are right about each person, bool, shape (2, studies, people)."""
    first, second = random.random((2, studies, people)) < rate
    same = random.random((studies, people)) < correlation
    return np.stack([first, np.where(same, first, second)])


def differences(images, rate, correlation, alike=True, seed=0):
    """Differences of balanced accuracies of many studies.

    Args:
        images: Of each person with the label, and of each without it.
        rate: Share of right readings.
        correlation: Of both readers' being right.
        alike: Whether all images of a person are read alike, else independently.
        seed: Of the draws.
    """
    random, rates = np.random.default_rng(seed), []
    for counts in images:
        counts = counts if alike else np.ones(counts.sum(), int)
        right = readings(random, len(counts), rate, correlation)
        rates.append((right * counts).sum(2) / counts.sum())
    first, second = np.mean(rates, axis=0)
    return first - second


SIDES = {
    "one image each": (np.ones(60, int), np.ones(200, int)),
    "many images of some": (np.arange(1, 41) % 9 + 1, np.arange(1, 91) % 4 + 1),
}


@pytest.mark.parametrize("rate", [0.5, 0.8])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize("images", SIDES.values(), ids=SIDES)
def test_the_deviation_is_that_of_simulated_studies(images, rate, correlation):
    found = differences(images, rate, correlation)
    expected = difference_deviation(*map(effective_people, images), rate, correlation)
    low, high = stats.chi2.ppf([5e-5, 1 - 5e-5], STUDIES - 1) / (STUDIES - 1)
    assert low < found.var(ddof=1) / expected**2 < high
    assert abs(found.mean()) < 4 * expected / math.sqrt(STUDIES)


@pytest.mark.parametrize("images", SIDES.values(), ids=SIDES)
def test_what_can_be_shown_holds_so_many_studies_of_nothing(images):
    reach = showable_excess(*map(effective_people, images))
    share = (np.abs(differences(images, 0.5, CORRELATION, seed=1)) <= reach).mean()
    # Differences are multiples of a step, which may lie on either side of the reach.
    step = sum(1 / counts.sum() for counts in images) / 2
    room = step * 2 * stats.norm.pdf(1.96) / (reach / 1.96)
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], STUDIES, 0.95) / STUDIES
    assert low - room < share < high + room


def test_to_count_images_instead_of_people_would_promise_too_much_and_people_never_too_little():
    images = SIDES["many images of some"]
    alike, apart = (differences(images, 0.5, 0.5, alike).std() for alike in (True, False))
    by_people = difference_deviation(*map(effective_people, images))
    by_images = difference_deviation(*(counts.sum() for counts in images))
    assert by_images < 0.8 * alike
    assert apart < by_people


def test_the_plan_is_as_wide_as_the_interval_of_a_run(monkeypatch):
    """By the bootstrap of people, whatever the formula says."""
    monkeypatch.setattr(trials, "RESAMPLES", 400)
    trials.drawn_people.cache_clear()
    random, truth = np.random.default_rng(0), np.arange(300) < 100
    widths = []
    for right in readings(random, 300, 0.5, CORRELATION, studies=20).swapaxes(0, 1):
        sides = [Trial(np.where(one == truth, 1.0, -1.0), truth, np.arange(300)) for one in right]
        found = trials.excess_finding("", *sides)
        # Folded sides may differ in sign: then they are of the sum.
        if len({trials.observed(side).balanced_accuracy.item() >= 0.5 for side in sides}) == 1:
            widths.append((found.high - found.low) / 2)

    trials.drawn_people.cache_clear()
    error = 4 * np.std(widths, ddof=1) / math.sqrt(len(widths))
    assert len(widths) > 5
    assert abs(np.mean(widths) - showable_excess(100, 200)) < error + 0.05 * np.mean(widths)


def test_a_plan_by_hand():
    # sqrt(2 * 0.5 * 0.25 * (1 / 1200 + 1 / 1200) / 4) = 0.010206, times 1.95996 = 0.0200.
    assert difference_deviation(1200, 1200) == pytest.approx(0.0102062, abs=1e-7)
    assert showable_excess(1200, 1200) == pytest.approx(0.0200038, abs=1e-7)
    assert people_needed(0.02, 1200, 1200, 1200) == 1201
    assert people_needed(0.02, 1200, 1200, 1200, correlation=0) == 2401
    # With 100 of 1,000: half a width of 0.0735 / 2 by 100 and 900 people.
    assert people_needed(0.02, 100, 900, 100) == math.ceil(
        100 * (stats.norm.ppf(0.975) / 0.02) ** 2 / 16 * (1 / 100 + 1 / 900)
    )


@law
@given(
    st.integers(1, 5000), st.integers(1, 5000), st.floats(0.001, 0.5), st.sampled_from([0.0, 0.5])
)
def test_so_many_people_are_enough_and_one_less_is_not(having, lacking, bound, correlation):
    rarer = min(having, lacking)
    needed = people_needed(bound, having, lacking, rarer, correlation)

    def reach(people):
        grown = people / rarer
        return stats.norm.ppf(0.975) * difference_deviation(
            having * grown, lacking * grown, correlation=correlation
        )

    assert reach(needed) <= bound * (1 + 1e-9)
    assert needed == 1 or reach(needed - 1) > bound * (1 - 1e-9)


@law
@given(st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_people_tell_no_more_than_so_many_people_and_no_less_than_one(images):
    found = effective_people(np.array(images))
    assert 1 - 1e-9 <= found <= len(images) + 1e-9
    assert found == pytest.approx(len(images)) or len(set(images)) > 1


def test_nobody_tells_nothing():
    assert effective_people(np.array([], int)) == 0
    assert showable_excess(0, 10) == 1
    assert showable_excess(1, 1) == pytest.approx(0.98 / math.sqrt(2), abs=1e-3)
    assert people_needed(0.02, 0, 10, 0) is None
    assert people_needed(0, 10, 10, 10) is None
