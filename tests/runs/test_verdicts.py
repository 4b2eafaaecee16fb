import numpy as np
import pytest
from scipy import stats

from mlu.attacks.parts.panel import RELEASED, panel_looks, panel_place
from mlu.metrics.findings import NETWORK_READERS, READERS
from mlu.metrics.verdict import MAX_EXCESS, MAX_LOSS, verdict_sentence
from mlu.runs.results import Figure
from mlu.runs.verdicts import (
    COMPARISONS,
    HEADLINE,
    PLACES,
    READER_WORDS,
    VIEWS,
    accuracy_lost,
    by_seed,
    ends_of,
    max_excess_of,
    max_loss_of,
    verdict_of_figure,
    verdict_of_runs,
)
from tests.support.made_runs import LENIENT, config_of, made_run, metrics_of, results_of


def run_of(
    seed=1, excess=-0.01, half=0.02, metrics=None, policy=None, date="2026-01-02", images=0, **apart
):
    found = metrics_of(excess=excess, half=half) | (metrics or {})
    config = config_of(seed=seed) | ({} if policy is None else {"policy": LENIENT | policy}) | apart
    config["dataset"] = {**config["dataset"], "seed": images}
    facts = results_of(found, seed=seed)["run"] | {"date": date} | apart
    return made_run(found, config, run=facts)


def test_one_run_is_judged_by_its_own_interval_and_says_so():
    found = verdict_of_runs([run_of()])
    assert (found.word, found.replicates, found.alone) == ("shown", 1, True)
    assert found.high == pytest.approx(0.01)
    assert "this one model" in verdict_sentence(found)
    assert verdict_of_runs([run_of(half=0.05)]).word == "not shown"
    assert verdict_of_runs([run_of(excess=0.2)]).word == "exceeded"


def test_several_seeds_are_judged_by_their_spread():
    values = (0.0, 0.01, 0.015)
    found = verdict_of_runs([run_of(seed, value) for seed, value in enumerate(values)])
    low, high = stats.t.interval(0.95, 2, sum(values) / 3, stats.sem(values))
    assert (found.replicates, found.alone) == (3, False)
    assert found.high == pytest.approx(high)
    # Two comparisons say the same, and the lower end is corrected for that.
    assert found.low < low
    assert found.word == "not shown"
    assert found.needed > 3


def test_it_is_said_what_replicates_share():
    values = (0.0, 0.01, 0.015)
    same, own = (
        verdict_of_runs(
            [run_of(seed, value, images=seed * drawn) for seed, value in enumerate(values)]
        )
        for drawn in (0, 1)
    )
    assert (same.shared, own.shared) == ("same images, divided anew", "")
    assert (same.low, same.high, same.alone) == (own.low, own.high, False)


def test_draws_of_a_method_alone_are_no_replicates():
    runs = [run_of(1, value, method_seed=seed) for seed, value in enumerate((0.0, 0.001, 0.002))]
    found = verdict_of_runs(runs)
    assert found.alone
    assert found.shared == "spread over method_seed alone: same people, same original"
    # What test people say of each is wider than what the method draws.
    assert found.high == pytest.approx(0.021)
    assert found.word == "not shown"


def test_a_seed_that_was_run_again_counts_once_and_by_its_latest_run():
    first, again, other = run_of(1, 0.2), run_of(1, 0.0, date="2026-02-01"), run_of(2, 0.01)
    runs = [again, first, other]
    assert verdict_of_runs(runs).replicates == 2
    assert verdict_of_runs(runs).mean == pytest.approx(0.005)
    found = by_seed(runs, HEADLINE)
    assert [run for run, _ in found.values()] == [again, other]


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_each_comparison_can_tell_that_a_method_has_not_forgotten(comparison):
    path = f"unlearned/attack/aia/label/Male/{comparison}/excess"
    more = {path: 0.2, f"{path}/low": 0.15, f"{path}/high": 0.25}
    assert verdict_of_runs([run_of(metrics=more)]).word == "exceeded"
    # Who holds network and picture reads what the picture shows: stages stand beside the verdict.
    stages = {key.replace(comparison, "strongest/stages"): value for key, value in more.items()}
    assert verdict_of_runs([run_of(metrics=stages)]).word == "shown"


READINGS = ("features", "features/svm", "features/trees", "outputs", "retained_outputs/knn")


