import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlu.metrics import trials
from mlu.metrics.findings import Trial
from mlu.metrics.trials import excess_finding
from mlu.metrics.verdict import (
    MAX_EXCESS,
    MAX_LOSS,
    MOST_REPLICATES,
    Excess,
    half_width,
    replicates_needed,
    student_interval,
    verdict_on,
    verdict_sentence,
    with_loss,
)

law = settings(deadline=None, derandomize=True, max_examples=60)
excesses = st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=9).filter(
    lambda values: np.ptp(values) > 1e-6
)


def over(*values):
    return Excess(tuple(values))


def alone(value, half):
    return Excess((value,), (value - half, value + half))


def reference(values, level=0.95):
    """Student's interval as SciPy has it."""
    return stats.t.interval(level, len(values) - 1, np.mean(values), stats.sem(values))


@law
@given(excesses, st.floats(0, 0.1))
def test_one_reader_is_judged_by_the_ends_of_scipys_interval(values, bound):
    found = verdict_on([over(*values)], bound)
    low, high = reference(values)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.replicates, found.bound, found.alone) == (len(values), bound, False)
    if min(abs(low - bound), abs(high - bound)) > 1e-9:
        said = "shown" if high <= bound else "exceeded" if low > bound else "not shown"
        assert found.word == said


@law
@given(st.lists(excesses, min_size=2, max_size=6), st.floats(0, 0.1))
def test_of_several_each_must_be_shown_and_the_lower_end_is_bonferronis(several, bound):
    found = verdict_on([over(*values) for values in several], bound)
    highs = [reference(values)[1] for values in several]
    lows = [reference(values, 1 - 0.05 / len(several))[0] for values in several]
    assert found.high == pytest.approx(max(highs), abs=1e-9)
    assert found.low == pytest.approx(max(lows), abs=1e-9)
    assert found.mean == pytest.approx(max(map(np.mean, several)), abs=1e-12)
    if min(abs(end - bound) for end in (*highs, *lows)) > 1e-9:
        shown, above = max(highs) <= bound, max(lows) > bound
        assert found.word == ("exceeded" if above else "shown" if shown else "not shown")


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        ([alone(0.0, 0.02)], "shown"),
        ([alone(-0.3, 0.1)], "shown"),
        ([alone(0.0, 0.021)], "not shown"),
        ([alone(0.05, 0.031)], "not shown"),
        ([alone(0.05, 0.029)], "exceeded"),
        # Of two, 1.14 times as wide below.
        ([alone(0.05, 0.029), alone(-0.1, 0.01)], "not shown"),
        ([alone(0.05, 0.025), alone(-0.1, 0.01)], "exceeded"),
        # One that is not shown is enough, and one that is exceeded outweighs it.
        ([alone(0.0, 0.01), alone(0.0, 0.03)], "not shown"),
        ([alone(0.2, 0.01), alone(0.0, 0.03), alone(0.0, 0.01)], "exceeded"),
        # An excess of which nobody knows how sure it is shows nothing, and hides nothing.
        ([over(-0.2)], "not shown"),
        ([over(-0.2), alone(0.0, 0.01)], "not shown"),
        ([over(-0.2), alone(0.2, 0.01)], "exceeded"),
        ([over(-0.2, -0.2)], "not shown"),
        ([over(0.0, 0.001, 0.002)], "shown"),
        ([over(0.0, 0.01, 0.02)], "not shown"),
        ([over(0.1, 0.11, 0.12)], "exceeded"),
    ],
)
def test_words_by_hand(measured, word):
    assert verdict_on(measured).word == word


def test_three_replicates_by_hand():
    # Mean 0.01, sd 0.01, t(2) = 4.3027: half a width of 0.0248. Of n = 7, t(6) = 2.4469 and half a
    # width is 0.00925, of 6 0.0105; 0.01 is what there is to the bound.
    found = verdict_on([over(0.0, 0.01, 0.02)], 0.02)
    assert (found.low, found.high) == pytest.approx((-0.01484, 0.03484), abs=1e-5)
    assert found.needed == 7


def test_replicates_that_agree_have_no_spread_and_speak_of_themselves():
    found = verdict_on([Excess((0.01, 0.01), (0.0, 0.015))])
    assert (found.word, found.low, found.high) == ("shown", 0.0, 0.015)
    assert (found.alone, found.replicates, found.needed) == (True, 2, None)
    assert student_interval([0.01, 0.01]) is None
    assert student_interval([0.01]) is None


def test_replicates_that_share_people_or_models_have_the_wider_of_both_intervals():
    values = (0.0, 0.001, 0.002)
    spread, own = student_interval(values), (-0.03, 0.018)
    assert own[0] < spread[0] < spread[1] < own[1]
    apart, together = (
        verdict_on([Excess(values, own, shared="same people", independent=independent)])
        for independent in (True, False)
    )
    assert (apart.low, apart.high, apart.alone) == (*spread, False)
    assert (together.low, together.high, together.alone) == (*own, True)
    assert "over 3 replicates (same people), 95 %" in verdict_sentence(together)
    assert "of these models, over test people" in verdict_sentence(together)
    # The spread counts as well, where it is the wider one.
    wide = verdict_on([Excess((0.0, 0.03, -0.03), (-0.001, 0.001), independent=False)])
    assert (wide.low, wide.high) == student_interval([0.0, 0.03, -0.03])
    assert (wide.word, wide.needed) == ("not shown", None)
    unknown = verdict_on([Excess(values, None, independent=False)])
    assert (unknown.word, unknown.low, unknown.high) == ("not shown", None, None)


