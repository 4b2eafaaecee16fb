import pytest

from mlu.runs.certificate import (
    answers_of,
    figure_text,
    method_settings,
    not_run,
    reasons_of,
    verdict,
)
from mlu.runs.results import Figure
from mlu.runs.typed import as_json
from tests.support.made_runs import made_run, metrics_of


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.2, "more"),
        (-0.2, -0.01, "less"),
        (-0.1, 0.1, "undecided"),
        (0.0, 0.1, "undecided"),
        (None, None, None),
    ],
)
def test_the_verdict_is_what_the_interval_of_the_difference_shows(low, high, said):
    assert verdict(Figure(0.1, low, high)) == said


def test_questions_are_those_of_the_attacks_that_were_run():
    asked = {answer.question: answer for answer in answers_of(made_run(metrics_of()))}
    assert list(asked)[:2] == [
        "retained labels, accuracy",
        "forgotten output, balanced accuracy",
    ]
    assert asked["read from features"].chance == 0.5
    assert asked["read from features"].excess.value == -0.01
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
