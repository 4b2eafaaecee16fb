from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mlu.metrics import trials
from mlu.metrics.findings import Trial
from mlu.metrics.strongest import (
    excess_over_larger,
    largest_excess,
    largest_reading,
    same_reader_excess,
    strongest_reader,
)
from mlu.metrics.trials import drawn_excess

SIMULATIONS = 200
READERS = 5


@pytest.fixture
def _few_draws(monkeypatch):
    caches = (trials.bootstrapped, trials.balance_drawn, trials.drawn_people)
    monkeypatch.setattr(trials, "RESAMPLES", 300)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def trial(scores, truth, held_out=np.nan):
    return Trial(np.asarray(scores, float), truth, np.arange(len(truth)), held_out)


def drawn(random, truth, distances):
    """One trial for each distance, of the same people."""
    return [trial(random.normal(size=len(truth)) + one * (truth - 0.5), truth) for one in distances]


def test_the_strongest_reader_is_the_best_at_held_out_people_whatever_it_says_of_the_judged():
    truth = np.arange(40) % 2 == 0
    right, wrong = np.where(truth, 1, -1), np.where(truth, -1, 1)
    found = {
        "first": trial(right, truth, 0.6),
        "second": trial(wrong, truth, 0.9),
        "third": "why",
        "fourth": trial(right, truth),
    }
    assert strongest_reader(found) == "second"
    unknown = {
        name: replace(one, held_out=np.nan) for name, one in found.items() if name != "third"
    }
    assert strongest_reader(unknown) == "first"
    assert strongest_reader({"only": "why"}) == "only"


def test_choosing_on_the_judged_people_would_be_noticed():
    """Of readers that know nothing the best at the judged people seems to know something."""
    random = np.random.default_rng(0)
    truth = np.arange(100) % 2 == 0
    chosen, picked = [], []
    for _ in range(SIMULATIONS):
        found = {}
        for name, one in enumerate(drawn(random, truth, [0.0] * READERS)):
            found[name] = replace(one, held_out=random.random())
        said = {name: trials.balanced_accuracy_of(one) for name, one in found.items()}
        chosen.append(said[strongest_reader(found)])
        picked.append(max(said.values()))

    error = 0.05 / np.sqrt(SIMULATIONS)
    assert abs(np.mean(chosen) - 0.5) < 4 * error
    assert np.mean(picked) - 0.5 > 4 * error


@pytest.mark.usefixtures("_few_draws")
def test_simultaneous_ends_hold_the_largest_true_excess_in_19_of_20_cases():
    random = np.random.default_rng(1)
    truth = np.arange(200) % 2 == 0
    distances, others = np.array([0.5, 1.0, 1.5, 1.0, 0.2]), np.array([0.4, 1.0, 1.2, 1.1, 0.2])
    known = stats.norm.cdf(distances / 2) - stats.norm.cdf(others / 2)
    above = below = naive = 0
    for _ in range(SIMULATIONS):
        pairs = [*zip(drawn(random, truth, distances), drawn(random, truth, others), strict=True)]
        found = same_reader_excess("x", pairs)
        above += known.max() <= found.high
        below += found.low <= known.max()
        # What one would say of the largest alone.
        values = [drawn_excess(*pair) for pair in pairs]
        best = max(values, key=lambda one: one[0])
        naive += np.quantile(best[1], 0.025) <= known.max()

    fewest = stats.binom.ppf(0.001, SIMULATIONS, 0.95)
    assert above >= fewest
    assert below >= fewest
    assert naive <= below


@pytest.mark.usefixtures("_few_draws")
def test_simultaneous_ends_follow_from_the_largest_deviation_of_each_draw():
    random = np.random.default_rng(2)
    truth = random.random(60) < 0.4
    pairs = [*zip(drawn(random, truth, [1, 2, 0]), drawn(random, truth, [1, 0, 0]), strict=True)]
    found = same_reader_excess("x", pairs)

    values, draws = zip(*(drawn_excess(*pair) for pair in pairs), strict=True)
    errors = [np.std(one) for one in draws]
    deviations = []
    for number in range(len(draws[0])):
        of_draw = [
            abs(one[number] - value) / error
            for one, value, error in zip(draws, values, errors, strict=True)
        ]
        deviations.append(max(of_draw))
    reach = np.quantile(deviations, 0.95)

    assert found.path == "x/excess"
    assert found.value == max(values)
    ends = [
        (value - reach * error, value + reach * error)
        for value, error in zip(values, errors, strict=True)
    ]
    assert found.low == pytest.approx(max(low for low, _ in ends))
    assert found.high == pytest.approx(max(high for _, high in ends))