@law
@given(st.floats(1e-3, 0.3), st.floats(1e-3, 0.3))
def test_so_many_replicates_are_enough_and_one_less_is_not(distance, deviation):
    count = replicates_needed(distance, deviation)

    def reach(n):
        return stats.t.ppf(0.975, n - 1) * deviation / math.sqrt(n)

    if count is None:
        assert reach(MOST_REPLICATES) > distance
        return
    assert count >= 2
    assert reach(count) <= distance * (1 + 1e-9)
    assert count == 2 or reach(count - 1) > distance * (1 - 1e-9)


@law
@given(excesses)
def test_what_is_not_shown_needs_more_replicates_than_there_are_unless_the_mean_is_above(values):
    found = verdict_on([over(*values)])
    if found.word != "not shown" or np.mean(values) >= MAX_EXCESS:
        assert found.needed is None
    elif found.needed is not None:
        assert found.needed > len(values)


def test_of_several_the_one_that_needs_most_counts_and_one_hopeless_one_is_enough():
    few, many, hopeless = over(0.0, 0.01, 0.02), over(-0.02, 0.01, 0.04), over(0.0, 0.03, 0.1)
    needed = [verdict_on([one]).needed for one in (few, many, hopeless)]
    assert needed == [7, 38, None]
    assert verdict_on([few, many]).needed == 38
    assert verdict_on([few, hopeless]).needed is None
    assert verdict_on([few, over(-0.5, -0.4, -0.3)]).needed == 7


@pytest.mark.parametrize("measured", [[], [over()], [over(0.1, math.nan)], [over(math.inf)]])
def test_there_is_no_verdict_on_nothing(measured):
    with pytest.raises(ValueError, match=r"no excess|finite"):
        verdict_on(measured)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (
            [over(0.0, 0.001, 0.002)],
            "Shown: +0.1 points above Retrain on average over 3 replicates, 95 % interval "
            "[-0.1, +0.3], at most the 2 points allowed.",
        ),
        (
            [alone(0.0, 0.01)],
            "Shown of this one model, over test people; other seeds may differ: +0.0 points above "
            "Retrain, 95 % interval [-1.0, +1.0], at most the 2 points allowed.",
        ),
        (
            [over(0.1, 0.11, 0.12)],
            "Exceeded: +11.0 points above Retrain on average over 3 replicates, 95 % interval "
            "[+8.5, +13.5], above the 2 points allowed.",
        ),
        (
            [over(0.0, 0.01, 0.02)],
            "Not shown: +1.0 points above Retrain on average over 3 replicates, 95 % interval "
            "[-1.5, +3.5], where 2 points are allowed; with this spread it would take 7 "
            "replicates.",
        ),
        (
            [over(0.0, 0.03, 0.1)],
            "Not shown: +4.3 points above Retrain on average over 3 replicates, 95 % interval "
            "[-8.4, +17.1], where 2 points are allowed; the mean itself is not below that, and if "
            "it is true, no replicates can show it.",
        ),
        (
            [over(-0.96, 0.999, -0.9, 0.9)],
            "Not shown: +1.0 points above Retrain on average over 4 replicates, 95 % interval "
            "[-171.9, +173.8], where 2 points are allowed; no number of replicates that one can "
            "make would show it.",
        ),
        (
            [alone(0.0, 0.03)],
            "Not shown of this one model, over test people; other seeds may differ: +0.0 points "
            "above Retrain, 95 % interval [-3.0, +3.0], where 2 points are allowed; how many "
            "replicates it would take, only several tell.",
        ),
        (
            [over(-0.01)],
            "Not shown of this one model, over test people; other seeds may differ: -1.0 points "
            "above Retrain, without an interval, where 2 points are allowed; how many replicates "
            "it would take, only several tell.",
        ),
    ],
)
def test_sentences(measured, said):
    assert verdict_sentence(verdict_on(measured)) == said


STUDIES = 4000
BETWEEN, PEOPLE, WITHIN = 0.01, 50, 0.1
"""Spread of replicates, test people of each, and spread of people: half of the variance each."""


def studies(replicates, truth, seed=0, shared=False):
    """Mean excesses, shape (STUDIES, replicates), where replicates and people are drawn.

    With `shared` people all replicates of a study are judged on the same ones.
    """
    random = np.random.default_rng(seed)
    models = truth + BETWEEN * random.normal(size=(STUDIES, replicates))
    drawn = (STUDIES, 1 if shared else replicates, PEOPLE)
    return models + WITHIN * random.normal(size=drawn).mean(2)


