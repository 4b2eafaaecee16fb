"""Policies: kept where the interval shows it, broken where it shows the contrary, else neither."""

from dataclasses import replace

import pytest

from mlu.auditing.policy import (
    EXIT_CODES,
    STANDINGS,
    Clause,
    Policy,
    clauses_of,
    judged_from_below,
    standing_of,
)
from mlu.metrics.verdict import verdict_sentence
from mlu.runs.results import Figure
from mlu.runs.verdicts import NO_RETRAIN, start_of, verdict_of_runs
from tests.support.made_runs import LENIENT, config_of, interval, made_run, metrics_of, results_of

START = start_of("Male")
POLICY = Policy(max_excess=0.02, **LENIENT)


def run_with(more, seed=1, excess=-0.05, without_retrain=False):
    metrics = metrics_of(excess=excess) | more
    if without_retrain:
        lost = (f"{START}/strongest/excess", f"{START}/same_reader/excess")
        metrics = {path: one for path, one in metrics.items() if not path.startswith(lost)}
    same = {"split_seed": 1, "train_seed": 1, "method_seed": 1}
    facts = results_of(metrics, seed=seed)["run"] | same
    return made_run(metrics, config_of(seed=seed), run=facts)


def words_of(policy, *runs):
    return {clause.key: clause.word for clause in clauses_of(policy, runs)}


def test_every_word_of_a_verdict_is_one_of_a_policy_with_a_code_of_its_own():
    assert list(STANDINGS) == ["shown", "exceeded", "not shown"]
    assert set(STANDINGS.values()) == set(EXIT_CODES)
    assert EXIT_CODES == {"kept": 0, "broken": 1, "not shown": 3}


@pytest.mark.parametrize(
    ("excess", "word"), [(-0.05, "kept"), (0.2, "broken"), (0.02, "not shown"), (0.01, "not shown")]
)
def test_the_excess_is_judged_as_in_runs(excess, word):
    run = run_with({}, excess=excess)
    (clause,) = clauses_of(POLICY, [run])
    assert (clause.key, clause.word) == ("max_excess", word)
    assert clause.said == verdict_sentence(verdict_of_runs([run]))
    assert "above Retrain" in clause.said


@pytest.mark.parametrize(
    ("excess", "word"), [(-0.05, "kept"), (0.2, "broken"), (0.01, "not shown")]
)
def test_without_retrain_the_mark_is_named_and_never_called_retrain(excess, word):
    more = {}
    for comparison in ("strongest", "same_reader"):
        more |= interval(f"{START}/baseline/{comparison}/excess", excess)
    (clause,) = clauses_of(POLICY, [run_with(more, without_retrain=True)])
    assert clause.word == word
    assert f"above {NO_RETRAIN}" in clause.said
    assert "Retrain" not in clause.said


def test_where_nothing_was_read_nothing_is_shown():
    run = run_with({}, without_retrain=True)
    (clause,) = clauses_of(POLICY, [run])
    assert clause.word == "not shown"
    assert clause.said.startswith("Not shown: ")


@pytest.mark.parametrize(
    ("reading", "word"), [(0.6, "kept"), (0.67, "kept"), (0.7, "not shown"), (0.75, "broken")]
)
def test_a_reading_is_held_against_the_ends_of_the_largest(reading, word):
    more = interval(f"{START}/any_reader/balanced_accuracy", reading)
    found = words_of(replace(POLICY, max_reading=0.7), run_with(more))
    assert found == {"max_excess": "kept", "max_reading": word}
    lacking = words_of(replace(POLICY, max_reading=0.7), run_with({}))
    assert lacking["max_reading"] == "not shown"


@pytest.mark.parametrize(
    ("least", "word"), [(0.85, "kept"), (0.88, "kept"), (0.9, "not shown"), (0.93, "broken")]
)
def test_the_retained_accuracy_is_judged_from_below(least, word):
    """It is 0.9, between 0.88 and 0.92."""
    assert words_of(replace(POLICY, min_retained=least), run_with({}))["min_retained"] == word
    verdict = judged_from_below(Figure(0.9, 0.88, 0.92), least)
    assert (verdict.mean, verdict.bound) == (0.9, least)
    assert STANDINGS[verdict.word] == word


@pytest.mark.parametrize(("bound", "word"), [(0.02, "broken"), (0.5, None)])
def test_a_model_that_has_lost_the_rest_breaks_the_policy(bound, word):
    """Nothing is read of it, and nothing of the rest."""
    run = run_with({"unlearned/test/retained/accuracy": 0.5}, excess=-0.4)
    run.config["policy"] = {"max_loss": bound}
    found = words_of(replace(POLICY, max_loss=bound), run)
    assert found.get("max_loss") == word
    assert found["max_excess"] == ("not shown" if word else "kept")


def test_several_draws_of_the_attacks_are_judged_together():
    """Each by itself is kept; how much they differ counts as well."""
    policy = replace(POLICY, seeds=3)
    runs = [run_with({}, seed, excess) for seed, excess in ((1, -0.05), (2, -0.01), (3, 0.0))]
    assert [words_of(policy, run)["max_excess"] for run in runs] == ["kept"] * 3
    (clause,) = clauses_of(policy, runs)
    assert clause.word == "not shown"
    assert "on average over 3 replicates" in clause.said
    alike = [run_with({}, seed, -0.05) for seed in (1, 2, 3)]
    assert words_of(policy, *alike)["max_excess"] == "kept"


def test_one_broken_clause_breaks_all_and_all_must_be_kept():
    kept, broken, open_ = (Clause("x", 0, word, "") for word in EXIT_CODES)
    assert standing_of([kept, kept]) == "kept"
    assert standing_of([kept, open_]) == "not shown"
    assert standing_of([kept, open_, broken]) == "broken"