@pytest.mark.usefixtures("_few_draws")
def test_of_several_excesses_the_upper_end_is_the_highest_and_the_lower_one_pays_for_the_choice():
    random = np.random.default_rng(3)
    truth = random.random(80) < 0.5
    pairs = [*zip(drawn(random, truth, [2, 1]), drawn(random, truth, [1, 1]), strict=True)]
    values, draws = zip(*(drawn_excess(*pair) for pair in pairs), strict=True)
    found = largest_excess("x", pairs)
    assert found.value == max(values)
    assert found.high == pytest.approx(max(np.quantile(one, 0.975) for one in draws))
    assert found.low == pytest.approx(max(np.quantile(one, 0.0125) for one in draws))
    alone = largest_excess("x", pairs[:1])
    assert (alone.low, alone.high) == pytest.approx(np.quantile(draws[0], [0.025, 0.975]))


@pytest.mark.usefixtures("_few_draws")
def test_nothing_exceeds_itself_beyond_doubt():
    random = np.random.default_rng(4)
    truth = random.random(80) < 0.5
    pairs = [(one, one) for one in drawn(random, truth, [2, 1])]
    for conclude in (same_reader_excess, largest_excess):
        found = conclude("x", pairs)
        assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.usefixtures("_few_draws")
def test_the_excess_over_the_larger_of_two_is_the_smaller_of_both():
    random = np.random.default_rng(5)
    truth = random.random(80) < 0.5
    ours, low, high = drawn(random, truth, [2.5, 0.5, 1.5])
    found = excess_over_larger("x", [(ours, [low, high])])
    values, draws = zip(*(drawn_excess(ours, other) for other in (low, high)), strict=True)
    assert found.value == min(values) == values[1]

    spreads = np.array([np.std(one) for one in draws])
    deviations = [np.abs(one - value) for one, value in zip(draws, values, strict=True)]
    largest = np.max(np.array(deviations) / spreads[:, None], 0)
    reach = np.quantile(largest, 0.95) * spreads
    assert found.low == pytest.approx(min(np.array(values) - reach))
    assert found.high == pytest.approx(min(np.array(values) + reach))

    # Of several readers the largest of these, with ends that hold for all.
    several = excess_over_larger("x", [(ours, [low, high]), (low, [high])])
    assert several.value == found.value
    assert several.high >= found.value
    alone = excess_over_larger("x", [(ours, [high])])
    assert alone == same_reader_excess("x", [(ours, high)])


@pytest.mark.usefixtures("_few_draws")
def test_the_larger_mark_is_not_exceeded_by_what_is_above_the_smaller_one_alone():
    """19 times in 20 the ends hold the true excess over the larger of two marks."""
    random = np.random.default_rng(6)
    truth = np.arange(200) % 2 == 0
    known = stats.norm.cdf(0.5) - stats.norm.cdf([0.25, 0.55]).max()
    held = above_smaller = 0
    for _ in range(SIMULATIONS):
        ours, low, high = drawn(random, truth, [1.0, 0.5, 1.1])
        found = excess_over_larger("x", [(ours, [low, high])])
        held += found.low <= known <= found.high
        above_smaller += excess_over_larger("x", [(ours, [low])]).low > known
    assert held >= stats.binom.ppf(0.001, SIMULATIONS, 0.95)
    assert above_smaller > 0.05 * SIMULATIONS


@pytest.mark.usefixtures("_few_draws")
def test_no_reader_tells_more_than_the_upper_end_of_the_largest_reading():
    random = np.random.default_rng(7)
    truth = np.arange(200) % 2 == 0
    distances = np.array([1.0, -1.5, 0.5])
    known = 0.5 + np.abs(stats.norm.cdf(distances / 2) - 0.5)
    held = 0
    for _ in range(SIMULATIONS):
        found = largest_reading("x", drawn(random, truth, distances))
        held += found.low <= known.max() <= found.high
    assert held >= stats.binom.ppf(0.001, SIMULATIONS, 0.95)
    right = trial(np.where(truth, 1.0, -1.0), truth)
    wrong = trial(np.where(truth, -1.0, 1.0), truth)
    assert largest_reading("x", [right]) == largest_reading("x", [wrong])
    assert largest_reading("x", [right]).high == 1