def within_limits(share, truth, count=STUDIES):
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], count, truth) / count
    return low <= share <= high


@pytest.mark.parametrize("replicates", [2, 3, 8])
def test_the_interval_over_replicates_holds_the_truth_where_people_are_drawn_as_well(replicates):
    ends = np.array([student_interval(study) for study in studies(replicates, 0.013)])
    held = (ends[:, 0] <= 0.013) & (ends[:, 1] >= 0.013)
    assert within_limits(held.mean(), 0.95)


def test_where_all_replicates_share_their_people_the_interval_does_not_speak_of_other_people():
    ends = np.array([student_interval(study) for study in studies(8, 0.013, shared=True)])
    held = (ends[:, 0] <= 0.013) & (ends[:, 1] >= 0.013)
    assert held.mean() < stats.binom.ppf(1e-6, STUDIES, 0.95) / STUDIES


@pytest.mark.parametrize("replicates", [3, 8])
def test_what_lies_at_the_bound_is_shown_and_exceeded_by_chance_alone(replicates):
    words = [verdict_on([over(*study)]).word for study in studies(replicates, MAX_EXCESS, seed=1)]
    for word in ("shown", "exceeded"):
        assert within_limits(np.mean([one == word for one in words]), 0.025), word


def test_of_many_labels_at_the_bound_few_studies_call_one_exceeded_and_uncorrected_many():
    labels = [studies(5, MAX_EXCESS, seed=10 + label) for label in range(6)]
    above = np.zeros((2, 1000), bool)
    for number in range(1000):
        found = verdict_on([over(*label[number]) for label in labels])
        above[0, number] = found.word == "exceeded"
        above[1, number] = max(student_interval(label[number])[0] for label in labels) > MAX_EXCESS
    expected = 1 - (1 - 0.025 / 6) ** 6
    assert within_limits(above[0].mean(), expected, 1000)
    assert within_limits(above[1].mean(), 1 - 0.975**6, 1000)
    assert not within_limits(above[1].mean(), expected, 1000)


def test_the_replicates_that_it_would_take_are_those_that_show_it():
    """With as many as it would take by the true spread, three of four studies show it or more."""
    deviation = math.hypot(BETWEEN, WITHIN / math.sqrt(PEOPLE))
    count = replicates_needed(MAX_EXCESS, deviation)
    assert count is not None
    assert half_width(count, deviation) <= MAX_EXCESS < half_width(count - 1, deviation)
    shown = [verdict_on([over(*study)]).word == "shown" for study in studies(count, 0.0, seed=2)]
    # Half a width is below the distance, and the mean is 0: shown where t (mean / sd) says so.
    freedom, distance = count - 1, MAX_EXCESS / deviation * math.sqrt(count)
    power = stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, distance)
    assert within_limits(np.mean(shown), power)


RUNS = 200


def judged_people(random, model, reference):
    """One run: the same 200 people read by two attackers, who are right with these rates."""
    truth = np.arange(200) % 2 == 0
    sides = []
    for rate in (model, reference):
        right = random.random(200) < rate
        sides.append(Trial(np.where(right == truth, 1.0, -1.0), truth, np.arange(200)))
    return excess_finding("", *sides)


def test_a_runs_own_interval_speaks_of_its_people_and_not_of_other_seeds(monkeypatch):
    monkeypatch.setattr(trials, "RESAMPLES", 200)
    trials.drawn_people.cache_clear()
    random = np.random.default_rng(0)
    held = {"its own": 0, "of all seeds": 0}
    for _ in range(RUNS):
        own = 0.08 * random.normal()
        found = judged_people(random, 0.75 + own, 0.7)
        held["its own"] += found.low <= 0.05 + own <= found.high
        held["of all seeds"] += found.low <= 0.05 <= found.high
    trials.drawn_people.cache_clear()
    assert within_limits(held["its own"] / RUNS, 0.95, RUNS)
    assert held["of all seeds"] < stats.binom.ppf(1e-6, RUNS, 0.95)


@pytest.mark.parametrize(
    ("loss", "is_lost"), [(None, False), (-0.1, False), (MAX_LOSS, False), (0.021, True), (1, True)]
)
def test_nothing_is_shown_of_a_model_that_has_lost_the_rest(loss, is_lost):
    shown = verdict_on([alone(-0.3, 0.02)])
    found = with_loss(shown, loss)
    assert shown.word == "shown"
    assert found.word == ("not shown" if is_lost else "shown")
    assert ("the retained labels are lost" in verdict_sentence(found)) == is_lost
    assert with_loss(shown, loss, bound=1).word == "shown"


def test_what_is_exceeded_stays_so_whatever_is_lost_and_no_replicates_mend_a_loss():
    assert with_loss(verdict_on([alone(0.2, 0.02)]), 0.5).word == "exceeded"
    wide = verdict_on([over(-0.1, 0.1)])
    lost = with_loss(wide, 0.125)
    assert wide.needed is not None
    assert lost.needed is None
    said = verdict_sentence(lost)
    assert "12.5 points of accuracy where 2 are allowed" in said
    assert "would take" not in said
