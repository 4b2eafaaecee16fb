import math
from contextlib import contextmanager
from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    mutual_info_score,
    roc_auc_score,
)
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from mlu.metrics import trials
from mlu.metrics.findings import NO_REFERENCE, Trial
from mlu.metrics.trials import ROUNDING, TRIAL_METRICS

law = settings(deadline=None, derandomize=True, max_examples=50)
FIGURES = ("balanced_accuracy", "auroc", "accuracy", "mutual_information")
RATES = ("balanced_accuracy", "auroc")
TESTED = ("folded_balanced_accuracy", "folded_auroc", "mutual_information", "information_bound")


def forget():
    for cached in (trials.bootstrapped, trials.balance_drawn, trials.drawn_people):
        cached.cache_clear()


@contextmanager
def setting(**values):
    """Other constants of the module, and no draws that were made with the usual ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(trials, name, value)
        forget()
        yield
    forget()


def trial_of(scores, truth, persons=None):
    scores = np.asarray(scores, float)
    persons = np.arange(len(scores)) if persons is None else np.asarray(persons)
    return Trial(scores, np.asarray(truth, bool), persons)


def negated(trial):
    return trial_of(-trial.scores, trial.truth, trial.persons)


def found(trial):
    return {
        finding.path.removeprefix("x/"): finding for finding in trials.trial_findings("x", trial)
    }


def slow(scores, truth, weights=None):
    """All FIGURES by scikit-learn; NaN where a class that a figure needs is absent.

    Weights are whole or half: scikit-learn's mutual information cuts off what is less.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    scores, truth, weights = scores[weights > 0], truth[weights > 0], weights[weights > 0]
    said, ranks, both = (
        scores > 0,
        np.unique(scores, return_inverse=True)[1],
        0 < truth.sum() < len(truth),
    )
    table = [
        [weights[(truth == one) & (said == other)].sum() for other in (False, True)]
        for one in (False, True)
    ]

    return (
        balanced_accuracy_score(truth, said, sample_weight=weights) if both else np.nan,
        roc_auc_score(truth, ranks, sample_weight=weights) if both else np.nan,
        accuracy_score(truth, said, sample_weight=weights),
        mutual_info_score(None, None, contingency=2 * np.array(table)) / math.log(2),
    )


def stacked(sample):
    return np.stack([getattr(sample, figure) for figure in FIGURES], 1)


@st.composite
def small_trials(draw, balanced=False, zero=True):
    """Few images of few persons, with ties."""
    truth = [True, False, *draw(st.lists(st.booleans(), max_size=12))]
    truth = truth + [not one for one in truth] if balanced else truth
    score = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0] if zero else [-2.0, -0.5, 0.5, 1.0])
    each = {"min_size": len(truth), "max_size": len(truth)}
    return trial_of(draw(st.lists(score, **each)), truth, draw(st.lists(st.integers(0, 5), **each)))


PEOPLE, SIMULATIONS = 120, 500


def draw(seed, people=PEOPLE, most=1, prevalence=0.5, distance=0.0, shared=0.0, own=False):
    """Normal scores that the label moves by `distance` standard deviations, half to each side.

    People have 1 to `most` images; so much of the variance is `shared` by a person's. The label is
    the image's own, or the person's.
    """
    random = np.random.default_rng(seed)
    persons = np.repeat(np.arange(people), random.integers(1, most + 1, people))
    truth = (
        random.random(len(persons)) < prevalence
        if own
        else (random.random(people) < prevalence)[persons]
    )
    noise = math.sqrt(shared) * random.normal(size=people)[persons]
    noise += math.sqrt(1 - shared) * random.normal(size=len(persons))
    return trial_of(distance * (truth - 0.5) + noise, truth, persons)


