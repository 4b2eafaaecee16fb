"""What a sweep says at its end: a table of its jobs, and how to repeat those that failed."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mlu.config import CONF
from mlu.record import FAILURE, RESULTS
from mlu.search import leave_best


def clear(folder: Path) -> None:
    """Remove what an earlier job left where this one writes, so that nobody takes it for this one's."""
    for name in (FAILURE, RESULTS):
        (folder / name).unlink(missing_ok=True)


def record_failure(folder: Path, overrides: list[str], fault: Exception) -> None:
    """Leave a failed job's error and the command that repeats it beside its log."""
    lines = str(fault).strip().splitlines() or [""]
    # An experiment may itself ask for a sweep.
    single = ["hydra.mode=RUN"] if any(override.startswith("experiment=") for override in overrides) else []
    command = shlex.join(["python", "launch.py", *overrides, *single])
    (folder / FAILURE).write_text(json.dumps({"error": f"{type(fault).__name__}: {lines[0]}", "command": command}))


class SweepSummary(Callback):
    """Hydra calls it in the process that started the sweep, whichever launcher ran the jobs."""

    failed = 0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        SweepSummary.failed = 0

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from mlu.report.table import show, sweep_table

        folder = Path(config.hydra.sweep.dir)
        results = {file.parent: json.loads(file.read_text()) for file in folder.glob(f"*/{RESULTS}")}
        if results:
            show(sweep_table([(job_name(job), results[job]) for job in sorted(results, key=job_number)]))
        if config.experiment == "tune":
            conclude(config, results)
        failures = {file.parent: json.loads(file.read_text()) for file in folder.glob(f"*/{FAILURE}")}
        SweepSummary.failed = len(failures)
        for job in sorted(failures, key=job_number):
            print(f"job {job.name} failed: {failures[job]['error']}\n  repeat it: {failures[job]['command']}")


def conclude(config: DictConfig, results: Mapping[Path, Mapping[str, Any]]) -> None:
    """Leave what a search for a method's settings has found."""
    trials = [(overrides_of(job), results[job]) for job in sorted(results, key=job_number)]
    for line in leave_best(trials, CONF / "method" / f"{config.method.name}.yaml", Path(config.outputs)):
        print(line)


def job_number(job: Path) -> tuple[int, str]:
    return (int(job.name), "") if job.name.isdigit() else (0, job.name)


def job_name(job: Path) -> str:
    return " ".join(overrides_of(job))


def overrides_of(job: Path) -> list[str]:
    """The overrides of a job, as Hydra wrote them down."""
    return list(yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text()))
