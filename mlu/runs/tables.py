"""The tables in a terminal at the end of a run and of a sweep."""

import shlex
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlu.metrics.verdict import verdict_sentence
from mlu.runs.read import Run
from mlu.runs.results import SILENT
from mlu.runs.room import READ_PLACES, without_room
from mlu.runs.rows import STEPS, AttackRow, declared_by_any
from mlu.runs.verdicts import verdict_of_runs
from mlu.system.errors import printable

Figures = Mapping[str, float | None]
"""Numbers of a run by their paths."""

Columns = Sequence[tuple[str, str]]
"""Title and path, after the model's, of each column of figures."""

UTILITY: Columns = (
    ("retained accuracy", "test/retained/accuracy"),
    ("forgotten balanced acc.", "test/forgotten/balanced_accuracy"),
)

_ATTACK_TABLE = (
    "what an attacker learns: balanced accuracy of reading, AUROC of membership, steps to relearn"
)
_NOTHING = "–"
_BEYOND_RETRAIN, _ABOVE_FLOOR = "excess over retrain", "above the floor"
_MODEL = "unlearned/attack/"
_STRONGEST = "aia/strongest/balanced_accuracy"


def run_table(run: Run) -> Table:
    """Rows original, retrain and unlearned of one run; test split, 95 % intervals in brackets."""
    facts = run.results.run
    columns = shown_columns([run])
    title = f"{facts.dataset}, {facts.backbone}: forget {', '.join(facts.forget_label)}"
    title += ", which is no output" if run.of_concept else ""
    table = headed(text_of(title), "model", columns)

    rows = (
        ("original", "original", "original", ""),
        ("retrain", "retrain", "retrain", "1×" if run.figures.get("seconds/retrain") else ""),
        (
            "unlearned",
            f"[bold]unlearned ({text_of(facts.method)})",
            "unlearn",
            number_text(run.results.speedup, "×"),
        ),
    )
    for model, label, stage, speedup in rows:
        if model == "retrain" and run.of_concept:
            continue

        cost = number_text(run.figures.get(f"seconds/{stage}"), " s")
        table.add_row(label, *figure_texts(run, model, columns), cost, speedup)

    return table


def show_sweep(runs: Mapping[int, Run], overrides: Mapping[int, Sequence[str]]) -> None:
    """Show the table of a sweep, below what all its jobs were given.

    Args:
        runs: Those of its jobs that have results, by their numbers.
        overrides: What each job was given, also those without results.
    """
    shared = shared_words(overrides.values())
    if shared:
        show_line(f"all jobs: {text_of(phrase(shared))}")

    known = set(shared)
    jobs = []
    for number, run in sorted(runs.items()):
        own = [word for word in overrides[number] if word not in known]
        jobs.append((f"{number} {phrase(own)}".strip(), run))
    show_table(sweep_table(jobs))


def shared_words(jobs: Iterable[Sequence[str]]) -> list[str]:
    """The words that each of several lists holds, in the order of the first.

    >>> shared_words([["seed=1", "phi=0.1"], ["phi=0.1", "seed=2"]])
    ['phi=0.1']
    """
    first, *others = jobs
    shared = set(first).intersection(*others)
    return [word for word in first if word in shared]


def phrase(words: Iterable[str]) -> str:
    """Words in one line; one with blanks in it stands in quotes."""
    return " ".join(shlex.quote(word) if " " in word else word for word in words)


def sweep_table(jobs: Sequence[tuple[str, Run]]) -> Table:
    """One row for each job of a sweep, by its name."""
    columns = shown_columns([run for _, run in jobs])
    table = headed("after forgetting, test split", "job", columns)
    # Names are broken where they must be, and never cut.
    table.columns[0].overflow = "fold"
    for name, run in jobs:
        seconds = number_text(run.figures.get("seconds/unlearn"), " s")
        speedup = number_text(run.results.speedup, "×")
        table.add_row(text_of(name), *figure_texts(run, "unlearned", columns), seconds, speedup)

    return table


def shown_columns(runs: Sequence[Run]) -> Columns:
    """Utility and the headlines of attacks, as far as some run has them."""
    columns = [*UTILITY]
    for attack in declared_by_any(run.attacks for run in runs).values():
        for row in attack.rows:
            if row.headline:
                columns.append((row.title, f"attack/{row.figure}"))
            if row.headline and row.excess and not all(run.of_concept for run in runs):
                columns.append((_BEYOND_RETRAIN, f"attack/{row.excess}"))
            if row.headline and row.floor and any(run.of_concept for run in runs):
                columns.append((_ABOVE_FLOOR, f"attack/{row.floor}"))

    paths = {path for run in runs for path in run.figures}

    return [(title, path) for title, path in columns if f"unlearned/{path}" in paths]