def read_by(seed, excesses, **more):
    """One replicate and the excess of each reader over itself; its strongest finds nothing."""
    start, metrics = "unlearned/attack/aia/label/Male", {}
    for path, value in excesses.items():
        metrics |= {f"{start}/{path}/excess": value}
    return run_of(seed, 0.001 * (seed % 2), metrics=metrics | more, images=seed)


def test_over_replicates_readers_count_and_not_what_was_largest_each_time():
    """Readers that find nothing on average: the mean of the largest lies far above the bound."""
    random = np.random.default_rng(0)
    largest = "unlearned/attack/aia/label/Male/same_reader/excess"
    runs = []
    for seed in range(1, 41):
        values = dict(zip(READINGS, 0.03 * random.normal(size=len(READINGS)) - 0.005, strict=True))
        runs.append(read_by(seed, values, **{largest: max(values.values())}))
    low, _ = stats.t.interval(0.95, 39, *mean_and_error([run.figures[largest] for run in runs]))
    assert low > 0.02
    assert verdict_of_runs(runs).word == "shown"
    # One of them all that finds something is enough.
    for seed, run in enumerate(runs, 1):
        found = dict.fromkeys(READINGS, 0.0) | {"features/trees": 0.05 + 0.001 * (seed % 3)}
        runs[seed - 1] = read_by(seed, found, **{largest: run.figures[largest]})
    found = verdict_of_runs(runs)
    assert found.word == "exceeded"
    assert found.of == "Male, boosted trees of features against itself"
    assert found.replicates == 40


def mean_and_error(values):
    return np.mean(values), stats.sem(values)


def test_a_reading_that_is_chance_by_construction_is_no_evidence_of_replicates():
    start = "unlearned/attack/aia/label/Male/outputs"
    excess = {seed: {"outputs": 0.5 + 0.001 * seed} for seed in range(1, 9)}
    runs = [read_by(seed, one, **{f"{start}/constant": 1.0}) for seed, one in excess.items()]
    assert verdict_of_runs(runs).word == "shown"
    heard = [read_by(seed, one) for seed, one in excess.items()]
    assert verdict_of_runs(heard).word == "exceeded"


def test_each_place_of_the_strongest_can_tell_over_replicates():
    for place in PLACES:
        path = f"unlearned/attack/aia/label/Male/strongest/{place}/excess"
        runs = [read_by(seed, {}, **{path: 0.1 + 0.001 * seed}) for seed in range(1, 6)]
        found = verdict_of_runs(runs)
        assert (found.word, found.of) == ("exceeded", f"Male, strongest reader of {place}")


def test_what_is_given_away_is_read_in_the_views_of_the_panel():
    looks = [look for look in panel_looks("full", []) if panel_place(look.path) in RELEASED]
    assert {look.view for look in looks} == set(VIEWS)
    assert PLACES == RELEASED
    assert set(READER_WORDS) == {*READERS, *NETWORK_READERS}


@pytest.mark.parametrize("wide", COMPARISONS)
def test_comparisons_that_say_the_same_still_have_intervals_of_their_own(wide):
    start, metrics = "unlearned/attack/aia/label/Male", {}
    for comparison in COMPARISONS:
        half = 0.05 if comparison == wide else 0.01
        path = f"{start}/{comparison}/excess"
        metrics |= {path: 0.0, f"{path}/low": -half, f"{path}/high": half}
    found = verdict_of_runs([run_of(metrics=metrics)])
    assert (found.word, found.high) == ("not shown", 0.05)


def of_two_labels(**excess):
    """One run that forgot Male and Young, with the excess in each that was read."""
    metrics = {}
    for label, value in excess.items():
        for comparison in COMPARISONS:
            path = f"unlearned/attack/aia/label/{label}/{comparison}/excess"
            metrics |= {path: value, f"{path}/low": value - 0.01, f"{path}/high": value + 0.01}
    facts = results_of(metrics)["run"] | {"forget_label": ["Male", "Young"]}
    return made_run(metrics, run=facts)


def test_of_several_labels_each_must_be_shown():
    assert verdict_of_runs([of_two_labels(Male=0.0, Young=0.0)]).word == "shown"
    assert verdict_of_runs([of_two_labels(Male=0.0, Young=0.2)]).word == "exceeded"
    assert verdict_of_runs([of_two_labels(Male=0.0, Young=0.015)]).word == "not shown"


