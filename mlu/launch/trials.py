"""The trials of a search: drawn, carried out by a launcher, and told to the study."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.samplers import GridSampler, RandomSampler
from optuna.study import Study
from optuna.trial import Trial, TrialState

from mlu.launch.database import plain_trouble
from mlu.launch.sampling import Sampling
from mlu.launch.space import Space
from mlu.launch.study import FOLDER, OVERRIDES, sign
from mlu.runs.read import Run, job_of
from mlu.runs.tables import shown_columns
from mlu.system.errors import UserError, first_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """A search that may begin.

    Attributes:
        settings: The keys of SETTINGS.
        config: What all trials share.
        space: What is drawn.
        more: A user's function of configuration and trial that draws what else there is, or None.
        study: Where its trials are kept.
        sampling: What draws them.
        launcher: What carries them out.
        at_once: How many are drawn before the next are known.
        first: Number of its first job.
        folder: Of the sweep.
    """

    settings: Mapping[str, Any]
    config: DictConfig
    space: Space
    more: Callable[[DictConfig, Trial], None] | None
    study: Study
    sampling: Sampling
    launcher: Launcher
    at_once: int
    first: int
    folder: Path


def next_trials(found: Opened, done: int) -> list[Trial]:
    """The next trials; none where there are enough, or no more."""
    trials: list[Trial] = []
    try:
        with plain_trouble(found.settings["storage"]):
            for _ in range(min(found.at_once, found.settings["n_trials"] - done)):
                if found.sampling.is_exhausted(found.study):
                    log.info("all combinations have been tried")
                    break
                trials.append(ask_study(found))
                draw_all(found, trials[-1])
    except BaseException:
        give_up(found.study, trials)
        raise

    return trials


def ask_study(found: Opened) -> Trial:
    """A new trial, for which its sampler has drawn what it draws together."""
    study, known = found.study, len(found.study.trials)
    study.sampler = found.sampling.of(known)
    try:
        trial = study.ask()
    except (ValueError, TypeError, RuntimeError) as fault:
        for begun in study.trials[known:]:
            if not begun.user_attrs:
                study.tell(begun.number, state=TrialState.FAIL, skip_if_finished=True)
        raise UserError(f"hydra.sweeper.sampler: {first_line(fault)}") from fault

    sign(trial)
    return trial


def draw_all(found: Opened, trial: Trial) -> None:
    """Let a trial draw all its keys."""
    found.study.sampler = found.sampling.of(trial.number)
    try:
        found.space.draw(trial)
    except (ValueError, TypeError, RuntimeError) as fault:
        raise UserError(f"hydra.sweeper.sampler: {first_line(fault)}") from fault

    if found.more is not None:
        found.more(found.config, trial)

    if twice := sorted(trial.params.keys() & found.space.fixed.keys()):
        raise UserError(
            f"hydra.sweeper.custom_search_space draws {twice[0]}, which the command sets: "
            "leave one of them out"
        )


def run_trials(found: Opened, trials: Sequence[Trial], done: int) -> list[bool]:
    """Run trials and tell the study what they have given; which of them have failed."""
    overrides = [found.space.overrides(trial.params) for trial in trials]
    failed = []
    try:
        returns = found.launcher.launch(overrides, initial_job_idx=found.first + done)
        with plain_trouble(found.settings["storage"]):
            for trial, words, outcome in zip(trials, overrides, returns, strict=True):
                failed.append(not tell(found.study, trial, words, outcome))
    except BaseException:
        give_up(found.study, trials)
        raise

    return failed


def tell(study: Study, trial: Trial, overrides: Sequence[str], outcome: JobReturn) -> bool:
    """Tell a study what a trial has given; whether it has.

    A trial that another command took for lost has ended, and stays as it is.
    """
    given = outcome.return_value if outcome.status == JobStatus.COMPLETED else None
    values = numbers_in(given, len(study.directions))
    if study.trials[trial.number].state.is_finished():
        return values is not None

    folder = Path(outcome.hydra_cfg.hydra.runtime.output_dir) if outcome.hydra_cfg else None
    trial.set_user_attr(OVERRIDES, " ".join(overrides))
    for name, value in noted_facts(folder, values is not None).items():
        trial.set_user_attr(name, value)

    # A grid's own would stop a loop of Optuna's, which there is not.
    study.sampler = RandomSampler() if isinstance(study.sampler, GridSampler) else study.sampler
    state = TrialState.FAIL if values is None else TrialState.COMPLETE
    study.tell(trial, values, state=state, skip_if_finished=True)

    return values is not None


def numbers_in(given: Any, count: int) -> list[float] | None:
    """The figures that a job returns; None where it has failed, or they are none."""
    values = list(given) if isinstance(given, tuple | list) else [given]
    sound = [
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)
        for one in values
    ]
    return [float(one) for one in values] if len(values) == count and all(sound) else None


def noted_facts(folder: Path | None, succeeded: bool) -> dict[str, Any]:
    """The place of a run, and its figures in the table of a sweep; of a failed one its error."""
    if folder is None:
        return {}

    run, facts = job_of(folder), {FOLDER: str(folder)}
    if not isinstance(run, Run):
        return facts if succeeded else {**facts, "error": run.reason}

    paths = [f"unlearned/{path}" for _, path in shown_columns([run])]
    figures = {path: run.figures.get(path) for path in (*paths, "seconds/unlearn")}

    return {**facts, **figures}


def give_up(study: Study, trials: Sequence[Trial]) -> None:
    """Mark trials as failed that have not ended, as far as the database can be reached."""
    with suppress(UserError), plain_trouble(None):
        for trial in trials:
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
