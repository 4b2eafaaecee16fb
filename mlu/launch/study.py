"""Studies: searches with their trials, as a database keeps them from command to command."""

import math
import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from mlu.launch.check import quoted
from mlu.system.errors import UserError
from mlu.system.store import digest

DIRECTIONS = ("minimize", "maximize")
FOLDER, OVERRIDES = "folder", "overrides"
"""Attributes of a trial: where its run is, and what it was given."""

_HOST, _PROCESS = "host", "process"
"""Attributes of a trial: the machine and the process that have asked for it."""
_PURPOSE = "purpose"
"""Attribute of a study: what is searched, for what, and with which settings."""
_LOST = timedelta(days=1)
"""Time after which a trial of another machine has been lost: nobody here can see if it runs."""
_ABSENT = object()


@dataclass(frozen=True)
class Purpose:
    """The purpose of a search: trials go together where it is the same.

    Attributes:
        settings: The configuration that all its trials share, as far as it decides figures.
        space: Text of the distribution of each key that is drawn.
        objective: Paths of the figures.
        directions: One for each.
    """

    settings: Mapping[str, Any]
    space: Mapping[str, str]
    objective: Sequence[str]
    directions: Sequence[str]

    def plain(self) -> dict[str, Any]:
        """All of it as a database keeps it, in the order in which two of them are told apart."""
        return {
            "objective": list(self.objective),
            "hydra.sweeper.direction": list(self.directions),
            **{f"drawn {key}": text for key, text in self.space.items()},
            **flat(self.settings),
        }

    def name(self) -> str:
        """A name that no search of another purpose has."""
        return f"{self.settings['method']['name']}-{digest(self.plain())[:8]}"


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The values of groups within groups by their paths."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = alike(value)
    return found


def alike(value: Any) -> Any:
    """A value such that equal ones are the same in JSON, also 1 and 1.0, and infinity."""
    if isinstance(value, list | tuple):
        return [alike(one) for one in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() else value


def figures_of(objective: Any) -> list[str]:
    """The figures that are optimised; raises UserError where there are none."""
    if not objective:
        raise UserError(
            "hydra/sweeper=optuna has nothing to look at: set objective=..., the path of a figure, "
            "such as unlearned/validation/retained/accuracy"
        )
    return [objective] if isinstance(objective, str) else [str(one) for one in objective]


def directions_of(direction: Any, figures: Sequence[str]) -> list[str]:
    """The direction of each figure; raises UserError where they do not go together."""
    one = isinstance(direction, str) or not isinstance(direction, Sequence)
    directions = [str(direction)] if one else [str(word) for word in direction]
    if not set(directions) <= set(DIRECTIONS):
        raise UserError(
            f"hydra.sweeper.direction must be {' or '.join(DIRECTIONS)}, or a list of these, "
            f"got {quoted(direction)}: set hydra.sweeper.direction=..."
        )

    if len(directions) != len(figures):
        raise UserError(
            f"hydra.sweeper.direction={','.join(directions)} is for {len(directions)} figures and "
            f"objective has {len(figures)}: set one direction for each, such as "
            f"'hydra.sweeper.direction=[{','.join(['maximize'] * len(figures))}]'"
        )

    return directions


def study_of(name: str, storage: BaseStorage, purpose: Purpose) -> Study:
    """The study of that name; it is made where there is none.

    Raises:
        UserError: If there is one with another purpose: its trials are none of this search's.
    """
    wanted = purpose.plain()
    directions = [StudyDirection[word.upper()] for word in purpose.directions]
    study = optuna.create_study(
        study_name=name, storage=storage, directions=directions, load_if_exists=True
    )
    found = study.user_attrs.get(_PURPOSE)
    if found is None and not study.trials and study.directions == directions:
        study.set_user_attr(_PURPOSE, wanted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(list(purpose.objective))

    elif found != wanted:
        raise UserError(
            f"hydra.sweeper.study_name={name} is there and is another search "
            f"({difference_of(found, wanted)}): take another name, or leave it out"
        )

    return study


def difference_of(found: Any, wanted: Mapping[str, Any]) -> str:
    """The first difference between two purposes, as text."""
    if not isinstance(found, Mapping):
        return "not one of mlu's"

    for key in dict.fromkeys([*wanted, *found]):
        there, here = found.get(key, _ABSENT), wanted.get(key, _ABSENT)
        if there != here:
            before, after = ("nothing" if one is _ABSENT else quoted(one) for one in (there, here))
            return f"{key}: {before} there, {after} here"

    return "written otherwise"


def sign(trial: Trial) -> None:
    """Note who has asked for a trial."""
    trial.set_user_attr(_HOST, socket.gethostname())
    trial.set_user_attr(_PROCESS, os.getpid())


def fail_lost(study: Study) -> int:
    """Mark trials as failed whose search has ended without saying so; how many they are."""
    lost = [trial for trial in study.trials if is_lost(trial)]
    for trial in lost:
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return len(lost)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial counts as running and nobody runs it."""
    if trial.state != TrialState.RUNNING:
        return False

    host, process = (trial.user_attrs.get(name) for name in (_HOST, _PROCESS))
    if host == socket.gethostname() and isinstance(process, int):
        return not is_running(process)

    started = trial.datetime_start
    return started is None or datetime.now() - started > _LOST


def is_running(process: int) -> bool:
    """Whether there is a process of that number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody else's.
        return True
    return True
