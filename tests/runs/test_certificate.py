import pytest

from mlu.runs.certificate import (
    answers_of,
    figure_text,
    method_settings,
    not_run,
    reasons_of,
)
from mlu.runs.results import Figure
from mlu.runs.typed import as_json
from mlu.runs.verdicts import verdict_facts
from tests.support.made_runs import LENIENT, config_of, made_run, metrics_of


@pytest.mark.parametrize(
    ("excess", "half", "word"),
    [(-0.01, 0.02, "shown"), (0.01, 0.02, "not shown"), (0.1, 0.02, "exceeded")],
)
def test_the_verdict_is_of_this_model_and_by_what_the_policy_allows(excess, half, word):
    metrics = metrics_of(excess=excess, half=half)
    stated = verdict_facts(made_run(metrics))
    assert (stated["word"], stated["replicates"], stated["bound"]) == (word, 1, 0.02)
    assert stated["said"].lower().startswith(f"{word} of this one model")
    assert {answer.verdict for answer in answers_of(made_run(metrics))} == {word, None}
    lenient = config_of() | {"policy": LENIENT | {"max_excess": 0.5}}
    assert verdict_facts(made_run(metrics, lenient))["word"] == "shown"


def test_what_is_silent_is_marked_and_has_no_verdict():
    silent = {"unlearned/attack/aia/label/Male/output/constant": 1.0}
    answers = {one.path: one for one in answers_of(made_run(metrics_of() | silent))}
    marked = {path for path, answer in answers.items() if answer.silent}
    assert marked == {"attack/aia/label/Male/output/folded_balanced_accuracy"}
    assert {answers[path].verdict for path in marked} == {None}
    assert not any(answer.silent for answer in answers_of(made_run(metrics_of())))


def test_the_verdict_waits_for_readers():
    metrics = {path: value for path, value in metrics_of().items() if "/attack/" not in path}
    assert verdict_facts(made_run(metrics))["said"].startswith("No verdict: ")


def test_without_a_reader_there_is_a_reason_in_place_of_a_verdict():
    metrics = {path: value for path, value in metrics_of().items() if "/attack/" not in path}
    stated = verdict_facts(made_run(metrics))
    assert stated == {"word": None, "said": "No verdict: attack=aia was not run."}


def test_questions_are_those_of_the_attacks_that_were_run():
    asked = {answer.question: answer for answer in answers_of(made_run(metrics_of()))}
    assert list(asked)[:2] == [
        "retained labels, accuracy",
        "forgotten output, balanced accuracy",
    ]
    assert asked["read by the strongest reader"].chance == 0.5
    assert asked["read by the strongest reader"].excess.value == -0.01
    assert asked["retained labels, accuracy"].excess is None
    assert not any("member" in question for question in asked)


def test_attacks_without_figures_are_named():
    assert not_run(made_run(metrics_of())) == [
        "membership in the training images",
        "membership by shadow models",
        "relearning the label from few images",
        "reading the label after fine-tuning on retained labels, rounding and pruning",
    ]


def test_settings_say_nothing_of_code_or_names():
    config = {"method": {"_target_": "x", "name": "wf", "tuning": {"_target_": "y", "lr": 1}}}
    assert method_settings(config) == {"tuning.lr": 1}


def test_a_figure_has_its_digits_and_its_interval():
    assert figure_text(None) == figure_text(as_json(Figure(None, reason="no"))) == "–"
    assert figure_text(as_json(Figure(0.5, 0.25, 0.75))) == "0.500 [0.250, 0.750]"
    assert figure_text(as_json(Figure(200.0, censored=True)), digits=0) == ">200"


def test_each_reason_is_told_once():
    lost = as_json(Figure(None, reason="no Retrain"))
    row = {"original": as_json(Figure(1.0)), "unlearned": lost, "retrain": lost, "excess": None}
    assert reasons_of([row, row]) == ["no Retrain"]
