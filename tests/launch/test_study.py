"""Studies: whose trials go together, and what becomes of trials that nobody runs any more."""

import os
import socket
import subprocess
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from mlu.launch.study import (
    Purpose,
    directions_of,
    fail_lost,
    figures_of,
    flat,
    is_running,
    sign,
    study_of,
)
from mlu.system.errors import UserError

SETTINGS = {"method": {"name": "wf", "phi": 0.1}, "seed": 42, "attack": {}}
PURPOSE = Purpose(SETTINGS, {"phi": "0 to 1"}, ["a"], ["maximize"])
OTHERS = {
    "seed: 42 there, 43 here": Purpose({**SETTINGS, "seed": 43}, *list(vars(PURPOSE).values())[1:]),
    "method.name: 'wf' there, 'wp' here": Purpose(
        {**SETTINGS, "method": {"name": "wp", "phi": 0.1}}, {"phi": "0 to 1"}, ["a"], ["maximize"]
    ),
    "drawn phi: '0 to 1' there, '0 to 2' here": Purpose(
        SETTINGS, {"phi": "0 to 2"}, ["a"], ["maximize"]
    ),
    "drawn epsilon: nothing there, '0 to 1' here": Purpose(
        SETTINGS, {"phi": "0 to 1", "epsilon": "0 to 1"}, ["a"], ["maximize"]
    ),
    "drawn phi: '0 to 1' there, nothing here": Purpose(SETTINGS, {}, ["a"], ["maximize"]),
    "objective: ['a'] there, ['b'] here": Purpose(SETTINGS, {"phi": "0 to 1"}, ["b"], ["maximize"]),
    "hydra.sweeper.direction: ['maximize'] there, ['minimize'] here": Purpose(
        SETTINGS, {"phi": "0 to 1"}, ["a"], ["minimize"]
    ),
    "objective: ['a'] there, ['a', 'b'] here": Purpose(
        SETTINGS, {"phi": "0 to 1"}, ["a", "b"], ["maximize", "maximize"]
    ),
}


@pytest.mark.parametrize("difference", OTHERS)
def test_trials_of_another_purpose_are_refused_and_the_difference_is_named(difference):
    storage = InMemoryStorage()
    study = study_of("s", storage, PURPOSE)
    study.tell(study.ask(), 1.0)
    with pytest.raises(UserError) as fault:
        study_of("s", storage, OTHERS[difference])
    assert f"study_name=s is there and is another search ({difference})" in str(fault.value)
    assert len(study_of("s", storage, PURPOSE).trials) == 1


def test_a_study_of_somebody_else_is_refused_unless_it_is_empty():
    storage = InMemoryStorage()
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
    assert study_of("s", storage, PURPOSE).user_attrs["purpose"] == PURPOSE.plain()
    other = optuna.create_study(study_name="t", storage=storage, direction="maximize")
    other.tell(other.ask(), 1.0)
    with pytest.raises(UserError, match=r"study_name=t .* \(not one of mlu's\)"):
        study_of("t", storage, PURPOSE)
    optuna.create_study(study_name="u", storage=storage, direction="minimize")
    with pytest.raises(UserError, match="study_name=u"):
        study_of("u", storage, PURPOSE)
    assert len(study.trials) == 0


def test_searches_of_different_purposes_have_different_names():
    names = {PURPOSE.name(), *(other.name() for other in OTHERS.values())}
    assert len(names) == 1 + len(OTHERS)
    assert PURPOSE.name().startswith("wf-")


def test_a_number_is_the_same_however_it_is_written():
    assert flat({"a": {"b": 1.0, "c": []}, "d": [2.0, float("inf")], "e": {}}) == {
        "a.b": 1,
        "a.c": [],
        "d": [2, "inf"],
        "e": {},
    }


@pytest.mark.parametrize(
    ("direction", "objective", "expected"),
    [
        ("maximize", "a", ["maximize"]),
        (["maximize"], "a", ["maximize"]),
        (["maximize", "minimize"], ["a", "b"], ["maximize", "minimize"]),
        ("maximise", "a", "must be minimize or maximize, or a list of these, got 'maximise'"),
        (None, "a", "must be minimize or maximize"),
        ("minimize", ["a", "b"], "is for 1 figures and objective has 2: set one direction for"),
        (["minimize", "maximize"], "a", r"such as 'hydra.sweeper.direction=\[maximize\]"),
        ("minimize", None, "nothing to look at: set objective="),
        ("minimize", [], "nothing to look at: set objective="),
    ],
)
def test_each_figure_has_a_direction(direction, objective, expected):
    if isinstance(expected, list):
        assert directions_of(direction, figures_of(objective)) == expected
    else:
        with pytest.raises(UserError, match=expected):
            directions_of(direction, figures_of(objective))


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("host", "process", "days", "lost"),
    [
        ("here", "ended", 0, True),
        ("here", "this", 2, False),
        ("there", "ended", 0, False),
        ("there", "this", 2, True),
        (None, None, 0, False),
        (None, None, 2, True),
    ],
)
def test_a_trial_that_nobody_runs_counts_as_failed(host, process, days, lost):
    study = study_of("s", InMemoryStorage(), PURPOSE)
    hosts = {"here": socket.gethostname(), "there": "elsewhere"}
    processes = {"ended": ended_process(), "this": os.getpid()}
    noted = {"host": hosts.get(host), "process": processes.get(process)}
    running = create_trial(state=TrialState.RUNNING, user_attrs=noted if host else {})
    running.datetime_start = datetime.now() - timedelta(days=days)
    study.add_trial(running)
    study.tell(study.ask(), 1.0)
    assert fail_lost(study) == int(lost)
    expected = TrialState.FAIL if lost else TrialState.RUNNING
    assert [trial.state for trial in study.trials] == [expected, TrialState.COMPLETE]
    assert fail_lost(study) == 0


def test_a_trial_of_this_process_runs():
    study = study_of("s", InMemoryStorage(), PURPOSE)
    sign(study.ask())
    assert fail_lost(study) == 0
    assert is_running(os.getppid())
    assert is_running(1)
