"""A search by Optuna: a sweep whose jobs are trials, drawn by what the trials before have given."""

import copy
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
import yaml
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from mlu.launch.check import check_value
from mlu.launch.compose import folders_of, values_of
from mlu.launch.database import STORAGE, masked, opened, plain_trouble, secrets_in
from mlu.launch.keys import said_in
from mlu.launch.options import CONF
from mlu.launch.sampling import Sampling
from mlu.launch.space import Space, space_of
from mlu.launch.study import (
    FOLDER,
    OVERRIDES,
    Purpose,
    directions_of,
    fail_lost,
    figures_of,
    study_of,
)
from mlu.launch.sweep import number_from
from mlu.launch.trials import Opened, next_trials, run_trials
from mlu.launch.workplace import look_at_jobs
from mlu.runs.identity import identity
from mlu.system.errors import UserError, first_line, printable, stop
from mlu.system.owned import Owned

FOUND = "optimization_results.yaml"
"""File with the best trial, in the sweep's folder."""
_HEADER = "# left by a search of mlu\n"
_MOST_SHOWN = 5
SETTINGS = CONF / "hydra" / "sweeper" / "optuna.yaml"

_BEFORE: list[tuple[Path, str]] = []
"""The trials that the study of this process had before: Hydra hands none of it on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """The command that asks for a search, as Hydra hands it to a sweeper."""

    arguments: Sequence[str]
    config: DictConfig
    context: HydraContext
    task: TaskFunction


def search(settings: Mapping[str, Any], command: Command) -> None:
    """Add trials to a study; it ends the command where it cannot begin.

    Args:
        settings: The keys of SETTINGS.
        command: What asks for it.
    """
    try:
        found = opened_search(settings, command)
        jobs = [list(found.space.fixed.values())] * settings["n_trials"]
        look_at_jobs(command.config, jobs, found.first)
        trials = next_trials(found, done=0)
    except UserError as fault:
        stop(str(fault))

    number_from(found.first)
    done, failed = 0, deque[bool](maxlen=settings["n_jobs"])
    while trials:
        failed += run_trials(found, trials, done)
        done += len(trials)
        full = len(failed) == failed.maxlen or done == settings["n_trials"]
        if full and sum(failed) > settings["max_failure_rate"] * len(failed):
            log.info(f"the search ends: of the last {len(failed)} trials {sum(failed)} failed")
            break
        trials = next_trials(found, done)

    conclude_search(found)


def opened_search(settings: Mapping[str, Any], command: Command) -> Opened:
    """A search that may begin; raises UserError where it may not."""
    check_settings(settings)
    # Resolved here, once: its name has the time in it.
    folder = Path(command.config.hydra.sweep.dir)
    loader = command.context.config_loader
    params = [f"{key}={value}" for key, value in (settings["params"] or {}).items()]
    space = space_of([*params, *command.arguments], loader)
    more = function_of(settings["custom_search_space"])
    sampling = Sampling(settings["sampler"], space)
    config = loader.load_sweep_config(command.config, list(space.fixed.values()))

    purpose = purpose_of(settings, space, config)
    study = opened_study(settings, purpose)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=command.context,
        task_function=command.task,
        config=without_password(command.config, settings["storage"]),
    )
    one_by_one = str(command.config.hydra.launcher._target_).endswith(".BasicLauncher")

    return Opened(
        settings,
        config,
        space,
        more,
        study,
        sampling,
        launcher,
        at_once=1 if one_by_one else settings["n_jobs"],
        first=len(study.trials),
        folder=folder,
    )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that are not what SETTINGS says they must be."""
    for name, key in said_in(SETTINGS).items():
        if name in settings and key.phrase is not None and name != "params":
            check_value(f"hydra.sweeper.{name}", settings[name], key.phrase)


def function_of(path: str | None) -> Callable[[DictConfig, Trial], None] | None:
    """The function of a path such as `mlu.launch.tune.suggest`; raises UserError without one."""
    if path is None:
        return None

    module, _, name = path.rpartition(".")
    try:
        found: Callable[[DictConfig, Trial], None] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as fault:
        raise UserError(
            f"hydra.sweeper.custom_search_space={path}: {first_line(fault)}: "
            "give the path of a function of (config, trial)"
        ) from fault

    return found


