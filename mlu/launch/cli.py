"""The command line: Hydra around the pipeline, and faults as one line."""

import argparse
import atexit
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.build import build
from mlu.launch.check import check_config
from mlu.launch.compose import check_overrides, explain, folders_of, register_resolvers, values_of
from mlu.launch.home import words_at_home
from mlu.launch.jobs import begun, note_of
from mlu.launch.options import CONF, config_folders
from mlu.launch.sweep import (
    board_of_job,
    broken_off,
    has_begun,
    launcher_of,
    record_failure,
    show_what_is_done,
    sweep_under_way,
    words_of,
)
from mlu.launch.workplace import Workplace, open_run, put_back, refusal_ends
from mlu.system.commands import compose_by, program, remember_start
from mlu.system.errors import FAILED, USAGE_ERROR, Arguments, UserError, plain_fault, stop
from mlu.system.interruption import interruptible, interruptible_job, raise_if_heard
from mlu.system.process import tune_process
from mlu.system.terminal import last_words, replace_lacking_signs, tolerant_streams

COMMANDS = ("run", "multirun", "cfg", "info", "shell_completion")
"""Flags of Hydra of which there can be one."""

# Those in conf/hydra/launcher build on their plugins' own of the same name. Hydra 1.3 does that,
# with a warning, which processes of a launcher would repeat: so it is kept quiet wherever `job` is
# imported.
warnings.filterwarnings(
    "ignore", r"(?s).*is validated against ConfigStore schema with the same name"
)


@dataclass(frozen=True)
class JobOutcome:
    """The end of a job.

    Attributes:
        objective: What a sweeper optimises; None where there is nothing, or the job has failed. A
            sweeper takes that for a trial that failed, and goes on.
        fault: What has ended it; None where it has done its work.
    """

    objective: Any = None
    fault: Exception | None = None


@dataclass(frozen=True)
class Ending:
    """The end of the command: a line, or none, and an exit code."""

    line: str | None
    code: int


class Gate(Callback):
    """Ends a run that its configuration shows to be wrong, before Hydra makes a folder for it.

    This is for a run of its own. Jobs of a sweep are checked one by one, each in its own folder.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        # As Hydra does a moment later: values may refer to it.
        HydraConfig.instance().set_config(config)
        folders = folders_of(config)

        with refusal_ends():
            check_config(values_of(config, folders), folders)
            open_run(config)


def job(config: DictConfig) -> JobOutcome:
    """One job. In a sweep a fault is recorded, so that the others go on."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    # Where Hydra has gone into the job's folder (hydra.job.chdir=true): relative paths, and with
    # them the cache, are what they are without it.
    os.chdir(hydra_config.runtime.cwd)
    sweep = hydra_config.mode == RunMode.MULTIRUN
    # Here, since a launcher may start it in a process of its own. Joblib and Ray limit its threads,
    # submitit does not.
    tune_process(threads=hydra_config.launcher.get("cpus_per_task") if sweep else None)
    replace_lacking_signs()
    board = board_of_job()
    note = note_of(hydra_config, board)
    workplace = Workplace(folder, hydra_config)

    try:
        with interruptible_job(), begun(note, board, config), workplace:
            register_resolvers()
            folders = config_folders(hydra_config.runtime.config_sources)
            values = values_of(config, folders)
            check_config(values, folders)
            compose_by(words_of(hydra_config))
            group = Path(hydra_config.sweep.dir).name if sweep else None
            return JobOutcome(carried_out(values, folder, group))

    except Exception as fault:
        raise_if_heard()
        found = plain_fault(fault)
        if not isinstance(found, UserError):
            traceback.print_exc()
        if sweep or workplace.keeps_results:
            record_failure(note, found, board)
        return JobOutcome(fault=found)


def carried_out(values: Mapping[str, Any], folder: Path, group: str | None) -> Any:
    """The objective of a run, once it is done; None where there is none.

    Raises:
        RuntimeError: If something that it calls wants to end the process, and the sweep with it.
    """
    try:
        experiment = build(values, folder, group)
        from mlu.pipeline.run import run
        from mlu.runs.results import objective_of

        return objective_of(run(experiment), values["objective"])
    except SystemExit as ending:
        raise RuntimeError(f"a part of the run called sys.exit({ending.code!r})") from ending


@interruptible(show_what_is_done)
def main() -> None:
    """Entry point of `python launch.py`, `python -m mlu` and `mlu`."""
    tolerant_streams()
    atexit.register(last_words)
    # Else Hydra prints faults of composition in its own way and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    remember_start(program())
    register_resolvers()
    # Hydra's parser would add its usage to what it refuses.
    parser = Arguments(shlex.join(program()), parents=[get_args_parser()], add_help=False)
    # Before Hydra reads them.
    sys.argv[1:] = as_meant(sys.argv[1:])
    given = parser.parse_args()
    folders = (CONF,) if given.config_dir is None else (Path(given.config_dir).absolute(), CONF)
    faults: list[Exception] = []

    def task(config: DictConfig) -> Any:
        """A job as Hydra knows it. In a launcher's processes it has a list of faults of its own."""
        outcome = job(config)
        if outcome.fault is not None:
            faults.append(outcome.fault)
        return outcome.objective

    try:
        refuse_two_commands(given)
        check_overrides(given.overrides, folders)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    except Exception as fault:
        raise_if_heard()
        ending = ending_of(fault, folders)
        if ending.code == USAGE_ERROR:
            put_back()
        end(ending)
    except SystemExit as refusal:
        if refusal.code == USAGE_ERROR:
            put_back()
        raise

    # Of a job that Hydra has run to its end, since none of its faults reaches Hydra.
    for found in faults:
        end(ending_of_job(found))


def as_meant(words: list[str]) -> list[str]:
    """The words of the command, with home folders; ends it where there is no such folder."""
    try:
        return words_at_home(words)
    except UserError as fault:
        stop(str(fault))


def refuse_two_commands(given: argparse.Namespace) -> None:
    """Refuse flags of Hydra that exclude each other, and one without that which it is for."""
    if sum(getattr(given, name) not in (None, False) for name in COMMANDS) > 1:
        flags = [f"--{name}" for name in COMMANDS]
        raise UserError(f"Only one of {', '.join(flags[:-1])} and {flags[-1]} can be specified")
    if given.resolve and given.cfg is None and not given.help:
        raise UserError("The --resolve flag can only be used in conjunction with --cfg or --help")


def ending_of(fault: Exception, folders: tuple[Path, ...]) -> Ending:
    """The command's end after what has reached it; raises what is nobody's mistake."""
    found, sweep = plain_fault(fault), sweep_under_way()
    composing = isinstance(fault, HydraException)
    if composing or isinstance(fault, OmegaConfBaseException):
        found = UserError(explain(fault, folders))

    if sweep is not None and (has_begun(sweep) or not composing):
        line = broken_off(sweep, found, of_a_job=not composing)
        if launcher_of(sweep) == "basic" and not isinstance(found, UserError):
            raise fault
        # The launcher's own: jobs answer for theirs.
        return Ending(line, FAILED)

    if isinstance(found, UserError):
        return Ending(str(found), USAGE_ERROR)

    raise fault


def ending_of_job(fault: Exception) -> Ending:
    """The command's end after a job's fault, which was told where it is nobody's mistake."""
    if isinstance(fault, UserError):
        return Ending(str(fault), USAGE_ERROR)
    return Ending(None, FAILED)


def end(ending: Ending) -> NoReturn:
    if ending.line is not None:
        stop(ending.line, ending.code)
    sys.exit(ending.code)
