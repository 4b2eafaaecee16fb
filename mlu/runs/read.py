"""Finding what runs left on disk, and the jobs that left no results."""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mlu.runs.layout import CONFIG, FAILURE, RESULTS, SCHEMA, figures_of, is_configuration
from mlu.runs.moved import present_config
from mlu.system.errors import UserError, first_line


@dataclass(frozen=True)
class Figure:
    """One number of one run: `value` is None where there is none, and `reason` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    censored: bool = False


@dataclass(frozen=True, eq=False)
class Run:
    """What one run left.

    Attributes:
        folder: Where it is.
        results: `results.json`.
        config: `config.yaml`, empty where there is none.
        figures: All numbers by path: metrics, `seconds/...`, `work/...`, `speedup`, `work_ratio`.
    """

    folder: Path
    results: Mapping[str, Any]
    config: Mapping[str, Any]
    figures: Mapping[str, float | None]

    @property
    def seed(self) -> int:
        return int(self.results["run"]["seed"])

    @property
    def method(self) -> str:
        return str(self.results["run"]["method"])

    @property
    def date(self) -> str:
        return str(self.results["run"].get("date") or "")

    @property
    def device(self) -> str:
        return str(self.results["run"].get("device") or "unknown device")

    @property
    def experiment(self) -> str | None:
        name = self.results["run"].get("experiment")
        return None if name is None else str(name)

    @cached_property
    def composed(self) -> dict[str, Any]:
        """The configuration before its references were resolved: all that a failed job left of it."""
        return read_yaml(self.folder / ".hydra" / CONFIG)

    def figure(self, path: str) -> Figure:
        """The number at `path`, or the reason why there is none."""
        value = self.figures.get(path)
        if value is None:
            return Figure(None, reason=str(self.results["missing"].get(path) or unmeasured(path)))
        low, high = (self.figures.get(f"{path}/{end}") for end in ("low", "high"))
        beside = path.removesuffix("/steps")
        censored = path.endswith("/steps") and (self.figures.get(f"{beside}/censored") or 0) > 0
        return Figure(value, low, high, censored=censored)


def unmeasured(path: str) -> str:
    """Why a run says nothing of a number, not even why it lacks."""
    words = path.split("/")
    if "attack" not in words[:-1]:
        return "not measured"
    attack = words[words.index("attack") + 1]
    return f"attack={'lira' if attack in ('ulira', 'rmia') else attack} was not run"


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
    def seed(self) -> int | None:
        seed = self.composed.get("seed")
        return seed if isinstance(seed, int) else None

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
    found = [
        job_of(folder)
        for folder in dict.fromkeys(folder for path in paths for folder in job_folders(path))
    ]
    if not found:
        raise UserError(
            f"no {RESULTS} in or below {', '.join(map(str, paths))}: give the folder of a run or a sweep"
        )

    results = [job for job in found if job.experiment != "tune"] or found
    runs = tuple(job for job in results if isinstance(job, Run))
    gaps = tuple(job for job in results if isinstance(job, Gap))

    return Collection(runs, gaps, trials=len(found) - len(results))


def job_folders(path: Path) -> Iterator[Path]:
    """Folders in or below `path` in which a job wrote, or was to write, its results; absolute."""
    if path.name == RESULTS and path.is_file():
        path = path.parent

    if not path.is_dir():
        raise UserError(f"no folder {path}: give the folder of a run or a sweep")

    for place, folders, files in os.walk(path):
        if (
            RESULTS in files
            or FAILURE in files
            or (Path(place) / ".hydra" / "overrides.yaml").is_file()
        ):
            yield Path(place).resolve()
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)


def natural(name: str) -> tuple[int, str]:
    """Job 9 comes before job 10."""
    return (int(name), "") if name.isdecimal() else (-1, name)


def job_of(folder: Path) -> Run | Gap:
    """What is in a job's folder; what cannot be read is a gap with its reason."""
    composed = read_yaml(folder / ".hydra" / CONFIG)
    if (folder / RESULTS).is_file():
        try:
            results = checked(json.loads((folder / RESULTS).read_text()))
            # Half of a pair of surrogates is no text, and nobody can write it: a ValueError.
            json.dumps(results, ensure_ascii=False).encode()
            return Run(folder, results, read_yaml(folder / CONFIG), all_figures(results))
        except (
            OSError,
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as fault:
            return Gap(folder, f"{RESULTS} cannot be used: {first_line(fault)}", composed=composed)

    failure = read_failure(folder / FAILURE)
    if failure:
        return Gap(
            folder,
            str(failure.get("error", "failed")),
            str(failure.get("command") or "") or None,
            composed,
        )

    return Gap(folder, f"no {RESULTS}: still running, or ended from outside", composed=composed)


def checked(results: Any) -> dict[str, Any]:
    """The content of `results.json`, if it is what this version reads.

    Raises:
        ValueError: If it is not, with what is wrong.
    """
    if not isinstance(results, dict) or not isinstance(results.get("run"), dict):
        raise ValueError("it does not describe a run")
    if results.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {results.get('schema')!r}, this report reads {SCHEMA}")

    for key, holds in RUN.items():
        if not holds(results["run"].get(key)):
            raise ValueError(f"run/{key} is {results['run'].get(key)!r:.80}")

    parts = {key: results.get(key) or {} for key in PARTS}
    for key, part in parts.items():
        if not isinstance(part, dict) or not all(map(PARTS[key], part.values())):
            raise ValueError(f"its {key} is {part!r:.80}")

    for key in ("metrics", "seconds"):
        if not isinstance(results.get(key), dict):
            raise ValueError(f"it has no {key}")

    return {**results, **parts}


def is_json_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def of(*kinds: type | None) -> Callable[[Any], bool]:
    """A rule: of one of the types, or None where None is among them."""
    there = tuple(type(None) if kind is None else kind for kind in kinds)
    return lambda value: isinstance(value, there) and (bool in there or not isinstance(value, bool))


def words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


TEXT = of(str, None)
RUN: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("dataset", "task", "backbone", "method"), of(str)),
    **dict.fromkeys(
        ("date", "device", "commit", "data", "config_hash", "experiment", "budget"), TEXT
    ),
    "seed": of(int),
    "forget_label": words,
    "requests": lambda value: value is None or (isinstance(value, list) and all(map(words, value))),
    "versions": lambda value: (
        value is None or (isinstance(value, dict) and all(map(of(str), value.values())))
    ),
}
"""What each fact of a run must be."""
PARTS: Mapping[str, Callable[[Any], bool]] = {
    "metrics": lambda value: value is None or is_json_number(value),
    "seconds": lambda value: value is None or is_json_number(value),
    "work": lambda value: (
        value is None or (isinstance(value, dict) and all(map(is_json_number, value.values())))
    ),
    "measured": lambda value: (
        value is None or (isinstance(value, dict) and TEXT(value.get("device")))
    ),
    "missing": of(str),
}
"""What each value must be below these keys of `results.json`."""
LARGEST = 1e15
"""No run measures as much of anything, in seconds or images."""


