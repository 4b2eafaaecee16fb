"""The end of a sweep: a table of its jobs, and how to repeat those that failed."""

import json
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mlu.launch.controllers import LOCAL, end_jobs, start_apart
from mlu.launch.options import config_folders, files_of
from mlu.launch.plan import UNPLANNED, as_written, check_folders, check_search, planned
from mlu.launch.tune import earlier_trials, leave_best
from mlu.launch.workplace import close_sweep, open_sweep, refusal_ends
from mlu.runs.layout import FAILURE
from mlu.runs.notes import Note, Noticeboard
from mlu.runs.read import Gap, Run, job_of
from mlu.system.commands import folder_flags, run_command, shell_word
from mlu.system.errors import FAILED, UserError, first_line, plain_fault, printable, stop
from mlu.system.owned import HIDDEN, Owned
from mlu.system.terminal import spared

PLUGINS = "hydra_plugins."
"""Package of what is installed for Hydra."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that this process has begun.

    Attributes:
        config: Its configuration, with Hydra's own part.
        board: Where its jobs, and no others, leave notes.
        plan: The overrides of its jobs in order, as far as they are known beforehand.
        first: Number of its first job: a search goes on where an earlier one has ended.
    """

    config: DictConfig
    board: Noticeboard
    plan: Sequence[Sequence[str]] = ()
    first: int = 0


_UNDER_WAY: list[Sweep] = []
"""The sweep under way. Hydra makes the callback itself and lets nobody else see it."""

_BOARD: list[Noticeboard] = []
"""Where the job that this process begins leaves its note, if it is one of a sweep."""


def record_failure(note: Note, fault: Exception, board: Noticeboard | None) -> None:
    """Leave a failed job's error and the command that repeats it.

    They are left among the notes of the sweep, and beside the job's log if the folder is its own.

    Args:
        note: The job's.
        fault: What ended it.
        board: Of the sweep, if it has one.
    """
    failed = replace(note, error=f"{type(fault).__name__}: {first_line(fault)}")
    place = Owned(note.folder)

    try:
        if board is not None:
            board.leave(failed)
        if note.is_last:
            place.refuse_foreign([FAILURE], "move it away")
            said = {"error": failed.error, "command": failed.command}
            place.write(FAILURE, json.dumps(said, indent=1))
    except (OSError, UserError) as full:
        # The disk may be what failed. The end of the sweep sees that there are no results.
        print(f"{note.folder / FAILURE}: {full}: {failed.error}", file=sys.stderr)


def words_of(config: HydraConf) -> list[str]:
    """The words from which a job was composed; `config` is Hydra's own."""
    return [*folders_given(config), *config.overrides.task]


def folders_given(config: HydraConf) -> list[str]:
    """The folder of a user's own configurations, with its flag."""
    sources = config.runtime.config_sources
    return folder_flags(source.path for source in sources if source.provider == "command-line")


def command_of(overrides: Iterable[str], config: HydraConf) -> str:
    """The command that repeats a job of a sweep by itself; `config` is Hydra's own."""
    overrides = list(overrides)
    searched = [word for word in as_written(config.overrides.hydra) if "hydra.searchpath" in word]
    # An experiment may itself ask for a sweep.
    single = (
        ["hydra.mode=RUN"]
        if any(override.startswith("experiment=") for override in overrides)
        else []
    )

    return run_command(*folders_given(config), *searched, *overrides, *single)