CASES = {
    "one image": {},
    "rare": {"prevalence": 0.25},
    "clustered": {"most": 3, "shared": 0.9},
    "clustered, rare": {"most": 3, "shared": 0.9, "prevalence": 0.3},
    "own labels": {"most": 3, "shared": 0.9, "own": True},
}
by_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@law
@given(small_trials())
def test_every_figure_equals_scikit_learns(trial):
    expected = slow(trial.scores, trial.truth)
    np.testing.assert_allclose(stacked(trials.observed(trial)), [expected], atol=1e-12)
    with setting(RESAMPLES=50, PERMUTATIONS=9):
        findings = found(trial)
    same = ("constant",) if np.ptp(trial.scores) == 0 else ()
    assert tuple(findings) == (*TRIAL_METRICS, *same)
    np.testing.assert_allclose([findings[figure].value for figure in FIGURES], expected, atol=1e-12)
    for rate, value in zip(RATES, expected, strict=False):
        assert findings[f"folded_{rate}"].value == pytest.approx(max(value, 1 - value), abs=1e-12)
    bound = trials.information(findings["folded_balanced_accuracy"].value)
    assert findings["information_bound"].value == pytest.approx(bound, abs=1e-12)


@pytest.mark.parametrize(
    ("rate", "papers"),
    [(0.0, None), (0.1, None), (0.5, None), (1.0, None), (0.65, 0.0659), (0.46, 0.0046)],
)
def test_information_is_what_an_entropy_leaves_of_a_bit(rate, papers):
    bits = 1 + sum(p * math.log2(p) for p in (rate, 1 - rate) if p > 0)
    for either in (rate, 1 - rate):
        assert trials.information(either) == pytest.approx(bits, abs=1e-12)
        assert papers is None or trials.information(either) == pytest.approx(papers, abs=5e-5)


@law
@given(small_trials(balanced=True))
def test_of_a_balanced_bit_the_bound_is_never_more_than_the_mutual_information(trial):
    seen = trials.observed(trial)
    assert (
        trials.information(seen.folded("balanced_accuracy").item())
        <= seen.mutual_information.item() + 1e-12
    )


@law
@given(small_trials(), st.integers(0, 999))
def test_weights_count_persons_as_often_as_they_are_drawn(trial, seed):
    counts = np.random.default_rng(seed).integers(0, 4, (5, 6))
    counts[:, trial.persons[0]] += 1
    rows = [np.repeat(np.arange(len(trial.truth)), count[trial.persons]) for count in counts]
    expected = [slow(trial.scores[row], trial.truth[row]) for row in rows]
    drawn = trials.weighted(trial.scores, trial.truth, counts[:, trial.persons].T.astype(float))
    np.testing.assert_allclose(stacked(drawn), expected, atol=1e-12)


def test_as_many_people_are_drawn_as_there_are_each_as_likely_and_independently():
    with setting():
        counts = trials.drawn_people(50).T.astype(float)
    assert counts.shape == (trials.RESAMPLES, 50)
    assert (counts.sum(1) == 50).all()
    # Nearly Poisson's: (count - 1)^2 has mean 1 - 1/50 and variance 3.
    assert abs(((counts - 1) ** 2).mean() - 0.98) < 4 * math.sqrt(3 / counts.size)
    assert (np.abs(counts.mean(0) - 1) < 5 / math.sqrt(len(counts))).all()
    assert len(np.unique(counts, axis=0)) == len(counts)


UNEVEN = {"scores": [1, -1, 2, 0, 1, 1, 3, -2, 2], "persons": [7, 7, 3, 3, 3, 9, 9, 4, 4]}
"""Of positives and negatives: with exceptions; without in one class; without, right; without,
wrong."""
TRUTHS = {
    "none": ([1, 1, 0, 0, 0, 1, 0, 0, 1], []),
    "positives": ([0, 0, 1, 0, 1, 1, 1, 0, 0], [(True, -np.inf, 4 / 2)]),
    "negatives": ([1, 1, 1, 0, 1, 1, 1, 0, 1], [(False, np.inf, 2 / 2)]),
    "both, right": ([1, 0, 1, 0, 1, 1, 1, 0, 1], [(False, np.inf, 3 / 3), (True, -np.inf, 6 / 4)]),
    "both, wrong": ([0, 1, 0, 1, 0, 0, 0, 1, 0], [(False, -np.inf, 6 / 4), (True, np.inf, 3 / 3)]),
}


