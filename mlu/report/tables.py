"""The parts of a table, and the general one that each setting has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mlu.metrics.verdict import Verdict
from mlu.report.aggregate import Better, Cell, cell, winner, without
from mlu.report.groups import REFERENCES, Group, Setting
from mlu.runs.read import Run
from mlu.runs.results import RETAINED_LABELS
from mlu.runs.room import without_room
from mlu.runs.rows import STEPS, AttackColumn, declared_by_any, shipped
from mlu.runs.verdicts import verdict_of_runs


@dataclass(frozen=True)
class Unit:
    """A way of writing numbers.

    Attributes:
        name: Of the unit; empty for a mere count.
        scale: Times this.
        digits: After the point; None for three that count.
        signed: Whether more than nothing has a plus.
        limits: Least and largest number possible, as in `results.json`.
    """

    name: str
    scale: float = 1.0
    digits: int | None = None
    signed: bool = False
    limits: tuple[float, float] = (-float("inf"), float("inf"))


PERCENT = Unit("%", 100, 1, limits=(0, 1))
POINTS = Unit("points", 100, 1, signed=True, limits=(-1, 1))
SECONDS = Unit("s", limits=(0, float("inf")))
TIMES = Unit("×", limits=(0, float("inf")))
COUNT = Unit("", limits=(0, float("inf")))
NATS = Unit("nats", digits=3)
_UNITS = {"share": PERCENT, "points": POINTS, "number": COUNT}
"""By the names that attacks have for them."""


@dataclass(frozen=True)
class Column:
    """One number of every row.

    Attributes:
        title: What the header says.
        path: In `results.json`; `{model}` and `{stage}` stand for the row's.
        unit: How it is written.
        about: What it is, in a line.
        better: Which way is better; None where no number is marked as best.
        floor: Less than this is no merit.
        open_to_all: Whether methods that are not shown to have forgotten may be the best.
        printed: Place in the paper's row; None where the paper has no such number.
        called: What the paper calls its number, where that is not the title.
    """

    title: str
    path: str
    unit: Unit = PERCENT
    about: str = ""
    better: Better | None = None
    floor: float | None = None
    open_to_all: bool = False
    printed: int | None = None
    called: str = ""


@dataclass(frozen=True)
class Row:
    """Cells in the order of the table's columns, and what the paper prints for the same.

    Of a method also the verdict on it; None where its runs have no figures to go by.
    """

    title: str
    cells: tuple[Cell, ...]
    printed: tuple[float | None, ...]
    verdict: Verdict | None = None
    reference: bool = False

    @property
    def forgotten(self) -> bool:
        """Whether the method is shown to have forgotten."""
        return self.verdict is not None and self.verdict.word == "shown"


@dataclass(frozen=True)
class Table:
    """A table of one setting, or of several.

    Attributes:
        name: The paper's table, or `methods`.
        title: What it shows.
        ours: What our side is.
        theirs: What the paper's side is; empty where it has none.
        columns: Of our side.
        rows: In order.
        notes: What one must know to read it.
        errata: What is wrong with what the paper prints here.
    """

    name: str
    title: str
    ours: str
    theirs: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    errata: tuple[str, ...] = ()

    @property
    def best(self) -> frozenset[tuple[int, int]]:
        """Places (row, column) of the numbers that are the best beyond doubt."""
        found = (
            (best_row(self.rows, place, column), place) for place, column in enumerate(self.columns)
        )
        return frozenset((row, place) for row, place in found if row is not None)


NOT_ASKED = "a reference has none"
HIDDEN_BY_PENALTY = (
    "What hides the label in wf and wp is their penalty in fine-tuning, which is ours and not the "
    "paper's: on 20 draws of faces weights drawn at random do the same, and without the penalty "
    "the label stays (docs/results/evidence.md)."
)
UNTRAINED = {"random": "random weights", "start": "start of training"}
"""References that have not seen the data, and what they are called."""
RETAINED = "{model}/%s/retained/accuracy"
FEATURES = "{model}/attack/aia/features"
OUTPUT = Column(
    "forgotten output",
    "{model}/test/forgotten/balanced_accuracy",
    about="balanced accuracy; 50 knows nothing",
)
READ = "folded_balanced_accuracy"


def attack_column(column: AttackColumn) -> Column:
    """A column that an attack declares; without a unit a share, or a number of steps."""
    unit = _UNITS[column.unit or ("number" if column.figure.endswith(STEPS) else "share")]
    path = f"{{model}}/attack/{escaped(column.figure)}"
    return Column(column.title, path, unit, column.about or "")


def escaped(text: str) -> str:
    """A name inside a path that is formatted later."""
    return text.replace("{", "{{").replace("}", "}}")


def shipped_column(figure: str) -> Column:
    """The column of a figure that an attack of the package declares."""
    columns = (column for attack in shipped().values() for column in attack.columns)
    return next(attack_column(column) for column in columns if column.figure == figure)


EXCESS = replace(shipped_column("aia/strongest/excess"), better="low", floor=0, open_to_all=True)
"""What the strongest reader finds above Retrain, from outputs or features."""

LINEAR = shipped_column("aia/features/excess")
"""What the logistic regression of the paper finds above Retrain, from features."""

KEPT = Column(
    "retained accuracy",
    RETAINED % "test",
    about="mean over the retained labels, test split",
    better="high",
)
TIME = Column(
    "time",
    "seconds/{stage}",
    SECONDS,
    "all that forgetting took: scores, edits, fine-tuning, data",
    "low",
)
FASTER = Column(
    "speed-up", "speedup", TIMES, "seconds of Retrain over those of the method, on one device"
)
WORK = Column(
    "image passes",
    "work/{stage}",
    COUNT,
    "images forward and backward through the network, teachers included",
)
LESS_WORK = Column(
    "less work", "work_ratio", TIMES, "image passes of Retrain over those of the method"
)


def best_row(rows: Sequence[Row], place: int, column: Column) -> int | None:
    """The row that is best in a column beyond doubt, if any: see `aggregate.winner`.

    References are no rivals, and unless the column itself measures forgetting, nor are methods that
    are not shown to have forgotten: not to forget is no way to keep more, or to be quick.
    """
    if column.better is None:
        return None

    rivals = [
        row
        for row, found in enumerate(rows)
        if not found.reference and (column.open_to_all or found.forgotten)
    ]
    best = winner([rows[row].cells[place] for row in rivals], column.better, column.floor)

    return None if best is None else rivals[best]


def has(runs: Iterable[Run], start: str) -> bool:
    return any(path.startswith(start) for run in runs for path in run.figures)


def general(setting: Setting) -> Table:
    """All methods of a setting beside its references."""
    always = (KEPT, OUTPUT, TIME)
    columns = tuple(
        column
        for column in (KEPT, OUTPUT, *attack_columns(setting), TIME, FASTER, LESS_WORK)
        if column in always or measured(setting, column)
    )
    references = (*REFERENCES, *UNTRAINED)
    rows = [reference_row(setting, model, columns) for model in references]
    rows += [method_row(setting, group, columns) for group in setting.methods]

    notes = [HIDDEN_BY_PENALTY] if any(map(chooses_and_hides, setting.runs)) else []
    notes += without_room(setting.forget, lambda path: lower_end(setting, path))
    if setting.spread:
        notes.append(f"Seeds: {setting.spread}.")

    proxy = cell(setting.runs, RETAINED_LABELS, PERCENT.limits)
    if proxy.value is not None:
        notes.append(
            "An attacker who is told the true retained labels, and nothing of the network, "
            f"reaches {percent(proxy)}."
        )

    return Table(
        name="methods",
        title="All methods",
        ours=setting.title,
        theirs="",
        columns=columns,
        rows=tuple(filter(any_value, rows)),
        notes=tuple(notes),
    )


def chooses_and_hides(run: Run) -> bool:
    """Whether a run chose weights to edit, and then hid the label by a penalty in fine-tuning."""
    method = run.config.get("method") or {}
    penalty = method.get("decorrelation")
    if not isinstance(penalty, Mapping) or "select" not in method:
        return False
    return bool(penalty.get("linear") or penalty.get("gaussian"))


def lower_end(setting: Setting, path: str) -> float | None:
    """The lower end of the interval of a figure over all runs of a setting."""
    interval = cell(setting.runs, path).interval
    return None if interval is None else interval.low


def attack_columns(setting: Setting) -> Iterator[Column]:
    """The columns of all attacks."""
    for attack in declared_by_any(run.attacks for run in setting.runs).values():
        for declared in attack.columns:
            column = attack_column(declared)
            yield EXCESS if column.path == EXCESS.path else column


def any_value(row: Row) -> bool:
    """Whether there is something to show: untrained models have numbers only of attacks."""
    return not row.reference or any(found.value is not None for found in row.cells)


def percent(found: Cell) -> str:
    assert found.value is not None
    text = f"{100 * found.value:.1f} %"
    if found.interval is None:
        return text
    return f"{text} [{100 * found.interval.low:.1f}, {100 * found.interval.high:.1f}]"


def measured(setting: Setting, column: Column) -> bool:
    return any(cell([run], path_of(column, "unlearned")).value is not None for run in setting.runs)


def path_of(column: Column, model: str) -> str:
    return column.path.format(model=model, stage="unlearn" if model == "unlearned" else model)


def reference_row(
    setting: Setting, model: str, columns: Sequence[Column], paper: Sequence[float | None] = ()
) -> Row:
    """A model that is no method's, which every run of the setting measures alike."""
    cells = []
    for column in columns:
        found = without(NOT_ASKED)
        if applies(column, model):
            path, limits = path_of(column, model), column.unit.limits
            found = cell(setting.runs, path, limits, setting.seeds)
        cells.append(found)

    return Row(UNTRAINED.get(model, model), tuple(cells), spread(columns, paper), reference=True)


def applies(column: Column, model: str) -> bool:
    """Whether a reference can have such a number: untrained ones are attacked, and nothing else."""
    return "{" in column.path and (model not in UNTRAINED or "/attack/" in column.path)


def method_row(
    setting: Setting, group: Group, columns: Sequence[Column], paper: Sequence[float | None] = ()
) -> Row:
    """The runs of a group; it lacks the seeds that other groups have."""
    cells = tuple(number_of(setting, group, column) for column in columns)
    return Row(group.title, cells, spread(columns, paper), verdict_of_runs(group.runs))


def number_of(setting: Setting, group: Group, column: Column) -> Cell:
    path, limits = path_of(column, "unlearned"), column.unit.limits
    return cell(group.runs, path, limits, setting.seeds, group.gaps)


def spread(columns: Sequence[Column], paper: Sequence[float | None]) -> tuple[float | None, ...]:
    """The paper's numbers under the columns that they belong to."""
    values = dict(enumerate(paper))
    return tuple(values.get(-1 if column.printed is None else column.printed) for column in columns)
