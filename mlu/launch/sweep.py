"""The end of a sweep: a table of its jobs, and how to repeat those that failed."""

import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from hydra.conf import HydraConf
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mlu.launch.options import config_folders, files_of
from mlu.launch.tune import leave_best
from mlu.runs.layout import FAILURE, LEFT, RESULTS, write_json
from mlu.runs.read import Run, job_of
from mlu.system.errors import USAGE_ERROR, UserError, first_line, plain_fault, printable

PLUGINS = "hydra_plugins."
"""Package of what is installed for Hydra."""

FAILED = 1
"""Exit code of a sweep of which a job has failed."""

_UNDER_WAY: list[DictConfig] = []
"""The sweep under way. Hydra makes the callback itself and lets nobody else see it."""


def clear(folder: Path) -> None:
    """Remove what an earlier job left here, so that nobody takes it for this one's."""
    for file in (folder / name for name in LEFT):
        if file.exists():
            file.unlink()


def record_failure(folder: Path, config: HydraConf, fault: Exception) -> None:
    """Leave a failed job's error and the command that repeats it beside its log.

    Args:
        folder: Of the job.
        config: Hydra's own, of the job.
        fault: What ended it.
    """
    lines = str(fault).strip().splitlines() or [""]
    failure = {
        "error": f"{type(fault).__name__}: {lines[0]}",
        "command": command_of(config.overrides.task, config),
    }
    try:
        write_json(failure, folder / FAILURE)
    except OSError as full:
        # The disk may be what failed. The end of the sweep sees that there are no results.
        print(f"{folder / FAILURE}: {full}: {failure['error']}", file=sys.stderr)


def command_of(overrides: Iterable[str], config: HydraConf) -> str:
    """The command that repeats a job of a sweep by itself; `config` is Hydra's own."""
    overrides = list(overrides)
    folders = [
        source.path for source in config.runtime.config_sources if source.provider == "command-line"
    ]
    given = [word for folder in folders for word in ("--config-dir", folder)]
    # An experiment may itself ask for a sweep.
    single = (
        ["hydra.mode=RUN"]
        if any(override.startswith("experiment=") for override in overrides)
        else []
    )

    return shlex.join(["python", "launch.py", *given, *overrides, *single])


class SweepSummary(Callback):
    """Begins and ends a sweep; Hydra calls it in the process that has started the sweep."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        refuse_missing_launcher(config)
        _UNDER_WAY[:] = [config]

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Sum the sweep up; it ends the command where a job, or this, has failed."""
        _UNDER_WAY.clear()
        if sum_up(config):
            sys.exit(FAILED)


def refuse_missing_launcher(config: DictConfig) -> None:
    """End before a sweep whose launcher is not installed."""
    module = str(config.hydra.launcher._target_).rpartition(".")[0]
    if module.startswith(PLUGINS) and not is_installed(module):
        line = f"hydra/launcher={launcher_of(config)} needs pip install 'mlu[cluster]'"
        print(line, file=sys.stderr)
        sys.exit(USAGE_ERROR)


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def sum_up(config: DictConfig) -> int:
    """Show what a sweep has found and what has failed; how much has failed."""
    failed = 0
    try:
        results = show_results(config)
        failed = show_failures(config, results)
        if config.experiment == "tune":
            conclude(config, results)

    except Exception as fault:  # Hydra would make a mere warning of it
        failed += 1
        plain = plain_fault(fault)
        kind = "" if isinstance(plain, UserError) else f"{type(plain).__name__}: "
        print(f"the sweep could not be summed up: {kind}{first_line(plain)}", file=sys.stderr)

    return failed


def sweep_under_way() -> DictConfig | None:
    """The configuration of the sweep that this process has begun and not ended."""
    return _UNDER_WAY[0] if _UNDER_WAY else None


def show_results(config: DictConfig) -> dict[Path, Run]:
    """The jobs of a sweep that have results, by their folders, and their table."""
    from mlu.runs.tables import show_table, sweep_table

    jobs = [job_of(folder) for folder in folders_with(config, RESULTS)]
    runs = {job.folder: job for job in jobs if isinstance(job, Run)}
    if runs:
        show_table(sweep_table([(job_name(job), run) for job, run in runs.items()]))

    return runs


def show_failures(config: DictConfig, results: Mapping[Path, object]) -> int:
    """Say which jobs failed, or left nothing, and how to repeat them; returns how many.

    `results` are those of the others.
    """
    failures = failures_of(config)
    for job, failure in failures.items():
        print(
            f"job {job.name} failed: {printable(failure['error'])}\n"
            f"  repeat it: {printable(failure['command'])}"
        )

    begun = {
        file.parents[1] for file in Path(config.hydra.sweep.dir).glob("*/.hydra/overrides.yaml")
    }
    lost = sorted(begun - failures.keys() - results.keys(), key=job_number)
    for job in lost:
        print(f"job {job.name} has no results: it was ended, or still runs")
        print(f"  repeat it: {command_of(overrides_of(job), config.hydra)}")

    return len(failures) + len(lost)


def broken_off(config: DictConfig, fault: Exception) -> str:
    """Show what there is of a sweep that its launcher did not bring to an end; why it did not."""
    show_failures(config, show_results(config))
    reason = str(fault).strip() or type(fault).__name__
    return f"hydra/launcher={launcher_of(config)} broke off: {reason}"


def launcher_of(config: DictConfig) -> str:
    """The launcher of a sweep, as the command line names it."""
    return str(config.hydra.runtime.choices["hydra/launcher"])


def folders_with(config: DictConfig, name: str) -> list[Path]:
    """Folders of the jobs of a sweep that have left a file, in order."""
    files = Path(config.hydra.sweep.dir).glob(f"*/{name}")
    return sorted((file.parent for file in files), key=job_number)


def failures_of(config: DictConfig) -> dict[Path, dict[str, Any]]:
    """The notes that failed jobs of a sweep have left whole, by their folders, in order."""
    whole = {}
    for folder in folders_with(config, FAILURE):
        with suppress(OSError, ValueError, RecursionError):
            whole[folder] = json.loads((folder / FAILURE).read_text())
    return whole


def conclude(config: DictConfig, runs: Mapping[Path, Run]) -> None:
    """Leave what a search for a method's settings has found."""
    trials = [(overrides_of(job), run.results) for job, run in runs.items()]
    folders = config_folders(config.hydra.runtime.config_sources)
    files = {file.stem: file for file in files_of("method", folders)}
    for line in leave_best(trials, files[config.method.name], Path(config.outputs)):
        print(line)


def job_number(job: Path) -> tuple[int, str]:
    return (int(job.name), "") if job.name.isdigit() else (0, job.name)


def job_name(job: Path) -> str:
    return " ".join(overrides_of(job))


def overrides_of(job: Path) -> list[str]:
    """The overrides of a job, as Hydra wrote them down."""
    return list(yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text()))
