"""`results.json`: what a run has measured, written, read and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlu.metrics.findings import CONSTANT
from mlu.metrics.trace import TracePoint
from mlu.runs.rows import attack_of
from mlu.runs.typed import as_json, can_be, field_types, typed
from mlu.system.errors import UserError, did_you_mean

SCHEMA = 2
READABLE = (1, SCHEMA)
"""Schemas that are read. The first had nothing under `chosen`, and no label of an attack."""

RETAINED_LABELS = "proxy/attack/aia/folded_balanced_accuracy"
"""Path of how well the true retained labels tell the forgotten one, without any model."""

SILENT = "silent by construction: no evidence"
"""What stands beside figures that are chance by construction."""

_LARGEST = 1e15
"""No run measures as much of anything, in seconds or images."""
_MODELS = ("original", "retrain", "unlearned")


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run. A field that may be None may be missing in a file.

    A seed that is missing is `seed`. `concept` says whether `forget_label` names attributes that
    the model does not output.
    """

    dataset: str
    backbone: str
    method: str
    forget_label: tuple[str, ...]
    requests: tuple[tuple[str, ...], ...] | None
    seed: int
    split_seed: int | None
    train_seed: int | None
    method_seed: int | None
    experiment: str | None
    budget: str | None
    task: str
    data: str | None
    config_hash: str | None
    commit: str | None
    device: str | None
    date: str | None
    versions: Mapping[str, str] | None
    concept: bool | None = None


@dataclass(frozen=True)
class Passes:
    """Images that went through the network."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        return self.forward + self.backward


@dataclass(frozen=True)
class Measured:
    """Where and when the seconds of a stage were measured, and whether they come from the cache."""

    device: str | None
    date: str | None
    cached: bool | None


@dataclass(frozen=True)
class Figure:
    """One number of one run: `value` is None where there is none, and `reason` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    censored: bool = False


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a run has measured: fields in the order in which `results.json` has them.

    Attributes:
        run: What was run.
        seconds: Of each stage, and of each phase of unlearning; None for a model that was given.
        speedup: Seconds of Retrain over those of the method.
        work: Image passes of each stage.
        work_ratio: Image passes of Retrain over those of the method.
        measured: Where the seconds of each model come from.
        metrics: Figures by their path, with `/low` and `/high` for the ends of intervals.
        missing: Path -> why there is no figure.
        chosen: Path, without the metric -> what was chosen among several to give these figures:
            `label`, `reader`, `place`; of `unlearned/trace` the step that was kept.
        trace: What validation people showed of the network while it was made to forget, and of the
            models that it is held against.
    """

    schema: int = SCHEMA
    run: RunFacts
    seconds: Mapping[str, float | None]
    speedup: float | None
    work: Mapping[str, Passes | None]
    work_ratio: float | None
    measured: Mapping[str, Measured | None]
    metrics: Mapping[str, float | None]
    missing: Mapping[str, str]
    chosen: Mapping[str, Mapping[str, str]]
    trace: tuple[TracePoint, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The content of `results.json`."""
        content: dict[str, Any] = as_json(self)
        return content

    @classmethod
    def from_json(cls, content: Any) -> "Results":
        """The results in a file, which anybody may have written.

        Raises:
            ValueError: If they are not what this version reads, with what is wrong.
        """
        if not isinstance(content, dict) or not isinstance(content.get("run"), dict):
            raise ValueError("it does not describe a run")
        if content.get("schema") not in READABLE:
            known = " and ".join(map(str, READABLE))
            raise ValueError(f"its schema is {content.get('schema')!r}, this version reads {known}")

        for name, kind in field_types(RunFacts).items():
            if not can_be(content["run"].get(name), kind):
                raise ValueError(f"run/{name} is {content['run'].get(name)!r:.80}")

        found = dict(content)
        for name in ("seconds", "work", "measured", "metrics", "missing", "chosen"):
            found[name] = content.get(name) or {}
            if not can_be(found[name], field_types(cls)[name]):
                raise ValueError(f"its {name} is {found[name]!r:.80}")

        found["trace"] = content.get("trace") or []
        if not can_be(found["trace"], field_types(cls)["trace"]):
            raise ValueError(f"its trace is {found['trace']!r:.80}")

        for name in ("metrics", "seconds"):
            if not isinstance(content.get(name), dict):
                raise ValueError(f"it has no {name}")

        for name in ("speedup", "work_ratio"):
            found[name] = finite_number(content.get(name))

        results: Results = typed(found, cls)
        for point in results.trace:
            if not point.is_sound:
                raise ValueError(f"its trace has {point!r:.80}")

        return results

    def figures(self) -> dict[str, float | None]:
        """Its numbers by path: metrics, `seconds/...`, `work/...`, `speedup` and `work_ratio`."""
        found = dict(self.metrics)
        found |= {f"seconds/{stage}": value for stage, value in self.seconds.items()}
        for stage, passes in self.work.items():
            if passes is not None:
                found[f"work/{stage}/forward"] = passes.forward
                found[f"work/{stage}/backward"] = passes.backward

        return {**found, "speedup": self.speedup, "work_ratio": self.work_ratio}

    @cached_property
    def all_figures(self) -> Mapping[str, float | None]:
        """`figures` and those that follow from them; what is no finite number is None.

        `work/<stage>` is the sum of its passes, `<model>/test/forgotten/error` is 1 - accuracy of
        the output.
        """
        found = self.figures()
        for stage, passes in self.work.items():
            if passes is not None:
                found[f"work/{stage}"] = passes.total

        finite = {path: finite_number(value) for path, value in found.items()}
        return finite | forgetting_errors(finite)

    def figure(self, path: str) -> Figure:
        """The number at `path` with its interval, or the reason why there is none."""
        figures = self.all_figures
        value = figures.get(path)
        if value is None:
            return Figure(None, reason=self.missing.get(path) or unmeasured(path))

        low, high = (figures.get(f"{path}/{end}") for end in ("low", "high"))
        beside = path.removesuffix("/steps")
        censored = path != beside and (figures.get(f"{beside}/censored") or 0) > 0

        return Figure(value, low, high, censored=censored)

    def is_silent(self, path: str) -> bool:
        """Whether the figure at `path` is chance by construction, and so no evidence.

        An attacker said the same of every image, or the forgotten output does: its AUROC is then
        exactly one half, and it predicts the label of all images or of none.
        """
        start, figures = path.rpartition("/")[0], self.all_figures
        if figures.get(f"{start}/{CONSTANT}") == 1:
            return True
        if not start.endswith("/test/forgotten"):
            return False
        rate = figures.get(f"{start}/positive_rate")
        return figures.get(f"{start}/auroc") == 0.5 and rate in (0, 1)


