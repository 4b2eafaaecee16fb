"""Trials: what a job gives is told to the study, and nothing else is."""

import json

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from optuna.trial import TrialState

from mlu.launch.trials import give_up, numbers_in, tell
from tests.support.made_runs import results_of


@pytest.mark.parametrize(
    ("given", "count", "values"),
    [
        (0.5, 1, [0.5]),
        (1, 1, [1.0]),
        ((0.5, 1), 2, [0.5, 1.0]),
        ([0.5, 1.0], 2, [0.5, 1.0]),
        (None, 1, None),
        (None, 2, None),
        ((0.5,), 2, None),
        ((0.5, None), 2, None),
        ((0.5, 0.5), 1, None),
        (float("nan"), 1, None),
        (float("inf"), 1, None),
        ("0.5", 1, None),
        (True, 1, None),
        ((), 1, None),
    ],
)
def test_figures_are_numbers_one_for_each_direction(given, count, values):
    assert numbers_in(given, count) == values


def outcome_of(folder, value, status=JobStatus.COMPLETED):
    hydra = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}})
    return JobReturn(hydra_cfg=hydra, status=status, _return_value=value)


def test_a_trial_says_where_its_run_is_and_what_it_found(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results_of()))
    study = optuna.create_study(direction="maximize")
    assert tell(study, study.ask(), ["phi=0.1", "seed=1"], outcome_of(tmp_path, 0.5))
    (trial,) = study.trials
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [0.5])
    assert trial.user_attrs["folder"] == str(tmp_path)
    assert trial.user_attrs["overrides"] == "phi=0.1 seed=1"
    assert {"unlearned/test/retained/accuracy", "seconds/unlearn"} & set(trial.user_attrs)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, JobStatus.COMPLETED),
        (float("nan"), JobStatus.COMPLETED),
        (RuntimeError("ended"), JobStatus.FAILED),
    ],
)
def test_a_failed_trial_has_no_value_and_says_why(value, status, tmp_path):
    (tmp_path / "failure.json").write_text(json.dumps({"error": "UserError: phi is 2"}))
    study = optuna.create_study()
    assert not tell(study, study.ask(), ["phi=2"], outcome_of(tmp_path, value, status))
    (trial,) = study.trials
    assert (trial.state, trial.values) == (TrialState.FAIL, None)
    assert trial.user_attrs["error"] == "UserError: phi is 2"


def test_what_another_command_has_ended_stays_so():
    study = optuna.create_study()
    trial, other = study.ask(), study.ask()
    study.tell(trial.number, state=TrialState.FAIL)
    tell(study, trial, [], JobReturn(status=JobStatus.COMPLETED, _return_value=0.5))
    give_up(study, [trial, other])
    assert [one.state for one in study.trials] == [TrialState.FAIL, TrialState.FAIL]
