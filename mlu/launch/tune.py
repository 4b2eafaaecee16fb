"""A search for a method's settings: what it tries, and what is left at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlu.runs.notes import note_in
from mlu.runs.read import Run, job_of
from mlu.runs.results import Results
from mlu.runs.seeds import Seeds
from mlu.system.commands import override, run_command
from mlu.system.errors import UserError
from mlu.system.owned import Owned

TUNED = "tuned"
"""Folder, below `outputs`, of the settings that searches have found."""
RETAINED = "validation/retained/accuracy"
EXCESS = "attack/aia/strongest/excess"
REMEMBERED = "validation/forgotten/remembered"
COST = 0.01
"""How much of the original's retained accuracy settings may cost (validation)."""


def suggest(config: Any, trial: Any) -> None:
    """Draw a value for each key of the method's `search`; what the command line sets is not drawn.

    Args:
        config: The composed configuration. `search` gives for each key a list of choices, or `low`,
            `high` and whether to draw the logarithm evenly (`log`).
        trial: Of Optuna; it has the command line's values as user attributes.
    """
    space = config.method.get("search")
    if not space:
        raise UserError(
            f"experiment=tune: method={config.method.name} has nothing to tune, "
            "its yaml has no `search`"
        )

    for key, values in space.items():
        if key in trial.user_attrs:
            continue
        if "low" in values:
            trial.suggest_float(key, values["low"], values["high"], log=values.get("log", False))
        else:
            trial.suggest_categorical(key, list(values))


@dataclass(frozen=True)
class Judged:
    """A trial by what the search is about, all of it on validation people.

    Attributes:
        trial: What it has measured.
        kept: Retained accuracy.
        leaks: What the strongest reader finds above Retrain, or 0, plus the forgotten output's
            distance from saying nothing.
        is_good: Whether it retains what the original does, to within COST.
    """

    trial: Results
    kept: float
    leaks: float
    is_good: bool


def judged(trial: Results) -> Judged | None:
    """A trial by its figures; None where it lacks one."""
    paths = (f"unlearned/{RETAINED}", f"unlearned/{EXCESS}", f"unlearned/{REMEMBERED}")
    kept, excess, remembered = (trial.metrics.get(path) for path in paths)
    original = trial.metrics.get(f"original/{RETAINED}")
    if kept is None or excess is None or remembered is None or original is None:
        return None

    # To read less than on Retrain is no merit.
    leaks = max(excess, 0) + remembered

    return Judged(trial, kept, leaks, is_good=kept >= original - COST)


def best_trial(trials: Sequence[Results]) -> Results | None:
    """The trial that leaks least among those that retain enough.

    Where none does, it is the one that retains most.

    Args:
        trials: What each has measured; one without the figures does not count.

    Returns:
        None where there is none.
    """
    found = [one for trial in trials if (one := judged(trial)) is not None]
    good = [one for one in found if one.is_good]
    if good:
        return min(good, key=lambda one: (one.leaks, -one.kept)).trial

    return max(found, key=lambda one: one.kept).trial if found else None


def leave_best(
    trials: Sequence[tuple[Sequence[str], Results]], source: Path, outputs: Path
) -> list[str]:
    """Write the best settings where `method=` finds them, and say so.

    Args:
        trials: Overrides and results of each trial.
        source: The method's own yaml.
        outputs: Where everything is written.

    Returns:
        Lines for the terminal.
    """
    best = best_trial([results for _, results in trials])
    if best is None:
        return ["no trial has the figures that the search is about: nothing is written"]

    overrides = next(overrides for overrides, results in trials if results is best)
    settings = yaml.safe_load(source.read_bytes())
    for key, value in ours(overrides, settings.pop("search")).items():
        set_nested(settings, key.removeprefix("method."), value)

    metrics, run = best.metrics, best.run
    seconds = sum(
        results.seconds[stage] or 0.0 for _, results in trials for stage in ("unlearn", "attack")
    )
    kept, before = metrics[f"unlearned/{RETAINED}"], metrics[f"original/{RETAINED}"]
    found = (
        f"best of {len(trials)} trials: retains {kept:.3f} (the original {before:.3f}), "
        f"excess over Retrain {metrics[f'unlearned/{EXCESS}']:+.3f}, "
        f"output {metrics[f'unlearned/{REMEMBERED}']:.3f} from saying nothing, validation"
    )

    forgotten = ", ".join(run.forget_label)
    where = f"{run.dataset}, {run.backbone}, {forgotten} forgotten, seed {Seeds.of(vars(run))}"
    cost = f"the search took {seconds:.0f} s of unlearning and attacks"

    place = Owned(outputs / TUNED / "method")
    # Settings that somebody has edited stay theirs.
    name = place.free_name(f"{source.stem}_tuned.yaml")
    header = "".join(f"# {line}\n" for line in (found, where, f"{cost}, {run.date}, {run.device}"))
    place.write(name, header + yaml.safe_dump(settings, sort_keys=False))
    chosen = override("method", Path(name).stem)
    command = run_command("--config-dir", str(outputs / TUNED), chosen)

    return [f"{run.method}, {found}", f"{cost}; use it: {command}"]


def earlier_trials() -> list[tuple[Sequence[str], Results]]:
    """The overrides and results of trials that a search had before this command, if there still."""
    # Brings Optuna, which no other sweep needs.
    from mlu.launch.search import trials_before

    found: list[tuple[Sequence[str], Results]] = []
    for folder, overrides in trials_before():
        note, job = note_in(folder), job_of(folder)
        if note is not None and " ".join(note.overrides) == overrides and isinstance(job, Run):
            found.append((note.overrides, job.results))

    return found


def ours(overrides: Sequence[str], space: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the keys that were searched."""
    pairs = (override.split("=", 1) for override in overrides)
    return {key: yaml.safe_load(value) for key, value in pairs if key in space}


def set_nested(settings: dict[str, Any], path: str, value: Any) -> None:
    """Set a nested key."""
    *outer, last = path.split(".")
    for part in outer:
        settings = settings[part]
    settings[last] = value
