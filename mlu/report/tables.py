"""What each table shows: a general one for each setting, and every table of the paper that the runs can fill."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlu.report.aggregate import STRONGEST, Better, Cell, cell, has_forgotten, winner, without
from mlu.report.collect import Run
from mlu.report.groups import METHODS, REFERENCES, Group, Setting, key, varied
from mlu.report.published import beside, describe, errata, printed, same_label, values_of


@dataclass(frozen=True)
class Unit:
    """How a number is written: times `scale`, with `digits` after the point; `limits` as in `results.json`."""

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
    """Cells in the order of the table's columns, and what the paper prints for the same."""

    title: str
    cells: tuple[Cell, ...]
    printed: tuple[float | None, ...]
    forgotten: bool | None = None
    reference: bool = False


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
        found = ((best_of(self.rows, place, column), place) for place, column in enumerate(self.columns))
        return frozenset((row, place) for row, place in found if row is not None)


REQUESTED = ("requests", "forget_label.names")
"""Keys that say what is to be forgotten, and in which order."""
NOT_ASKED = "a reference has none"
RETAINED = "{model}/%s/retained/accuracy"
FEATURES = "{model}/attack/aia/features"
OUTPUT = Column(
    "forgotten output", "{model}/test/forgotten/balanced_accuracy", about="balanced accuracy; 50 knows nothing"
)
READ = "folded_balanced_accuracy"
EXCESS = Column(
    "features above Retrain", f"{FEATURES}/excess", POINTS,
    "what a logistic regression reads from the features, less what it reads on Retrain",
)  # fmt: skip
WORST = Column(
    "strongest reader above Retrain", f"{{model}}/{STRONGEST}", POINTS,
    "the largest excess over Retrain of two attackers that read the output, all outputs and the features",
    better="low", floor=0, open_to_all=True,
)  # fmt: skip
KEPT = Column("retained accuracy", RETAINED % "test", about="mean over the retained labels, test split", better="high")
TIME = Column("time", "seconds/{stage}", SECONDS, "all that forgetting took: scores, edits, fine-tuning, data", "low")
FASTER = Column("speed-up", "speedup", TIMES, "seconds of Retrain over those of the method, on one device")
WORK = Column(
    "image passes", "work/{stage}", COUNT, "images forward and backward through the network, teachers included"
)
LESS_WORK = Column("less work", "work_ratio", TIMES, "image passes of Retrain over those of the method")
GENERAL = (
    KEPT,
    OUTPUT,
    Column("read from features", f"{FEATURES}/{READ}", about="balanced accuracy of a logistic regression"),
    Column("… by a perceptron", f"{FEATURES}/mlp/{READ}", about="the same by a network with one hidden layer"),
    EXCESS,
    WORST,
    Column("member", "{model}/attack/mia/combined/auroc", about="AUROC: training images or not; 50 knows nothing"),
    Column("member, LiRA", "{model}/attack/lira/auroc", about="the same with shadow models"),
    Column("steps to relearn", "{model}/attack/relearn/512/steps", COUNT, "until the label is back, from 512 images"),
    TIME,
    FASTER,
    LESS_WORK,
)  # fmt: skip
SPLITS = tuple(
    Column(
        f"{title} {split}", RETAINED % split, about=f"retained accuracy, {split} split", better="high", printed=place
    )
    for place, (title, split) in enumerate((("D", "train"), ("Dv", "validation"), ("Dt", "test")))
)
CLASS = Column("forgotten class", "{model}/test/forgotten/recall", about="accuracy on its test images", printed=3)


def best_of(rows: Sequence[Row], place: int, column: Column) -> int | None:
    """The row that is best in a column beyond doubt, if any: see `aggregate.winner`.

    References are no rivals, and unless the column itself measures forgetting, nor are methods that are not shown
    to have forgotten: not to forget is no way to keep more, or to be quick.
    """
    if column.better is None:
        return None
    rivals = [row for row, found in enumerate(rows) if not found.reference and (column.open_to_all or found.forgotten)]
    best = winner([rows[row].cells[place] for row in rivals], column.better, column.floor)
    return None if best is None else rivals[best]


