import pytest
from scipy import stats

from mlu.metrics.verdict import MAX_EXCESS, verdict_sentence
from mlu.runs.results import Figure
from mlu.runs.verdicts import (
    HEADLINE,
    READERS,
    by_seed,
    ends_of,
    max_excess_of,
    verdict_of_figure,
    verdict_of_runs,
)
from tests.support.made_runs import config_of, made_run, metrics_of, results_of


def run_of(seed=1, excess=-0.01, half=0.02, metrics=None, policy=None, date="2026-01-02"):
    found = metrics_of(excess=excess, half=half) | (metrics or {})
    config = config_of(seed=seed) | ({} if policy is None else {"policy": policy})
    facts = results_of(found, seed=seed)["run"] | {"date": date}
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
    # Six readers say the same, and the lower end is corrected for that.
    assert found.low < low
    assert found.word == "not shown"
    assert found.needed > 3


def test_a_seed_that_was_run_again_counts_once_and_by_its_latest_run():
    first, again, other = run_of(1, 0.2), run_of(1, 0.0, date="2026-02-01"), run_of(2, 0.01)
    runs = [again, first, other]
    assert verdict_of_runs(runs).replicates == 2
    assert verdict_of_runs(runs).mean == pytest.approx(0.005)
    found = by_seed(runs, HEADLINE)
    assert [run for run, _ in found.values()] == [again, other]


@pytest.mark.parametrize("reader", READERS)
def test_any_reader_can_tell_that_a_method_has_not_forgotten(reader):
    path = f"unlearned/attack/aia/{reader}/excess"
    more = {path: 0.2, f"{path}/low": 0.15, f"{path}/high": 0.25}
    assert verdict_of_runs([run_of(metrics=more)]).word == "exceeded"
    stage = {key.replace(reader, "features/stage0"): value for key, value in more.items()}
    assert verdict_of_runs([run_of(metrics=stage)]).word == "shown"


def silent_of(*readers):
    return {f"unlearned/attack/aia/{reader}/constant": 1.0 for reader in readers}


def test_a_silent_output_is_no_evidence():
    path = "unlearned/attack/aia/output/excess"
    nothing = {path: 0.2, f"{path}/low": 0.15, f"{path}/high": 0.25}
    assert verdict_of_runs([run_of(metrics=nothing)]).word == "exceeded"
    assert verdict_of_runs([run_of(metrics=nothing | silent_of("output"))]).word == "shown"
    assert verdict_of_runs([run_of(metrics=silent_of(*READERS))]) is None
    # Where it is silent in one run, the others tell.
    runs = [run_of(1, metrics=nothing), run_of(2, metrics=nothing | silent_of("output"))]
    assert verdict_of_runs(runs).word == "exceeded"


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


def test_ends_are_those_of_all_runs_or_none():
    figures = [Figure(0.5, 0.4, 0.6), Figure(0.5, 0.2, 0.7)]
    assert ends_of(figures) == pytest.approx((0.3, 0.65))
    assert ends_of([*figures, Figure(0.5)]) is None
    assert ends_of([]) is None