def purpose_of(settings: Mapping[str, Any], space: Space, config: DictConfig) -> Purpose:
    """The purpose of a search: what it draws, for which figures, with which settings."""
    values = values_of(config, folders_of(config))
    figures = figures_of(values["objective"])
    described = space.described()
    if custom := settings["custom_search_space"]:
        described["by hydra.sweeper.custom_search_space"] = custom
    elif not described:
        raise UserError(
            "hydra/sweeper=optuna has nothing to draw: write a key with its values, "
            "such as 'phi=interval(0.01, 0.3)'"
        )

    directions = directions_of(settings["direction"], figures)

    return Purpose(identity(values), described, figures, directions)


def opened_study(settings: Mapping[str, Any], purpose: Purpose) -> Study:
    """The study of a search, without trials that nobody runs any more."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = settings["storage"]
    name = str(settings["study_name"] or purpose.name())
    database = opened(storage)
    with plain_trouble(storage, opening=True):
        study = study_of(name, database, purpose)
        lost = fail_lost(study)
        trials = study.trials

    if lost:
        log.info(f"trials whose search ended while they ran, which count as failed: {lost}")
    if trials:
        log.info(f"going on with study {printable(name)}: {len(trials)} trials are there")
    elif storage is not None:
        log.info(f"study {printable(name)} in {masked(str(storage))}")

    noted = [trial.user_attrs for trial in trials if trial.values is not None]
    _BEFORE[:] = [(Path(one[FOLDER]), one[OVERRIDES]) for one in noted if FOLDER in one]

    return study


def trials_before() -> list[tuple[Path, str]]:
    """Folders and overrides of the trials that the study had before this command's own."""
    return list(_BEFORE)


def without_password(config: DictConfig, storage: Any) -> DictConfig:
    """The configuration for jobs, who have no use for a password and would leave it in files."""
    if not secrets_in(str(storage)):
        return config

    kept = copy.deepcopy(config)
    with read_write(kept.hydra), open_dict(kept.hydra):
        words = [
            word for word in kept.hydra.overrides.hydra if not word.lstrip("+").startswith(STORAGE)
        ]
        kept.hydra.overrides.hydra = [*words, f"{STORAGE}=null"]
        kept.hydra.sweeper.storage = None

    return kept


def conclude_search(found: Opened) -> None:
    """Say which trial is best, and leave it in the sweep's folder."""
    with plain_trouble(found.settings["storage"]):
        best = best_of(found.study)

    if not best:
        log.info(f"study {printable(found.study.study_name)} has no trial with a figure")
        return

    leave_result(found.folder / FOUND, result_of(best))
    for trial in best[:_MOST_SHOWN]:
        figures = ", ".join(f"{value:.4g}" for value in trial.values)
        drawn = " ".join(found.space.overrides(trial.params, fixed=False))
        log.info(f"best: {figures} by {drawn} (trial {trial.number})")


def leave_result(file: Path, result: Mapping[str, Any]) -> None:
    """Write down what a search has found, unless somebody else's file is there."""
    place = Owned(file.parent)
    if place.foreign([file.name]):
        log.info(f"{file} is no file of a search of mlu, or not as it was: it is left as it is")
        return

    place.write(file.name, _HEADER + yaml.safe_dump(dict(result)))


def best_of(study: Study) -> list[FrozenTrial]:
    """The best trial; of several figures, those that no other beats in all of them."""
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
        return []
    return study.best_trials if len(study.directions) > 1 else [study.best_trial]


def result_of(best: Sequence[FrozenTrial]) -> dict[str, Any]:
    """The best trials as FOUND has them, which hydra-optuna-sweeper has named."""
    if len(best[0].values) == 1:
        (one,) = best
        return {"name": "optuna", "best_params": one.params, "best_value": one.value}
    solutions = [{"params": trial.params, "values": list(trial.values)} for trial in best]
    return {"name": "optuna", "solutions": solutions}