def tables_of(settings: Sequence[Setting]) -> list[Table]:
    """Those of the paper that the runs can fill, in its order."""
    several = [setting for setting in settings if not setting.single_label]
    single = [setting for setting in settings if setting.single_label]
    return [
        *(table for setting in asked("table1", several) for table in sensitivity(setting)),
        *(compared("table2", setting, SPLITS) for setting in asked("table2", several)),
        *(compared("table3", setting, SPLITS) for setting in asked("table3", single, lambda s: s.dataset == "mufac")),
        *(attacked(setting) for setting in asked("table4", several, lambda s: has(s.runs, "unlearned/attack"))),
        *(compared("figure2", setting, RUN_TIME, NOTE_TIME) for setting in asked("figure2", several)),
        *(compared("figure3", setting, ENTROPY) for setting in asked("figure3", settings)),
        *(labels_table(found) for found in families(asked("appendix_labels", several), "forget_label.names")),
        *(
            compared("appendix_single_label", setting, (*SPLITS, CLASS))
            for setting in asked("appendix_single_label", single, lambda s: s.dataset != "mufac")
        ),
        *(
            correlation_table(found)
            for found in families(asked("appendix_correlation", several), "dataset.correlation")
            if len(found) > 1
        ),
        *(requests_table(found) for found in request_families(settings)),
    ]


def asked(
    table: str, settings: Iterable[Setting], fits: Callable[[Setting], bool] = lambda setting: True
) -> list[Setting]:
    """Settings of the runs that were made for a table.

    Where there are none, those whose content fits; of these rather runs of no other experiment, which may vary what
    the table does not.
    """
    settings = list(settings)
    named = [setting for setting in settings if table in experiments(setting)]
    fitting = [setting for setting in settings if fits(setting) and setting.methods]
    free = [setting for setting in fitting if any(run.experiment is None for run in setting.runs)]
    return named or free or fitting


def experiments(found: Setting | Group) -> set[str]:
    """Names of the experiments that its runs belong to; variants of a table count as the table."""
    return {name.removesuffix("_selective") for run in found.runs if (name := run.experiment)}


