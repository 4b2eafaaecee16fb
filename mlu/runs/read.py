"""Finding what runs left on disk, and the jobs that left no results."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mlu.runs.layout import CONFIG, FAILURE, RESULTS, is_configuration
from mlu.runs.moved import present_config
from mlu.runs.notes import ASKED, MARK, note_in
from mlu.runs.results import Figure, Results
from mlu.runs.rows import AttackRow, Declaration, declared, rows_among
from mlu.runs.seeds import Seeds
from mlu.system.errors import UserError, first_line

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C is ten times as fast, where yaml has it."""

_UNUSABLE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What reading somebody's `results.json` may raise."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run and all that it has measured.

    Attributes:
        folder: Where it is.
        results: Its `results.json`.
        config: Its `config.yaml`, empty where there is none.
    """

    folder: Path
    results: Results
    config: Mapping[str, Any]

    @property
    def figures(self) -> Mapping[str, float | None]:
        """All numbers by path, those that follow from others included."""
        return self.results.all_figures

    @cached_property
    def seeds(self) -> Seeds:
        return Seeds.of({**vars(self.results.run), "dataset": self.config.get("dataset")})

    @property
    def method(self) -> str:
        return self.results.run.method

    @property
    def of_concept(self) -> bool:
        """Whether it forgot what is no output: there is no Retrain, and the floor is the mark."""
        return bool(self.results.run.concept)

    @property
    def date(self) -> str:
        return self.results.run.date or ""

    @property
    def device(self) -> str:
        return self.results.run.device or "unknown device"

    @property
    def experiment(self) -> str | None:
        return self.results.run.experiment

    @cached_property
    def composed(self) -> dict[str, Any]:
        """The configuration with its references: all that a failed job left of it."""
        return read_asked(self.folder)

    @cached_property
    def attacks(self) -> Mapping[str, Declaration]:
        """The declarations of all attacks, those that were not run included."""
        return declared(self.config)

    @cached_property
    def attack_rows(self) -> list[AttackRow]:
        """The rows of those attacks that it has figures of."""
        return rows_among(self.attacks, self.figures)

    def figure(self, path: str) -> Figure:
        """The number at `path`, or the reason why there is none."""
        return self.results.figure(path)

    def is_silent(self, path: str) -> bool:
        """Whether the number at `path` is chance by construction, and so no evidence."""
        return self.results.is_silent(path)


@dataclass(frozen=True, eq=False)
class Gap:
    """A job without results.

    Attributes:
        folder: Where they should be.
        reason: What is known of why they are not.
        command: What repeats the job; None where that is not known.
        composed: Its configuration before references were resolved, empty where there is none.
    """

    folder: Path
    reason: str
    command: str | None = None
    composed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seeds(self) -> Seeds | None:
        return Seeds.of_any(self.composed)

    @property
    def experiment(self) -> str | None:
        return self.composed.get("experiment")

    @property
    def method(self) -> str | None:
        method = self.composed.get("method")
        return method.get("name") if isinstance(method, Mapping) else None


@dataclass(frozen=True)
class Collection:
    """Jobs that were found, in the order of their folders.

    Attributes:
        runs: Those with results.
        gaps: Those without.
        trials: How many trials of searches were left out: each is one of many that were tried, so
            no result of its method. Where there are only such, none is.
    """

    runs: tuple[Run, ...]
    gaps: tuple[Gap, ...]
    trials: int = 0


def collect(paths: Iterable[Path]) -> Collection:
    """Every job in or below the folders, each once.

    Args:
        paths: Folders of runs or of sweeps, or of anything above them; a `results.json` stands for
            its folder.

    Raises:
        UserError: If there is no such folder, or no job in any of them.
    """
    paths = list(paths)
    folders = dict.fromkeys(folder for path in paths for folder in job_folders(path))
    found = [job_of(folder) for folder in folders]
    if not found:
        places = ", ".join(map(str, paths))
        raise UserError(f"no {RESULTS} in or below {places}: give the folder of a run or a sweep")

    results = [job for job in found if job.experiment != "tune"] or found
    runs = tuple(job for job in results if isinstance(job, Run))
    failed_since = (failure_beside(run) for run in runs)
    gaps = (*(job for job in results if isinstance(job, Gap)), *filter(None, failed_since))

    return Collection(runs, gaps, trials=len(found) - len(results))


def job_folders(path: Path) -> Iterator[Path]:
    """Folders in or below `path` in which a job wrote, or was to write, its results; absolute."""
    if path.name == RESULTS and path.is_file():
        path = path.parent

    if not path.is_dir():
        raise UserError(f"no folder {path}: give the folder of a run or a sweep")

    for place, folders, files in os.walk(path):
        if has_begun_in(Path(place)) or RESULTS in files or FAILURE in files:
            yield Path(place).resolve()
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)


def has_begun_in(folder: Path) -> bool:
    """Whether a job has begun in a folder; one of an older version has left only Hydra's files."""
    return any((folder / name).is_file() for name in (MARK, ".hydra/overrides.yaml"))


def natural(name: str) -> tuple[int, str]:
    """Job 9 comes before job 10."""
    return (int(name), "") if name.isdecimal() else (-1, name)


def job_of(folder: Path) -> Run | Gap:
    """The job in a folder; one that cannot be read is a gap with its reason."""
    composed = read_asked(folder)
    if (folder / RESULTS).is_file():
        try:
            return read_run(folder)
        except _UNUSABLE as fault:
            reason = f"{RESULTS} cannot be used: {first_line(fault)}"
            return Gap(folder, reason, composed=composed)

    failure = read_failure(folder / FAILURE)
    if failure:
        error, command = failure.get("error", "failed"), failure.get("command")
        return Gap(folder, str(error), str(command or "") or None, composed)

    reason = f"no {RESULTS}: still running, or ended from outside"
    note = note_in(folder)

    return Gap(folder, reason, (note.command or None) if note else None, composed)


def failure_beside(run: Run) -> Gap | None:
    """The job that has failed in a run's folder, whose results it has left; None for none."""
    failure = read_failure(run.folder / FAILURE)
    if not failure:
        return None
    reason = f"{failure.get('error', 'failed')} ({RESULTS} there is another job's)"
    return Gap(run.folder, reason, str(failure.get("command") or "") or None)


def read_run(folder: Path) -> Run:
    """The run in a folder; raises one of _UNUSABLE if its results are none."""
    content = json.loads((folder / RESULTS).read_text())
    # Half of a pair of surrogates is no text, and nobody can write it: a ValueError.
    json.dumps(content, ensure_ascii=False).encode()

    run = Run(folder, Results.from_json(content), read_yaml(folder / CONFIG))
    # Here and not later, since passes may be too many for a sum.
    _ = run.figures

    return run


def read_asked(folder: Path) -> dict[str, Any]:
    """The configuration of a job before references were resolved, where it has left one."""
    return read_yaml(folder / ASKED) or read_yaml(folder / ".hydra" / CONFIG)


def read_yaml(file: Path) -> dict[str, Any]:
    """The configuration in it; empty where there is no such file, or none that can be read."""
    try:
        content = yaml.load(file.read_bytes(), _LOADER)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        # A date such as 2026-99-99 is a ValueError.
        return {}

    return present_config(content) if is_configuration(content) else {}


def read_failure(file: Path) -> dict[str, Any]:
    """The content of a failed job's file; empty where there is none."""
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        return {"error": f"failed; {FAILURE} cannot be read"}
    return content if isinstance(content, dict) else {"error": "failed"}