def objective_of(results: Results, paths: str | Sequence[str] | None) -> Any:
    """The figure that a sweeper optimises, one for each path, or None where no path is given.

    Raises:
        UserError: If there is no such figure, with the nearest one; or if it has no value, with the
            reason.
    """
    if paths is None:
        return None
    if not isinstance(paths, str):
        return tuple(objective_of(results, path) for path in paths)

    figures = results.figures()
    if paths not in figures:
        nearest = did_you_mean(paths, figures) or "."
        raise UserError(f"objective={paths} is no figure of a run{nearest} See results.json")
    if figures[paths] is None:
        raise UserError(f"objective={paths} has no value: {results.missing[paths]}")

    return figures[paths]


def finite_number(value: Any) -> float | None:
    """The number as a float; None for what is none, or larger than any figure can be."""
    # Also false of NaN.
    return float(value) if can_be(value, float) and abs(value) < _LARGEST else None


def forgetting_errors(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Shares of wrong forgotten outputs, with the ends of their intervals turned round."""
    ends = {"": "", "/low": "/high", "/high": "/low"}
    found: dict[str, float | None] = {}
    for model in _MODELS:
        for end, other in ends.items():
            accuracy = figures.get(f"{model}/test/forgotten/accuracy{other}")
            if accuracy is not None:
                found[f"{model}/test/forgotten/error{end}"] = 1 - accuracy

    return found


def unmeasured(path: str) -> str:
    """Why a run says nothing of a number, not even why it lacks."""
    words = path.split("/")
    if "attack" not in words[:-1]:
        return "not measured"
    return f"attack={attack_of(words[words.index('attack') + 1])} was not run"