def test_of_a_label_that_could_not_be_read_nothing_is_shown():
    found = verdict_of_runs([of_two_labels(Male=0.0)])
    assert (found.word, found.unread, found.needed) == ("not shown", ("Young",), None)
    assert verdict_sentence(found).endswith("nothing is known of Young.")
    assert verdict_of_runs([of_two_labels(Male=0.2)]).word == "exceeded"


def test_without_readers_there_is_no_verdict():
    metrics = {path: value for path, value in metrics_of().items() if "/attack/" not in path}
    assert verdict_of_runs([made_run(metrics)]) is None
    assert verdict_of_figure(None, 0.02) is None
    assert verdict_of_figure(Figure(None, reason="why"), 0.02) is None
    assert verdict_of_figure(Figure(0.0, -0.1, 0.02), 0.02).word == "shown"


@pytest.mark.parametrize(
    ("policy", "bound"),
    [
        (None, MAX_EXCESS),
        ({}, MAX_EXCESS),
        ({"max_excess": 0.05}, 0.05),
        ({"max_excess": 0}, 0.0),
        ({"max_excess": "a lot"}, MAX_EXCESS),
        ({"max_excess": float("nan")}, MAX_EXCESS),
        ({"max_excess": True}, MAX_EXCESS),
    ],
)
def test_runs_without_a_policy_have_the_usual_one(policy, bound):
    run = run_of(half=0.03, policy=policy)
    assert max_excess_of(run) == bound
    assert verdict_of_runs([run]).bound == bound
    assert verdict_of_runs([run]).word == ("shown" if bound >= 0.02 else "not shown")


def test_of_several_policies_the_strictest_counts():
    runs = [run_of(1, policy={"max_excess": 0.05}), run_of(2, policy={"max_excess": 0.01})]
    assert verdict_of_runs(runs).bound == 0.01


def kept(original=0.95, retrain=0.94, unlearned=0.94, metric="accuracy"):
    """Accuracies of the retained labels."""
    values = {"original": original, "retrain": retrain, "unlearned": unlearned}
    return {f"{model}/test/retained/{metric}": value for model, value in values.items()}


@pytest.mark.parametrize(
    ("metrics", "loss"),
    [
        (kept(unlearned=0.92), 0.02),
        (kept(original=0.93, unlearned=0.92), 0.01),
        (kept(unlearned=0.95), -0.01),
        (kept(retrain=None, unlearned=0.92), 0.03),
        (kept() | kept(0.9, 0.9, 0.6, "balanced_accuracy"), 0.3),
    ],
)
def test_the_loss_is_below_the_lesser_mark_by_what_is_lost_most(metrics, loss):
    assert accuracy_lost([run_of(metrics=metrics)]) == pytest.approx(loss)


def test_a_model_that_knows_nothing_is_not_said_to_have_forgotten():
    """Of zeros only nothing is read either."""
    zeros, strict = kept(unlearned=0.7), {"max_loss": 0.02}
    runs = [
        run_of(seed, -0.3 + 0.001 * seed, metrics=zeros, policy=strict, images=seed)
        for seed in (1, 2, 3)
    ]
    for some in (runs[:1], runs):
        found = verdict_of_runs(some)
        assert (found.word, found.needed) == ("not shown", None)
        assert found.loss == pytest.approx(0.24)
        assert "24.0 points of accuracy where 2 are allowed" in verdict_sentence(found)


def test_the_mean_loss_counts_and_the_strictest_policy():
    runs = [
        run_of(seed, -0.1, metrics=kept(unlearned=one), policy={"max_loss": bound}, images=seed)
        for seed, one, bound in ((1, 0.88, 0.05), (2, 0.94, 0.1))
    ]
    found = verdict_of_runs(runs)
    assert (max_loss_of(runs[0]), found.max_loss, found.loss) == (0.05, 0.05, None)
    assert accuracy_lost(runs) == pytest.approx(0.03)
    without = made_run(metrics_of(), config_of() | {"policy": None})
    assert max_loss_of(without) == MAX_LOSS


def test_ends_are_those_of_all_runs_or_none():
    figures = [Figure(0.5, 0.4, 0.6), Figure(0.5, 0.2, 0.7)]
    assert ends_of(figures) == pytest.approx((0.3, 0.65))
    assert ends_of([*figures, Figure(0.5)]) is None
    assert ends_of([]) is None