def all_figures(results: Mapping[str, Any]) -> dict[str, float | None]:
    """All numbers of a run by their path, those derived here included; what is no finite number
    becomes None."""
    work = {
        f"work/{stage}": sum(passes.values()) for stage, passes in results["work"].items() if passes
    }
    figures = {key: finite_number(value) for key, value in {**figures_of(results), **work}.items()}
    return figures | derived(figures)


def finite_number(value: Any) -> float | None:
    return (
        float(value)
        if is_json_number(value) and math.isfinite(value) and abs(value) < LARGEST
        else None
    )


def derived(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """What follows from other numbers of a run.

    `<model>/test/forgotten/error`: 1 - accuracy of the output.
    """
    found: dict[str, float | None] = {}
    for model in ("original", "retrain", "unlearned"):
        path = f"{model}/test/forgotten/accuracy"
        for end, other in (("", ""), ("/low", "/high"), ("/high", "/low")):
            if (value := figures.get(f"{path}{other}")) is not None:
                found[f"{model}/test/forgotten/error{end}"] = 1 - value
    return found


def read_yaml(file: Path) -> dict[str, Any]:
    """The configuration in it; empty where there is no such file, or none that can be read."""
    try:
        content = yaml.load(file.read_bytes(), LOADER)
    except (
        OSError,
        ValueError,
        RecursionError,
        yaml.YAMLError,
    ):  # a date such as 2026-99-99 is a ValueError
        return {}
    return present_config(content) if is_configuration(content) else {}


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C is ten times as fast, where yaml has it."""


def read_failure(file: Path) -> dict[str, Any]:
    """What a failed job left; empty where none did."""
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        return {"error": f"failed; {FAILURE} cannot be read"}
    return content if isinstance(content, dict) else {"error": "failed"}