@pytest.mark.parametrize(("truth", "added"), TRUTHS.values(), ids=TRUTHS)
def test_a_draw_resamples_people_and_one_more_of_a_class_that_was_answered_without_exception(
    truth, added
):
    """The one more has as many images as a person of the class has on average."""
    trial = trial_of(truth=truth, **UNEVEN)
    people = np.unique(trial.persons)
    scores = np.append(trial.scores, [one[1] for one in added])
    truths = np.append(trial.truth, [one[0] for one in added]).astype(bool)
    with setting(RESAMPLES=60):
        expected = []
        for count in trials.drawn_people(len(people) + 2).T:
            weights = [count[np.searchsorted(people, person)] for person in trial.persons]
            weights += [count[len(people) + positive] * size for positive, _, size in added]
            expected.append(slow(scores, truths, np.array(weights, float)))
        np.testing.assert_allclose(stacked(trials.bootstrapped(trial)), expected, atol=1e-12)
        findings, expected = found(trial), np.array(expected)

    for column, figure in enumerate(FIGURES):
        finding, values = findings[figure], expected[:, column][~np.isnan(expected[:, column])]
        low, high = np.percentile(values, [2.5, 97.5])
        low = 0 if figure == "mutual_information" and finding.p_value > 0.05 else low
        np.testing.assert_allclose((finding.low, finding.high), (low, high), atol=1e-12)

    for rate in RATES:
        low, high = trials.folded_ends(findings[rate].low, findings[rate].high)
        assert (findings[f"folded_{rate}"].low, findings[f"folded_{rate}"].high) == (low, high)
        if rate == "balanced_accuracy":
            bound = findings["information_bound"]
            assert (bound.low, bound.high) == (trials.information(low), trials.information(high))


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("images", [1, 4])
def test_a_perfect_reading_of_n_persons_leaves_three_in_n_possible(wrong, images):
    """Exceptions in a draw are Poisson's with mean 1 in either class.

    So they are 5 of 2 n at most in 97.5 % of all draws.
    """
    n, resamples = 200, 20_000
    truth = np.repeat(np.arange(2 * n) < n, images)
    scores = np.where(truth ^ wrong, 1.0, -1.0)
    with setting(RESAMPLES=resamples):
        drawn = trials.bootstrapped(trial_of(scores, truth, np.arange(len(truth)) // images))

    right = 1 - drawn.balanced_accuracy if wrong else drawn.balanced_accuracy
    low, high = trials.percentile_interval(right)
    assert (stats.poisson.ppf(0.975, 2), high) == (5, 1)
    random = np.random.default_rng(0)
    yes, no, missed, taken = random.multinomial(
        2 * n + 2, np.array([n, n, 1, 1]) / (2 * n + 2), 200_000
    ).T
    theory = (yes / (yes + missed) + no / (no + taken)) / 2
    error = 4 * math.sqrt(0.025 * 0.975 * (1 / resamples + 1 / len(theory)))
    least, most = np.quantile(theory, [0.025 - error, 0.025 + error])
    assert 1 - 3 / n < least <= low <= most < 1 - 2 / n


ANSWERS = {
    "right": lambda truth: truth,
    "wrong": np.invert,
    "always yes": np.ones_like,
    "mostly right": lambda truth: truth ^ (np.arange(len(truth)) % 10 == 0),
    "half right": lambda truth: np.arange(len(truth)) % 2 == 0,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_every_interval_contains_its_value(answer):
    truth = np.arange(40) < 20
    for metric, finding in found(trial_of(np.where(answer(truth), 1, -1), truth)).items():
        assert (
            (finding.low is None)
            == (finding.high is None)
            == (metric in ("mutual_information_corrected", "constant"))
        )
        assert (
            finding.low is None or finding.low - 1e-12 <= finding.value <= finding.high + 1e-12
        ), metric


@pytest.mark.parametrize("cells", [1, 700, 10**9])
def test_the_size_of_a_block_changes_no_draw(cells):
    trial = draw(0, people=30, most=3)
    with setting(RESAMPLES=90, PERMUTATIONS=90):
        whole = stacked(trials.bootstrapped(trial))
    with setting(RESAMPLES=90, PERMUTATIONS=90, CELLS=cells):
        np.testing.assert_array_equal(stacked(trials.bootstrapped(trial)), whole)
        assert stacked(trials.permuted(trial)).shape == whole.shape


def test_the_same_people_are_drawn_for_every_trial_of_them():
    trial, other = draw(0, most=3, distance=0.5), draw(0, most=3, distance=0.5)
    one, same, turned = (trials.bootstrapped(each) for each in (trial, other, negated(trial)))
    np.testing.assert_array_equal(stacked(one), stacked(same))
    for rate in RATES:
        np.testing.assert_allclose(getattr(one, rate), 1 - getattr(turned, rate), atol=1e-12)


def test_a_draw_without_a_class_does_not_count():
    draws = np.array([np.nan, 0.2, 0.8, np.nan, 0.4])
    assert trials.percentile_interval(draws) == tuple(np.percentile([0.2, 0.4, 0.8], [2.5, 97.5]))
    lonely = found(trial_of([1, -1, -1, 1, -1], [1, 0, 0, 0, 0]))["auroc"]
    assert 0 <= lonely.low < lonely.high <= 1


def coverage(case, distance, names=lambda trial: trial.persons):
    """Share of the intervals of balanced accuracy and AUROC that contain the truth."""
    truths, hits = (
        (stats.norm.cdf(distance / 2), stats.norm.cdf(distance / math.sqrt(2))),
        np.zeros(2),
    )
    with setting(RESAMPLES=300):
        for seed in range(SIMULATIONS):
            trial = draw(seed, distance=distance, **case)
            drawn = trials.bootstrapped(trial_of(trial.scores, trial.truth, names(trial)))
            for at, (rate, value) in enumerate(zip(RATES, truths, strict=True)):
                low, high = trials.percentile_interval(getattr(drawn, rate))
                hits[at] += low <= value <= high

    return hits / SIMULATIONS


@by_case
def test_intervals_of_who_knows_nothing_contain_one_half(case):
    assert (np.abs(coverage(case, 0.0) - 0.95) <= 0.03).all()


@pytest.mark.parametrize("case", ["one image", "clustered"])
def test_intervals_contain_what_a_known_attacker_can_read(case):
    assert (np.abs(coverage({**CASES[case], "people": 300}, 1.0) - 0.95) <= 0.03).all()


def test_to_draw_images_instead_of_people_would_be_noticed():
    assert (
        coverage(CASES["clustered"], 0.0, lambda trial: np.arange(len(trial.truth))) < 0.92
    ).all()


@pytest.mark.parametrize("seed", range(4))
def test_permutation_tests_agree_with_the_exact_ones(seed):
    trial = draw(seed, people=40, prevalence=0.4, distance=0.25 * seed)
    findings = found(trial)
    said, positives, images = (
        int((trial.scores > 0).sum()),
        int(trial.truth.sum()),
        len(trial.truth),
    )
    # Of `said` images that are called positive, those that are.
    tp = np.arange(max(0, said + positives - images), min(said, positives) + 1)
    chance = stats.hypergeom.pmf(tp, images, positives, said)
    answers = [np.arange(images) < said for _ in tp]
    truths = [
        (np.arange(images) < hit) | (np.arange(images) >= images - positives + hit) for hit in tp
    ]
    pairs = list(zip(truths, answers, strict=True))
    balanced = np.array([abs(balanced_accuracy_score(*pair) - 0.5) for pair in pairs])
    shared = np.array([mutual_info_score(*pair) for pair in pairs])
    now = int((trial.truth & (trial.scores > 0)).sum()) - tp[0]
    expected = {
        "folded_balanced_accuracy": chance[balanced >= balanced[now] - ROUNDING].sum(),
        "mutual_information": chance[shared >= shared[now] - ROUNDING].sum(),
        "folded_auroc": stats.mannwhitneyu(
            trial.scores[trial.truth], trial.scores[~trial.truth], method="exact"
        ).pvalue,
    }
    expected["information_bound"] = expected["folded_balanced_accuracy"]
    for metric, exact in expected.items():
        error = 4 * math.sqrt(exact * (1 - exact) / trials.PERMUTATIONS) + 1 / trials.PERMUTATIONS
        assert abs(findings[metric].p_value - exact) < error, metric

    # scikit-learn knows the mean of what permutations give.
    table = contingency_matrix(trial.truth, trial.scores > 0)
    excess = (shared[now] - expected_mutual_information(table, images)) / math.log(2)
    spread = math.sqrt((chance * (shared / math.log(2)) ** 2).sum() / trials.PERMUTATIONS)
    assert abs(findings["mutual_information_corrected"].value - excess) < 4 * spread


def test_all_that_is_true_of_a_person_goes_to_one_with_as_many_images():
    persons, truth = np.array([5, 2, 5, 2, 8, 8, 3, 0]), np.array([1, 1, 0, 1, 0, 0, 1, 0])
    trial = trial_of([3, -1, 2, 7, 1, -4, 5, 0], truth, persons)
    dealt = []
    for two, one in product(permutations((2, 5, 8)), permutations((0, 3))):
        other = truth.copy()
        for taker, giver in zip((2, 5, 8, 0, 3), two + one, strict=True):
            other[persons == taker] = truth[persons == giver]
        dealt.append(roc_auc_score(other, trial.scores))

    expected, often = np.unique(np.round(dealt, 9), return_counts=True)
    with setting(PERMUTATIONS=6000):
        values, counts = np.unique(np.round(trials.permuted(trial).auroc, 9), return_counts=True)

    np.testing.assert_array_equal(values, expected)
    assert stats.chisquare(counts, 6000 * often / often.sum()).pvalue > 1e-3


LEVELS = (0.01, 0.05, 0.1, 0.2, 0.5, 0.8)


def judged(case, names=lambda trial: trial.persons):
    """p-values by metric, and mutual information with its correction, of who knows nothing."""
    columns = {metric: [] for metric in TESTED}
    bits = []
    with setting(RESAMPLES=2, PERMUTATIONS=199):
        for seed in range(SIMULATIONS):
            trial = draw(seed, **case)
            findings = found(trial_of(trial.scores, trial.truth, names(trial)))
            bits.append([findings[f"mutual_information{end}"].value for end in ("", "_corrected")])
            for metric, column in columns.items():
                column.append(findings[metric].p_value)
    return {metric: np.array(column) for metric, column in columns.items()}, np.array(bits)


def below(values):
    """Number of values that are at most each of LEVELS."""
    return (values[:, None] <= np.array(LEVELS) + ROUNDING).sum(0)


def quantile_of_hits(level):
    return stats.binom.ppf(level, SIMULATIONS, LEVELS)


@by_case
def test_p_values_of_who_knows_nothing_are_uniform_and_corrected_bits_are_zero_on_average(case):
    values, bits = judged(case)
    for metric in TESTED:
        assert (below(values[metric]) <= quantile_of_hits(1 - 1e-4)).all(), metric

    # AUROCs hardly tie.
    assert (below(values["folded_auroc"]) >= quantile_of_hits(1e-4)).all()
    plugin, corrected = bits.mean(0)
    errors = 4 * bits.std(0) / math.sqrt(SIMULATIONS)
    assert abs(corrected) < errors[1]
    assert plugin > errors[0]
    if not case:
        assert abs(plugin - 1 / (2 * PEOPLE * math.log(2))) < errors[0]


def test_to_permute_images_instead_of_people_would_be_noticed():
    values, bits = judged(CASES["clustered"], lambda trial: np.arange(len(trial.truth)))
    for metric in TESTED:
        assert (below(values[metric]) > quantile_of_hits(1 - 1e-4))[1:4].all()
    assert bits[:, 1].mean() > 4 * bits[:, 1].std() / math.sqrt(SIMULATIONS)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("most", [1, 4])
def test_a_label_that_is_copied_into_the_score_sets_off_the_alarm(sign, most):
    trial = draw(0, most=most)
    findings = found(trial_of(sign * np.where(trial.truth, 1, -1), trial.truth, trial.persons))
    assert findings["auroc"].value == (1 + sign) / 2
    assert findings["folded_auroc"].value > 0.9
    assert findings["mutual_information"].low > 0.5
    assert {findings[metric].p_value for metric in TESTED} == {1 / (trials.PERMUTATIONS + 1)}
    assert all(findings[metric].p_value is None for metric in set(TRIAL_METRICS) - set(TESTED))


@law
@given(small_trials(zero=False))
@example(draw(3, distance=0.3))
@example(draw(1, most=3, distance=-1.0))
def test_inversion_turns_raw_rates_round_and_hides_nothing(trial):
    with setting(RESAMPLES=60, PERMUTATIONS=60):
        plain, other = found(trial), found(negated(trial))

    def ends_of(finding):
        return np.array([finding.value, finding.low, finding.high], float)

    for rate in (*RATES, "accuracy"):
        np.testing.assert_allclose(
            ends_of(plain[rate]), 1 - ends_of(other[rate])[[0, 2, 1]], atol=1e-12
        )

    for metric in set(TRIAL_METRICS) - {*RATES, "accuracy"}:
        np.testing.assert_allclose(
            ends_of(plain[metric]), ends_of(other[metric]), atol=1e-12, err_msg=metric
        )
        assert plain[metric].p_value == other[metric].p_value


@law
@given(st.floats(0, 1), st.floats(0, 1))
@example(0.5, 0.5)
@example(0.3, 0.6)
def test_folded_ends_are_the_range_of_the_folded_rate(one, other):
    low, high = sorted((one, other))
    grid = np.linspace(low, high, 1001)
    folded = np.maximum(grid, 1 - grid)
    found = trials.folded_ends(low, high)
    np.testing.assert_allclose(
        found, (folded.min(), folded.max()), atol=(high - low) / 1000 + 1e-15
    )
    assert 0.5 <= found[0] <= folded.min() + 1e-15


@pytest.mark.parametrize(
    ("value", "expected"), [(0.9, 1 / 5), (0.3, 3 / 5), (0.1 + 0.2, 3 / 5), (0.0, 1.0)]
)
def test_exceedance_counts_ties_and_the_truth_itself(value, expected):
    assert trials.exceedance(np.array([0.3, 0.1, 0.4, 0.2]), value) == expected


@st.composite
def memberships(draw):
    """Members and non-members, with scores that tie or do not."""
    members, others, spread = (
        draw(st.integers(1, 30)),
        draw(st.integers(20, 100)),
        draw(st.sampled_from([3, 20, 5000])),
    )
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    return trial_of(
        random.integers(-spread, spread, members + others), np.arange(members + others) < members
    )


@law
@given(memberships(), st.sampled_from([0.05, 0.1, 0.25, 0.29, 0.3]))
@example(trial_of(np.arange(200) % 101, np.arange(200) < 100), 0.29)
def test_true_positives_at_a_rate_are_the_most_of_any_threshold(trial, rate):
    member, others = trial.scores[trial.truth], trial.scores[~trial.truth]
    with setting(FALSE_POSITIVE_RATES=(rate,), FEWEST_FALSE_POSITIVES=1):
        (finding,) = trials.low_rate_findings("x", trial)

    allowed = Fraction(str(rate)) * len(others)
    caught = max(
        (member >= t).sum() for t in [*trial.scores, np.inf] if (others >= t).sum() <= allowed
    )
    assert finding.value == caught / len(member)
    missed = len(member) - caught
    low = stats.beta.ppf(0.025, caught, missed + 1) if caught else 0
    high = stats.beta.ppf(0.975, caught + 1, missed) if missed else 1
    np.testing.assert_allclose((finding.low, finding.high), (low, high), atol=1e-9)


@pytest.mark.parametrize(("others", "present"), [(999, 0), (1000, 1), (9999, 1), (10_000, 2)])
def test_a_rate_that_so_few_images_cannot_show_is_missing(others, present):
    trial = trial_of(np.arange(others + 50) * 7919 % 10_007, np.arange(others + 50) < 50)
    findings = list(trials.low_rate_findings("x", trial))
    assert [finding.path for finding in findings] == ["x/tpr_at_fpr_0.01", "x/tpr_at_fpr_0.001"]
    assert [finding.value is not None for finding in findings] == [at < present for at in range(2)]
    for finding, fewest in list(zip(findings, (1000, 10_000), strict=True))[present:]:
        assert (finding.low, finding.high) == (None, None)
        assert finding.missing == f"{others} non-members, at least {fewest} are needed at this rate"


@law
@given(small_trials())
def test_the_curve_turns_where_a_slow_one_does(trial):
    yes, no = trial.scores[trial.truth], trial.scores[~trial.truth]
    points = [((no >= t).sum(), (yes >= t).sum()) for t in [np.inf, *np.unique(trial.scores)[::-1]]]
    corners = {points[0], points[-1]}
    for (x0, y0), (x, y), (x1, y1) in zip(points, points[1:], points[2:], strict=False):
        if (x - x0) * (y1 - y) != (y - y0) * (x1 - x):
            corners.add((x, y))

    false, true = trials.roc(trial)
    seen = list(zip(np.rint(false * len(no)), np.rint(true * len(yes)), strict=True))
    assert seen == sorted(set(seen))
    assert corners <= set(seen) <= set(points)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc_score(trial.truth, trial.scores))


@law
@given(small_trials())
@example(trial_of([2, 2, 2], [1, 0, 1]))
@example(trial_of([0, 1], [1, 0]))
@example(trial_of([3, 2, 0, -4], [1, 0, 0, 0]))
@example(trial_of([-3, 0, 1, 1, 5], [1, 1, 0, 1, 0]))
def test_no_threshold_has_a_better_balanced_accuracy_than_the_best_one(trial):
    values = np.unique(trial.scores)
    halfway = (values[1:] + values[:-1]) / 2
    threshold = trials.best_threshold(trial.scores, trial.truth)
    assert threshold in halfway or threshold < values[0]
    best = max(slow(trial.scores - t, trial.truth)[0] for t in [values[0] - 1, *halfway])
    assert slow(trial.scores - threshold, trial.truth)[0] == pytest.approx(best, abs=1e-12)


def excess(trial, reference):
    finding = trials.excess_finding("x", trial, reference)
    assert finding.path == "x/excess"
    return finding


def pair(seed, distances, shared=0.0, others=False):
    """Two attackers.

    Of the same people, so much of their scores' variance is the same, or of others.
    """
    first, second = draw(seed, most=2), draw(SIMULATIONS + seed, most=2)
    if not others:
        noise = np.random.default_rng(SIMULATIONS + seed).normal(size=len(first.truth))
        noise = math.sqrt(shared) * first.scores + math.sqrt(1 - shared) * noise
        second = trial_of(noise, first.truth, first.persons)
    both = zip((first, second), distances, strict=True)
    return [
        trial_of(one.scores + distance * (one.truth - 0.5), one.truth, one.persons)
        for one, distance in both
    ]


@law
@given(small_trials(zero=False), st.integers(0, 999))
def test_an_excess_is_the_difference_of_folded_rates_whichever_side_is_inverted(trial, seed):
    scores = np.random.default_rng(seed).permutation(trial.scores)
    other = trial_of(scores, trial.truth, trial.persons)
    values = [slow(one.scores, one.truth)[0] for one in (trial, other)]
    with setting(RESAMPLES=60):
        finding, back = excess(trial, other), excess(other, trial)
        turned = excess(negated(trial), other), excess(trial, negated(other))
        one, two = (
            math.copysign(1, value - 0.5) * (trials.bootstrapped(side).balanced_accuracy - 0.5)
            for side, value in zip((trial, other), values, strict=True)
        )

    assert finding.value == pytest.approx(abs(values[0] - 0.5) - abs(values[1] - 0.5), abs=1e-12)
    np.testing.assert_allclose(
        (finding.low, finding.high), np.nanpercentile(one - two, [2.5, 97.5]), atol=1e-12
    )
    np.testing.assert_allclose((finding.low, finding.high), (-back.high, -back.low), atol=1e-12)
    for one, value in zip(turned, values, strict=True):
        assert one.value == pytest.approx(finding.value, abs=1e-12)
        # One half has no side to be folded to.
        if value != 0.5:
            np.testing.assert_allclose((one.low, one.high), (finding.low, finding.high), atol=1e-12)


@pytest.mark.parametrize("value", [0.0, -2.5, 1e6, np.inf, -np.inf])
def test_who_says_the_same_of_every_image_is_marked_and_nobody_else(value):
    trial = draw(0)
    same = trial_of(np.full(len(trial.truth), value), trial.truth, trial.persons)
    with setting(RESAMPLES=20, PERMUTATIONS=20):
        marked, plain = (found(one) for one in (same, trial))
        almost = same.scores.copy()
        almost[3] += 1e-3
        other = found(trial_of(almost, trial.truth, trial.persons))
    assert marked["constant"].value == 1
    assert marked["balanced_accuracy"].value == marked["auroc"].value == 0.5
    assert "constant" not in plain
    assert ("constant" in other) == np.isinf(value)


def test_nothing_exceeds_itself():
    for seed in range(5):
        trial, copy = draw(seed, most=3, distance=0.3), draw(seed, most=3, distance=0.3)
        for reference in (copy, negated(copy)):
            finding = excess(trial, reference)
            np.testing.assert_allclose((finding.value, finding.low, finding.high), 0, atol=1e-12)
            assert finding.missing is None


@pytest.mark.parametrize(
    ("distances", "kind"),
    [
        ((1.0, 1.0), {}),
        ((1.0, 1.0), {"shared": 0.8}),
        ((1.5, -0.8), {}),
        ((1.0, 1.0), {"others": True}),
        ((0.0, 0.0), {}),
    ],
    ids=["alike", "correlated", "apart", "other people", "nothing over nothing"],
)
def test_the_interval_of_an_excess_contains_the_truth(distances, kind):
    strong, reference = stats.norm.cdf(np.abs(distances) / 2)
    with setting(RESAMPLES=300):
        findings = [excess(*pair(seed, distances, **kind)) for seed in range(SIMULATIONS)]
    share = np.mean([one.low <= strong - reference <= one.high for one in findings])
    assert share >= 0.92
    # Two values that were folded at one half differ by less than chance.
    assert share <= 0.98 or not any(distances)


def test_excesses_are_over_the_reference_under_the_same_path():
    one, other, third = (draw(0, distance=distance) for distance in (0.2, 1.0, 2.0))
    evidence, reference = {"a": one, "b": other, "c": "why"}, {"c": one, "b": third, "a": "because"}
    first, second, last = trials.excesses(evidence, reference)

    assert (first.path, first.value, first.missing) == ("a/excess", None, "because")
    assert (second.path, second.missing) == ("b/excess", None)
    assert second.value == excess(other, third).value
    assert (last.path, last.value, last.missing) == ("c/excess", None, "why")
    (new,) = trials.excesses({"d": one}, reference)
    assert (new.path, new.value, new.missing) == ("d/excess", None, trials.NO_SUCH)
    alone = [
        (finding.path, finding.value, finding.missing)
        for finding in trials.excesses(evidence, None)
    ]
    assert alone == [
        ("a/excess", None, NO_REFERENCE),
        ("b/excess", None, NO_REFERENCE),
        ("c/excess", None, "why"),
    ]


def test_where_there_is_no_trial_every_figure_is_missing_with_the_reason():
    findings = [
        *trials.trial_findings("x", "why"),
        *trials.low_rate_findings("x", "why"),
        trials.excess_finding("x", "why", draw(0)),
    ]
    paths = [*TRIAL_METRICS, "tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "excess"]
    assert [finding.path for finding in findings] == [f"x/{path}" for path in paths]
    assert {
        (finding.value, finding.low, finding.p_value, finding.missing) for finding in findings
    } == {(None, None, None, "why")}


@pytest.mark.parametrize(("truth", "added"), TRUTHS.values(), ids=TRUTHS)
def test_the_balanced_accuracy_alone_is_drawn_as_with_all_figures(truth, added):
    trial = trial_of(truth=truth, **UNEVEN)
    with setting(RESAMPLES=200):
        drawn = trials.bootstrapped(trial).balanced_accuracy
        np.testing.assert_allclose(trials.balance_drawn(trial), drawn, atol=1e-12)


@law
@given(small_trials(zero=True))
def test_a_reading_has_two_of_a_trials_figures(trial):
    with setting(RESAMPLES=30, PERMUTATIONS=19):
        whole, short = found(trial), [*trials.reading_findings("x", trial)]
    for finding in short:
        expected = whole[finding.path.removeprefix("x/")]
        assert finding.value == pytest.approx(expected.value, abs=1e-12)
    assert [one.path for one in short] == ["x/balanced_accuracy", "x/auroc"]
    ends = whole["balanced_accuracy"]
    np.testing.assert_allclose((short[0].low, short[0].high), (ends.low, ends.high), atol=1e-12)

    missing = [*trials.reading_findings("x", "why")]
    assert [(one.path, one.missing) for one in missing] == [(one.path, "why") for one in short]


def test_bits_gained_are_those_of_one_attacker_less_those_of_the_other():
    weak, strong = draw(0, distance=0.5), draw(0, distance=3.0)
    gained = trials.information_gain("x", strong, weak)
    bits = [found(trial)["mutual_information_corrected"].value for trial in (strong, weak)]
    assert gained.value == pytest.approx(bits[0] - bits[1], abs=1e-12)
    assert 0 < gained.low < gained.value < gained.high
    nothing = trials.information_gain("x", strong, strong)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    for pair in (("why", strong), (strong, "why")):
        assert trials.information_gain("x", *pair).missing == "why"