def headed(title: str, first: str, columns: Columns) -> Table:
    """A table without rows."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for column in (*(text_of(title) for title, _ in columns), "time", "speed-up"):
        table.add_column(column, justify="right")
    return table


def figure_texts(run: Run, model: str, columns: Columns) -> list[str]:
    """Figures of one model; what is chance by construction is marked so."""
    texts = []
    for path in (f"{model}/{path}" for _, path in columns):
        mark = f" ({SILENT.partition(' ')[0]})" if run.is_silent(path) else ""
        texts.append(measured_text(run.figures, path) + mark)
    return texts


def attack_table(run: Run) -> Table:
    """One row for each attack of one run, one column for each model, with 95 % intervals."""
    table = Table(title=_ATTACK_TABLE, title_justify="left", title_style="bold")
    table.add_column("attack")
    untrained = untrained_models(run.figures)
    for column in (
        "chance",
        "retained labels",
        *untrained,
        *trained_models(run),
        _ABOVE_FLOOR if run.of_concept else _BEYOND_RETRAIN,
    ):
        table.add_column(column, justify="right")

    for row in run.attack_rows:
        table.add_row(text_of(row.title), *row_texts(row, run, untrained))

    return table


def reading_notes(run: Run) -> list[str]:
    """Sentences below the table of attacks: which readers are the strongest, and where no room is.

    For labels that are forgotten at once the readers are those of the worst label.
    """
    chosen = run.results.chosen
    lines = []
    for place, called in READ_PLACES.items():
        named = []
        for model in ("original" if run.of_concept else "retrain", "unlearned"):
            found = chosen.get(f"{model}/attack/aia/strongest/{place}", {})
            if "reader" in found:
                named.append(f"{model} {found['reader']}")
        if named:
            lines.append(f"strongest reader of {called}: {', '.join(named)}")

    lows = run.results.run.forget_label, lambda path: run.figure(path).low

    return [*lines, *without_room(*lows)]


def verdict_line(run: Run) -> str:
    """The verdict on one run's model; empty where no reader was measured."""
    judged = verdict_of_runs([run])
    if run.of_concept:
        return text_of(concept_sentence(run))
    if judged is None:
        return ""
    labels = ", ".join(run.results.run.forget_label)
    return text_of(f"forgetting {labels}: {verdict_sentence(judged)}")


def concept_sentence(run: Run) -> str:
    """A sentence in place of the verdict, without a Retrain; empty where nothing was read."""
    before, after = (
        run.figures.get(f"{model}/attack/{_STRONGEST}") for model in ("original", "unlearned")
    )
    if before is None or after is None:
        return ""

    above = run.figure(f"{_MODEL}aia/strongest/above_floor")
    floor = "the floor is not known"
    if above.value is not None:
        floor = f"{100 * above.value:+.1f} points above the floor of the true retained labels"
    if above.low is not None and above.high is not None:
        floor += f", 95 % interval [{100 * above.low:+.1f}, {100 * above.high:+.1f}]"

    labels = ", ".join(run.results.run.forget_label)

    return (
        f"forgetting {labels}, which is no output: read to {before:.3f} before and {after:.3f} "
        f"afterwards; {floor}. There is no Retrain to hold it against."
    )


def trained_models(run: Run) -> list[str]:
    """Models of the table of attacks that have seen the data."""
    return ["original", "unlearned"] if run.of_concept else ["original", "retrain", "unlearned"]


def untrained_models(figures: Iterable[str]) -> list[str]:
    """Models that were attacked as they were before any training on the data of the run."""
    from_weights = any(path.startswith("start/") for path in figures)
    return ["random", "start"] if from_weights else ["random"]


def row_texts(row: AttackRow, run: Run, untrained: Sequence[str]) -> list[str]:
    """Chance, what the retained labels tell, each model, and what is beyond Retrain or floor."""
    figures = run.figures
    chance = "" if row.chance is None else f"{row.chance:.3f}"
    known = measured_text(figures, f"proxy/attack/{row.proxy}", ends=False) if row.proxy else ""

    models = [model_text(row, figures, model) for model in untrained]
    for model in trained_models(run):
        # What is held against something has an interval.
        ends = run.of_concept or model != "original"
        models.append(model_text(row, figures, model, ends))

    beyond = ""
    if run.is_silent(f"{_MODEL}{row.figure}"):
        beyond = SILENT
    elif run.of_concept:
        beyond = measured_text(figures, f"{_MODEL}{row.floor}") if row.floor else ""
    elif row.excess:
        beyond = measured_text(figures, f"{_MODEL}{row.excess}")
    elif row.ratio:
        beyond = number_text(figures.get(f"{_MODEL}{row.ratio}"), "×")

    return [chance, known, *models, beyond]


def model_text(row: AttackRow, figures: Figures, model: str, ends: bool = False) -> str:
    """The figure of one model in a row, perhaps with its interval."""
    path = f"{model}/attack/{row.figure}"
    if path.endswith(STEPS):
        return steps_text(figures, path.removesuffix(STEPS))
    return measured_text(figures, path, ends)


def steps_text(figures: Figures, path: str) -> str:
    """A number of steps; `>` and the accuracy come to, for a label that is not back at the cap."""
    value, censored, reached = (
        figures.get(f"{path}/{name}") for name in ("steps", "censored", "balanced_accuracy")
    )
    if value is None or censored is None:
        return _NOTHING
    return f"{value:g}" if censored < 0.5 else f">{value:g} ({reached:.3f})"


def measured_text(figures: Figures, path: str, ends: bool = True) -> str:
    """A figure and, if there is one, its interval."""
    value, low, high = (figures.get(key) for key in (path, f"{path}/low", f"{path}/high"))
    if value is None:
        return _NOTHING
    if not ends or low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} [dim][{low:.3f}, {high:.3f}][/dim]"


def number_text(value: float | None, unit: str) -> str:
    if value is None:
        return _NOTHING
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"


def text_of(name: str) -> str:
    """A name from a file as a terminal shows it: no markup, and no command to the terminal."""
    return escape(printable(name))


def show_table(table: Table) -> None:
    """Print a table."""
    console = Console()
    # In a pipe or a log there is no width to keep to, and a cut figure is worth nothing.
    console.print(table) if console.is_terminal else Console(width=160).print(table)


def show_line(text: str) -> None:
    """Show marked text, broken by the terminal alone."""
    Console().print(text, soft_wrap=True, highlight=False)