class SweepSummary(Callback):
    """Begins and ends a sweep; Hydra calls it in the process that has started the sweep.

    A copy of it goes with each job into the launcher's processes: so these know which sweep it is.
    """

    def __init__(self) -> None:
        self.board: Noticeboard | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        refuse_missing_launcher(config)
        refuse_hopeless(config)
        if config.hydra.launcher._target_ == LOCAL:
            start_apart()
        # What cannot be composed Hydra tells a moment later.
        with suppress(*UNPLANNED):
            self.board = new_board(config)
            _UNDER_WAY[:] = [Sweep(config, self.board, planned(config) or ())]

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        _BOARD[:] = [] if self.board is None else [self.board]

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Sum the sweep up; it ends the command where a job, or this, has failed."""
        with spared("what is in the folder of the sweep cannot be noted", warn):
            close_sweep(config)
        if _UNDER_WAY and sum_up(_UNDER_WAY.pop()):
            sys.exit(FAILED)


def warn(line: str) -> None:
    print(line, file=sys.stderr)


def new_board(config: DictConfig) -> Noticeboard:
    """The place for notes of a sweep that begins; other sweeps may share its folder."""
    sweep = f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(8)}"
    return Noticeboard(sweep, Path(config.hydra.sweep.dir).absolute() / HIDDEN / "sweeps" / sweep)


def refuse_hopeless(config: DictConfig) -> None:
    """End before a sweep of which it is known that its jobs would spoil each other's work."""
    with suppress(*UNPLANNED), refusal_ends():
        check_search(config)
        check_folders(config)
        open_sweep(config)


def board_of_job() -> Noticeboard | None:
    """Where the job that this process has begun leaves its note; None for a run of its own."""
    return _BOARD[0] if _BOARD else None


def refuse_missing_launcher(config: DictConfig) -> None:
    """End before a sweep whose launcher is not installed."""
    module = str(config.hydra.launcher._target_).rpartition(".")[0]
    if module.startswith(PLUGINS) and not is_installed(module):
        stop(f"hydra/launcher={launcher_in(config)} needs pip install 'mlu[cluster]'")


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def sum_up(sweep: Sweep) -> int:
    """Show what a sweep has found and what has failed; how much has failed."""
    failed = 0
    try:
        results = show_results(sweep)
        failed = show_failures(sweep, results)
        if sweep.config.experiment == "tune":
            conclude(sweep, results)
        if sweep.config.experiment == "challenge":
            hand_out(sweep, results)

    except Exception as fault:  # Hydra would make a mere warning of it
        failed += 1
        plain = plain_fault(fault)
        kind = "" if isinstance(plain, UserError) else f"{type(plain).__name__}: "
        print(f"the sweep could not be summed up: {kind}{first_line(plain)}", file=sys.stderr)

    return failed


def sweep_under_way() -> Sweep | None:
    """The sweep that this process has begun and not ended."""
    return _UNDER_WAY[0] if _UNDER_WAY else None


def number_from(first: int) -> None:
    """Say which number the first job of the sweep under way has, where it is not 0."""
    _UNDER_WAY[:] = [replace(sweep, first=first) for sweep in _UNDER_WAY]


def show_results(sweep: Sweep) -> dict[int, Run]:
    """The jobs of a sweep that have results, by their numbers, and their table."""
    from mlu.runs.tables import show_sweep

    notes = sweep.board.notes()
    found = {note.number: job_of(note.folder) for note in notes if note.is_done and note.is_last}
    runs = {number: job for number, job in found.items() if isinstance(job, Run)}
    if runs:
        show_sweep(runs, overrides_of_all(sweep, notes))

    return runs


def overrides_of_all(sweep: Sweep, notes: Iterable[Note]) -> dict[int, list[str]]:
    """The overrides of the jobs of a sweep, by their numbers, as far as they are known."""
    plan = {number: list(overrides) for number, overrides in enumerate(sweep.plan)}
    return plan | {note.number: list(note.overrides) for note in notes}