def request_families(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Settings that differ in what was asked for alone, where some of them were asked for several times in turn."""
    found = families(asked("requests", settings, lambda setting: len(setting.requests) > 1), *REQUESTED)
    return [
        sorted(family, key=lambda setting: (len(setting.forget), -len(setting.requests), setting.order))
        for family in found
        if any(len(setting.requests) > 1 for setting in family)
    ]


def families(settings: Iterable[Setting], *varies: str) -> list[list[Setting]]:
    """Settings that differ in some keys alone, together."""
    found: dict[str, list[Setting]] = defaultdict(list)
    for setting in settings:
        # The drawn images, and so their fingerprint, follow from the configuration.
        found[key({name: value for name, value in setting.identity.items() if name not in (*varies, "data")})].append(
            setting
        )
    return list(found.values())


def has(runs: Iterable[Run], start: str) -> bool:
    return any(path.startswith(start) for run in runs for path in run.figures)


def general(setting: Setting) -> Table:
    """All methods of a setting beside its references."""
    columns = tuple(column for column in GENERAL if column in (KEPT, OUTPUT, TIME) or measured(setting, column))
    rows = [reference_row(setting, model, columns) for model in ("original", "retrain", "random")]
    rows += [method_row(setting, group, columns) for group in setting.methods]
    proxy = cell(setting.runs, f"proxy/attack/aia/{READ}", PERCENT.limits)
    notes = (
        ()
        if proxy.value is None
        else (
            f"An attacker who is told the true retained labels, and nothing of the network, reaches {percent(proxy)}.",
        )
    )
    return Table("methods", "All methods", setting.title, "", columns, tuple(filter(any_value, rows)), notes)


def any_value(row: Row) -> bool:
    """Whether there is something to show: random weights have numbers only where they were attacked."""
    return not row.reference or any(found.value is not None for found in row.cells)


def percent(found: Cell) -> str:
    assert found.value is not None
    ends = f" [{100 * found.interval.low:.1f}, {100 * found.interval.high:.1f}]" if found.interval else ""
    return f"{100 * found.value:.1f} %{ends}"


def measured(setting: Setting, column: Column) -> bool:
    return any(cell([run], path_of(column, "unlearned")).value is not None for run in setting.runs)


def path_of(column: Column, model: str) -> str:
    return column.path.format(model=model, stage="unlearn" if model == "unlearned" else model)


def reference_row(setting: Setting, model: str, columns: Sequence[Column], paper: Sequence[float | None] = ()) -> Row:
    """Original, Retrain or random weights, which every run of the setting measures alike."""
    own = [path_of(column, model) if applies(column, model) else None for column in columns]
    cells = tuple(
        cell(setting.runs, path, column.unit.limits, setting.seeds) if path else without(NOT_ASKED)
        for path, column in zip(own, columns, strict=True)
    )
    title = "random weights" if model == "random" else model
    return Row(title, cells, spread(columns, paper), reference=True)


def applies(column: Column, model: str) -> bool:
    """Whether a reference can have such a number: random weights are attacked, and nothing else."""
    return "{" in column.path and (model != "random" or "/attack/" in column.path)


def method_row(setting: Setting, group: Group, columns: Sequence[Column], paper: Sequence[float | None] = ()) -> Row:
    """The runs of a group; it lacks the seeds that other groups have."""
    cells = tuple(number_of(setting, group, column) for column in columns)
    forgotten = has_forgotten(number_of(setting, group, WORST))
    return Row(group.title, cells, spread(columns, paper), forgotten)


def number_of(setting: Setting, group: Group, column: Column) -> Cell:
    return cell(group.runs, path_of(column, "unlearned"), column.unit.limits, setting.seeds, group.gaps)


def spread(columns: Sequence[Column], paper: Sequence[float | None]) -> tuple[float | None, ...]:
    """The paper's numbers under the columns that they belong to."""
    return tuple(
        paper[column.printed] if column.printed is not None and column.printed < len(paper) else None
        for column in columns
    )


def compared(table: str, setting: Setting, columns: tuple[Column, ...], notes: tuple[str, ...] = ()) -> Table:
    """One setting beside the paper's nearest one: a row for each method of either."""
    setting = made_for(table, setting)
    paper, theirs = {}, describe_without_numbers(table)
    if "values" in printed(table):
        dataset, backbone = beside(table, setting.dataset, setting.backbone)
        paper, theirs = dict(values_of(table, dataset, backbone)), describe(table, dataset, backbone)
    rows = [reference_row(setting, model, columns, paper.get(model, ())) for model in REFERENCES]
    rows += [method_row(setting, group, columns, paper.get(group.method, ())) for group in setting.methods]
    lacking = [name for name in METHODS if name in paper and name not in {group.method for group in setting.groups}]
    rows += [
        Row(name, tuple(without("no run") for _ in columns), spread(columns, paper[name]))
        for name in lacking
        if name not in REFERENCES
    ]
    rows.sort(key=lambda row: order_of(row.title))
    return Table(
        table, printed(table)["title"], setting.description, theirs, columns, tuple(rows), notes, errata(table)
    )


def made_for(table: str, setting: Setting) -> Setting:
    """Of a method the groups of a table's own runs, where it has such: others vary what the table does not."""
    made = {group.method for group in setting.groups if table in experiments(group)}
    kept = [
        group for group in setting.groups if table in experiments(group) or group.method not in made or not group.runs
    ]
    named = iter(varied([group for group in kept if group.runs]))
    return replace(setting, groups=tuple(next(named) if group.runs else group for group in kept))


def describe_without_numbers(table: str) -> str:
    return str(printed(table)["about"])


def order_of(title: str) -> int:
    name = title.split()[0]
    return METHODS.index(name) if name in METHODS else len(METHODS)


RUN_TIME = (
    Column("time", "seconds/{stage}", SECONDS, TIME.about, "low", printed=0),
    Column("scores", "seconds/score", SECONDS, "of which scores"),
    Column("edit", "seconds/edit", SECONDS, "of which edits"),
    Column("fine-tuning", "seconds/finetune", SECONDS, "of which fine-tuning"),
    Column("speed-up", "speedup", TIMES, FASTER.about, printed=1),
    WORK,
    LESS_WORK,
)
NOTE_TIME = (
    "Seconds hold everything that forgetting costs: scores, masks, edits, fine-tuning, loading, and new batch-norm "
    "statistics; the device is waited for before a clock is read. A cached training keeps its own seconds. Clocks are "
    "noisy where machines are shared; image passes are not.",
)
ENTROPY = (
    Column("train", "{model}/train/entropy/mean", NATS, "mean entropy of the retained outputs"),
    Column("validation", "{model}/validation/entropy/mean", NATS, "mean entropy of the retained outputs"),
    Column("test", "{model}/test/entropy/mean", NATS, "mean entropy of the retained outputs"),
    Column("test, distance to Retrain", "{model}/test/entropy/jensen_shannon", NATS, "Jensen-Shannon, at most 0.693"),
    Column(
        "test, Kolmogorov-Smirnov", "{model}/test/entropy/ks", PERCENT, "largest difference of the two distributions"
    ),
)


def attacked(setting: Setting) -> Table:
    """Table 4: the paper's two numbers beside what our attackers find, and beside their references."""
    columns = (
        Column("AIA: features", f"{FEATURES}/{READ}", about="read by a logistic regression", printed=0, called="AIA"),
        Column("AIA: features, perceptron", f"{FEATURES}/mlp/{READ}", about="read by a perceptron"),
        Column("AIA: all outputs", f"{{model}}/attack/aia/outputs/{READ}", about="read by a logistic regression"),
        Column("AIA: the output", f"{{model}}/attack/aia/output/{READ}", about="read from the forgotten output alone"),
        EXCESS,
        WORST,
        Column(
            "MIA", "{model}/attack/mia/combined/folded_balanced_accuracy",
            about="members told from others by all statistics; images, which label unlearning keeps", printed=1,
        ),
    )  # fmt: skip
    notes = (
        "Ours are balanced accuracies on people whom the attacker has not seen. 50 % is what knowing nothing gives, "
        "but Retrain, which never saw the label, is the mark: retained labels tell of the forgotten one.",
    )
    table = compared("table4", setting, columns, notes)
    random = reference_row(setting, "random", columns)
    return replace(table, rows=tuple(filter(any_value, (*table.rows, random))))


def sensitivity(setting: Setting) -> list[Table]:
    """Table 1: Weight Filtering by epsilon and phi, a table for each reading; only where they vary."""
    grids: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in setting.groups:
        if group.method == "wf" and has_strengths(group):
            method = group.runs[0].config.get("method", {})
            grids[str(method.get("reading")), str(method.get("epsilon_mode"))].append(group)
    return [grid_table(setting, *how, groups) for how, groups in grids.items() if len(groups) > 1]


def grid_table(setting: Setting, reading: str, mode: str, groups: Sequence[Group]) -> Table:
    """One row for each pair of epsilon and phi of either side."""
    columns = (
        Column("Brown_Hair", "{model}/test/label/Brown_Hair/accuracy", about="its accuracy, test split", printed=0),
        Column("all retained labels", RETAINED % "test", about="mean accuracy, test split"),
        Column(
            "forgotten output wrong",
            "{model}/test/forgotten/error",
            about="1 - accuracy, test split",
            printed=1,
            called="forgetting",
        ),
        OUTPUT,
        *(column for column in (EXCESS, WORST) if measured(setting, column)),
    )
    rows = [*(reference_row(setting, model, columns) for model in REFERENCES), *grid_rows(setting, columns, groups)]
    selective = (
        "phi is the fraction of each layer's weights that is edited" if reading != "printed" else "phi is a threshold"
    )
    notes = (
        f"Ours: reading {reading}, epsilon {mode}; {selective}.",
        "The paper does not define its forgetting score. Beside it stands how often the forgotten output is wrong; one "
        "that knows nothing and gives the commoner answer is wrong as often as the other occurs.",
    )
    theirs = describe("table1", printed("table1")["dataset"], printed("table1")["backbone"])
    title = f"{printed('table1')['title']}: reading {reading}"
    return Table("table1", title, setting.description, theirs, columns, tuple(rows), notes, errata("table1"))


def grid_rows(setting: Setting, columns: Sequence[Column], groups: Sequence[Group]) -> Iterator[Row]:
    """Pairs of epsilon and phi that either side has, in their order."""
    paper = {(row["epsilon"], row["phi"]): row["values"] for row in printed("table1")["rows"]}
    ours: dict[tuple[float, float], list[Group]] = defaultdict(list)
    for group in groups:
        ours[strengths(group)].append(group)
    for pair in sorted({*ours, *paper}):
        title, values = f"wf epsilon={pair[0]:g} phi={pair[1]:g}", paper.get(pair, ())
        for group in ours[pair]:
            # Runs of one pair may differ in something else.
            own = title if len(ours[pair]) == 1 else group.title
            yield replace(method_row(setting, group, columns, values), title=own)
        if not ours[pair]:
            yield Row(title, tuple(without("no run") for _ in columns), spread(columns, values))


def has_strengths(group: Group) -> bool:
    """Whether its runs have an epsilon and a phi, and left them."""
    method = (group.runs[0].config.get("method") or {}) if group.runs else {}
    return all(isinstance(method.get(name), int | float) for name in ("epsilon", "phi"))


def strengths(group: Group) -> tuple[float, float]:
    """Epsilon and phi of a group."""
    method = group.runs[0].config["method"]
    return float(method["epsilon"]), float(method["phi"])


def labels_table(settings: Sequence[Setting]) -> Table:
    """Each label's accuracy, by the label that was forgotten; rows of the paper's two methods and of the references."""
    settings = [made_for("appendix_labels", setting) for setting in settings]
    names = list(dict.fromkeys(label for setting in settings for run in setting.runs for label in labels_of(run)))
    paper = printed("appendix_labels")
    places = {label: place for place, label in enumerate(paper["columns"])}
    columns = tuple(
        Column(
            label,
            f"{{model}}/test/label/{escaped(label)}/accuracy",
            about="accuracy, test split",
            printed=places.get(label),
        )
        for label in names
    )
    rows = [row for setting in settings for row in label_rows(setting, columns)]
    notes = (
        "Each row names the label that was forgotten, and the method. A forgotten output that knows nothing is as "
        "accurate as its more frequent answer; the balanced accuracies stand under All methods and in the heat map.",
    )
    theirs = describe("appendix_labels", paper["dataset"], paper["backbone"], "the label that the row names")
    about = f"{settings[0].dataset}, {settings[0].backbone}, forget the label that the row names; {settings[0].budget}"
    return Table(
        "appendix_labels", paper["title"], about, theirs, columns, tuple(rows), notes, errata("appendix_labels")
    )


def label_rows(setting: Setting, columns: Sequence[Column]) -> Iterator[Row]:
    """The references and the paper's two methods, with the forgotten label before their name."""
    forget = "+".join(setting.forget)
    paper = printed("appendix_labels")["values"].get(same_label(forget), {})
    found = [reference_row(setting, model, columns) for model in REFERENCES]
    found += [
        method_row(setting, group, columns, paper.get(group.method, ()))
        for group in setting.methods
        if group.method in ("wf", "wp")
    ]
    for row in found:
        yield replace(row, title=f"{forget}: {row.title}")


def escaped(label: str) -> str:
    """A label inside a path that is formatted later."""
    return label.replace("{", "{{").replace("}", "}}")


def labels_of(run: Run) -> list[str]:
    """Names of all labels of a run, in the order of its outputs."""
    start, end = "unlearned/test/label/", "/accuracy"
    return [path[len(start) : -len(end)] for path in run.figures if path.startswith(start) and path.endswith(end)]


def correlation_table(settings: Sequence[Setting]) -> Table:
    """What is left of the label, by how entangled the labels of the drawn faces are."""
    settings = [made_for("appendix_correlation", setting) for setting in settings]
    proxy = Column(
        "true retained labels", f"proxy/attack/aia/{READ}", about="what they alone tell of the forgotten one"
    )
    columns = (KEPT, OUTPUT, EXCESS, WORST, proxy)
    rows = []
    for setting in sorted(settings, key=correlation_of):
        for row in [
            *(reference_row(setting, model, columns[:-1]) for model in REFERENCES),
            *(method_row(setting, group, columns[:-1]) for group in setting.methods),
        ]:
            known = cell(setting.runs, proxy.path, PERCENT.limits, setting.seeds)
            title = f"correlation {correlation_of(setting):g}: {row.title}"
            rows.append(Row(title, (*row.cells, known), (None,) * len(columns), row.forgotten, reference=True))
    about = (
        f"{settings[0].dataset}, {settings[0].backbone}, forget {', '.join(settings[0].forget)}; {settings[0].budget}"
    )
    notes = ("Rows of different correlations are different data, so none is marked as best.",)
    title = printed("appendix_correlation")["title"]
    theirs = describe_without_numbers("appendix_correlation")
    return Table("appendix_correlation", title, about, theirs, columns, tuple(rows), notes)


def correlation_of(setting: Setting) -> float:
    value: Any = setting.identity.get("dataset.correlation", "nan")
    return float(value)


def requests_table(settings: Sequence[Setting]) -> Table:
    """What is kept and what is left, request after request, and when all come at once."""
    settings = [made_for("requests", setting) for setting in settings]
    columns = (KEPT, OUTPUT, EXCESS, WORST, TIME, FASTER)
    rows = []
    for setting in settings:
        for row in [
            *(reference_row(setting, model, columns) for model in REFERENCES),
            *(method_row(setting, group, columns) for group in setting.methods),
        ]:
            rows.append(replace(row, title=f"{setting.order}: {row.title}", reference=True))
    notes = (
        "A later request starts from what the earlier one has left; all labels forgotten so far are attacked, and the "
        "one that is read best counts. Time is of all requests together. Rows of different requests forget different "
        "labels, so none is marked as best.",
    )
    about = f"{settings[0].dataset}, {settings[0].backbone}; {settings[0].budget}"
    title = printed("requests")["title"]
    return Table("requests", title, about, describe_without_numbers("requests"), columns, tuple(rows), notes)