def show_failures(
    sweep: Sweep, results: Mapping[int, object], faults: Mapping[int, str] | None = None
) -> int:
    """Say which jobs failed, or left nothing, and how to repeat them; returns how many.

    Args:
        sweep: Theirs.
        results: Those of the others.
        faults: What ended jobs before they could leave a note.
    """
    notes = {note.number: note for note in sweep.board.notes()}
    faults = faults or {}
    asked = overrides_of_all(sweep, notes.values())
    numbers = sorted({*range(sweep.first, max(asked, default=-1) + 1), *faults} - results.keys())
    if not notes:
        # A word on each of those that never began would say one thing many times.
        numbers = sorted(faults)

    for number in numbers:
        note = notes.get(number)
        print(f"job {number} {shortcoming(note, faults.get(number))}")
        if note is not None:
            print(f"  repeat it: {printable(note.command)}")
        elif number in asked:
            print(f"  repeat it: {printable(command_of(asked[number], sweep.config.hydra))}")

    return len(numbers)


def shortcoming(note: Note | None, fault: str | None = None) -> str:
    """The words for what is wrong with a job that has no results to show.

    Args:
        note: The job's; None where it has left none.
        fault: What has then ended it; None where that is not known.
    """
    if note is None:
        return "has not begun" if fault is None else f"failed: {printable(fault)}"

    if note.error is not None:
        return f"failed: {printable(note.error)}"

    if not note.is_last:
        return f"has no results: another job has begun in {printable(str(note.folder))} since"

    job = job_of(note.folder)
    if note.is_done and isinstance(job, Gap):
        return f"failed: {printable(job.reason)}"

    return "has no results: it was ended, or still runs"


def broken_off(sweep: Sweep, fault: Exception, of_a_job: bool = False) -> str:
    """Show what there is of a sweep that its launcher did not bring to an end; why it did not.

    Args:
        sweep: The sweep.
        fault: What has ended it.
        of_a_job: Whether a job may have raised it, before it could answer for it.
    """
    reason = str(fault).strip() or type(fault).__name__
    faults = {}
    if of_a_job and launcher_of(sweep) == "basic":
        # One job after the other: it is that of the first without a note.
        begun = {note.number for note in sweep.board.notes()}
        jobs = range(len(sweep.plan))
        faults = dict.fromkeys([job for job in jobs if job not in begun][:1], reason)

    show_failures(sweep, show_results(sweep), faults)
    return f"hydra/launcher={launcher_of(sweep)} broke off: {reason}"


def show_what_is_done() -> None:
    """Show what there is of the sweep that this process has begun and not ended, if any.

    Jobs on this machine end first.
    """
    end_jobs()
    sweep = sweep_under_way()
    if sweep is not None:
        show_failures(sweep, show_results(sweep))


def has_begun(sweep: Sweep) -> bool:
    """Whether some job of a sweep has begun."""
    return bool(sweep.board.notes())


def launcher_of(sweep: Sweep) -> str:
    """The launcher of a sweep, as the command line names it."""
    return launcher_in(sweep.config)


def launcher_in(config: DictConfig) -> str:
    return str(config.hydra.runtime.choices["hydra/launcher"])


def conclude(sweep: Sweep, runs: Mapping[int, Run]) -> None:
    """Leave what a search for a method's settings has found, in this command and before it."""
    notes = [note for note in sweep.board.notes() if note.number in runs]
    methods = sorted({str(note.choices["method"]) for note in notes})
    if len(methods) > 1:
        one = shell_word("method", methods[0])
        raise UserError(
            f"experiment=tune looks for the settings of one method, and its trials are of "
            f"{' and '.join(methods)}: nothing is written; give one, such as {one}"
        )

    trials = earlier_trials()
    trials += [(note.overrides, runs[note.number].results) for note in notes]
    folders = config_folders(sweep.config.hydra.runtime.config_sources)
    files = {file.stem: file for file in files_of("method", folders)}
    method = methods[0] if methods else sweep.config.hydra.runtime.choices["method"]
    for line in leave_best(trials, files[method], Path(sweep.config.outputs)):
        print(line)


def hand_out(sweep: Sweep, runs: Mapping[int, Run]) -> None:
    """Leave the challenge that the jobs of a sweep make."""
    from mlu.launch.challenge import FOLDER, leave_challenge

    for line in leave_challenge(list(runs.values()), Path(sweep.config.hydra.sweep.dir) / FOLDER):
        print(line)
