"""Tables that stand beside the paper's: its Tables 1 to 4, its appendix, and their like."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mlu.report.aggregate import cell, without
from mlu.report.forget_set import START as FORGET_SETS
from mlu.report.forget_set import forget_set_table
from mlu.report.groups import (
    METHODS,
    REFERENCES,
    Group,
    Setting,
    asked,
    correlation_of,
    experiments,
    families,
    has_strengths,
    request_families,
    run_labels,
    strengths,
    varied,
)
from mlu.report.importance import START as MEASURED_IMPORTANCE
from mlu.report.importance import importance_table
from mlu.report.published import beside, describe, errata, printed, published_values, same_label
from mlu.report.tables import (
    EXCESS,
    FASTER,
    FEATURES,
    KEPT,
    LESS_WORK,
    LINEAR,
    NATS,
    OUTPUT,
    PERCENT,
    READ,
    RETAINED,
    SECONDS,
    TIME,
    TIMES,
    UNTRAINED,
    WORK,
    Column,
    Row,
    Table,
    any_value,
    escaped,
    has,
    measured,
    method_row,
    reference_row,
    spread,
)
from mlu.runs.results import RETAINED_LABELS

_SPLITS = tuple(
    Column(
        f"{title} {split}",
        RETAINED % split,
        about=f"retained accuracy, {split} split",
        better="high",
        printed=place,
    )
    for place, (title, split) in enumerate((("D", "train"), ("Dv", "validation"), ("Dt", "test")))
)
_BEFORE_REASSIGNMENT = tuple(
    replace(column, title=f"{column.title}, retained", printed=None) for column in _SPLITS
)
_REASSIGNED = tuple(
    Column(
        title,
        f"{{model}}/{split}/reassigned/accuracy",
        about=f"all images, the forgotten class's as their neighbour's, {split} split",
        better="high",
        printed=place,
    )
    for place, (title, split) in enumerate((("D", "train"), ("Dv", "validation"), ("Dt", "test")))
)
_NOTE_REASSIGNED = (
    "The paper reassigns images of the forgotten class to neighbouring ones by the decision "
    "boundary and prints one accuracy. D, Dv and Dt are that: of all images, where an image of the "
    "forgotten class is right if it goes to the class whose boundary is nearest in the original. "
    "Before it, only images of retained classes count. Nothing is trained to hit the neighbour."
)
_CLASS = Column(
    "forgotten class",
    "{model}/test/forgotten/recall",
    about="accuracy on its test images",
    printed=3,
)

_RUN_TIME = (
    Column("time", "seconds/{stage}", SECONDS, TIME.about, "low", printed=0),
    Column("scores", "seconds/score", SECONDS, "of which scores"),
    Column("edit", "seconds/edit", SECONDS, "of which edits"),
    Column("fine-tuning", "seconds/finetune", SECONDS, "of which fine-tuning"),
    Column("speed-up", "speedup", TIMES, FASTER.about, printed=1),
    WORK,
    LESS_WORK,
)
_NOTE_TIME = (
    "Seconds hold everything that forgetting costs: scores, masks, edits, fine-tuning, loading, "
    "and new batch-norm statistics; the device is waited for before a clock is read. A cached "
    "training keeps its own seconds. Clocks are noisy where machines are shared; image passes are "
    "not."
)

_MEAN_ENTROPY = "mean entropy of the retained outputs"
_ENTROPY = (
    *(
        Column(split, f"{{model}}/{split}/entropy/mean", NATS, _MEAN_ENTROPY)
        for split in ("train", "validation", "test")
    ),
    Column(
        "test, distance to Retrain",
        "{model}/test/entropy/jensen_shannon",
        NATS,
        "Jensen-Shannon, at most 0.693",
    ),
    Column(
        "test, Kolmogorov-Smirnov",
        "{model}/test/entropy/ks",
        PERCENT,
        "largest difference of the two distributions",
    ),
)

_ATTACKED = (
    Column(
        "AIA: features",
        f"{FEATURES}/{READ}",
        about="read by a logistic regression",
        printed=0,
        called="AIA",
    ),
    Column("AIA: features, perceptron", f"{FEATURES}/mlp/{READ}", about="read by a perceptron"),
    Column(
        "AIA: all outputs",
        f"{{model}}/attack/aia/outputs/{READ}",
        about="read by a logistic regression",
    ),
    Column(
        "AIA: the output",
        f"{{model}}/attack/aia/output/{READ}",
        about="read from the forgotten output alone",
    ),
    EXCESS,
    LINEAR,
    Column(
        "MIA",
        "{model}/attack/mia/combined/folded_balanced_accuracy",
        about="members told from others by all statistics; images, which label unlearning keeps",
        printed=1,
    ),
)
_NOTE_ATTACKED = (
    "Ours are balanced accuracies on people whom the attacker has not seen. 50 % is what knowing "
    "nothing gives, but Retrain, which never saw the label, is the mark: retained labels tell of "
    "the forgotten one."
)

_RESIDUAL = (
    Column(
        "features, 1 - H",
        f"{FEATURES}/information_bound",
        about="bits that a logistic regression reads, of at most one",
        printed=0,
        called="residual, at least",
    ),
    Column(
        "all outputs, 1 - H",
        "{model}/attack/aia/outputs/information_bound",
        about="likewise from all outputs",
        printed=1,
        called="residual, at most",
    ),
    Column(
        "confidence, KL",
        "{model}/test/forgotten/confidence_kl",
        NATS,
        "of the forgotten output's probability among images with the label from those without",
    ),
    Column(
        "by chance",
        "{model}/test/forgotten/confidence_kl_by_chance",
        NATS,
        "the same with shuffled targets",
    ),
    Column(
        "retained sureness, KL",
        "{model}/test/forgotten/sureness_kl",
        NATS,
        "of how sure the retained outputs are, likewise",
    ),
    Column("sureness by chance", "{model}/test/forgotten/sureness_kl_by_chance", NATS, "shuffled"),
)
CONFIDENCES = "unlearned/test/forgotten/confidence_kl"
"""Without it a run was made before confidences were compared."""
_NOTE_RESIDUAL = (
    "1 - H(p) of the attacker's balanced accuracy p is what is known at least of an even label, "
    "here as a share of one bit (paper, Appendix, Corollary 1). The paper's shares are given once, "
    "for its methods and for existing ones, so each row of a kind has the same."
)

_SENSITIVITY = (
    Column(
        "Brown_Hair",
        "{model}/test/label/Brown_Hair/accuracy",
        about="its accuracy, test split",
        printed=0,
    ),
    Column("all retained labels", RETAINED % "test", about="mean accuracy, test split"),
    Column(
        "forgotten output wrong",
        "{model}/test/forgotten/error",
        about="1 - accuracy, test split",
        printed=1,
        called="forgetting",
    ),
    OUTPUT,
)
_NOTE_SENSITIVITY = (
    "The paper does not define its forgetting score. Beside it stands how often the forgotten "
    "output is wrong; one that knows nothing and gives the commoner answer is wrong as often as "
    "the other occurs."
)

REMOVAL = "removal"
"""The method that trains without some images."""
_OF_REMOVAL = (
    Column(
        "all retained, balanced",
        "{model}/test/retained/balanced_accuracy",
        about="mean over the retained labels, test split",
    ),
    OUTPUT,
)
_NOTE_REMOVAL = (
    "All labels are trained anew on the images that are left, the forgotten one too: of data it "
    "is less, of labels nothing is forgotten. Influential are images of largest absolute influence "
    "on the forgotten label (Eq. 2)."
)

_NOTE_LABELS = (
    "Each row names the label that was forgotten, and the method. A forgotten output that knows "
    "nothing is as accurate as its more frequent answer; the balanced accuracies stand under All "
    "methods and in the heat map."
)

_NOTE_CORRELATION = "Rows of different correlations are different data, so none is marked as best."
_TRUE_LABELS = Column(
    "true retained labels",
    RETAINED_LABELS,
    about="what they alone tell of the forgotten one",
)

_NOTE_REQUESTS = (
    "A later request starts from what the earlier one has left; all labels forgotten so far are "
    "attacked, and the one that is read best counts. Time is of all requests together. Rows of "
    "different requests forget different labels, so none is marked as best."
)


def tables_of(settings: Sequence[Setting]) -> list[Table]:
    """The tables of the paper that the runs can fill, in its order."""
    several = [setting for setting in settings if not setting.single_label]
    single = [setting for setting in settings if setting.single_label]

    return [
        *tables_of_the_text(several, single),
        *tables_of_the_figures(settings, several),
        *tables_of_the_appendix(several, single),
        *(requests_table(found) for found in request_families(settings)),
    ]


def tables_of_the_text(several: Sequence[Setting], single: Sequence[Setting]) -> Iterator[Table]:
    """The paper's Tables 1 to 4; `single` are settings with one label an image."""
    for setting in asked("table1", several):
        yield from sensitivity_tables(setting)

    for setting in (*several, *single):
        if has(setting.runs, MEASURED_IMPORTANCE):
            yield importance_table(setting)
        if has(setting.runs, FORGET_SETS):
            yield forget_set_table(setting)
        if any(group.method == REMOVAL and group.runs for group in setting.groups):
            yield removal_table(setting)

    for setting in asked("table2", several):
        yield compared("table2", setting, _SPLITS)

    for setting in asked("table3", single, lambda found: found.dataset == "mufac"):
        columns = (*_BEFORE_REASSIGNMENT, *_REASSIGNED)
        yield compared("table3", setting, columns, (_NOTE_REASSIGNED,))

    for setting in asked("table4", several, lambda found: has(found.runs, "unlearned/attack")):
        yield attacked(setting)

    for setting in asked("residual", several, lambda found: has(found.runs, CONFIDENCES)):
        yield compared("residual", setting, _RESIDUAL, (_NOTE_RESIDUAL,))


def removal_table(setting: Setting) -> Table:
    """Section 5: the original, and models that were trained without some of its images."""
    groups = tuple(group for group in setting.groups if group.method == REMOVAL)
    columns = (KEPT, *_OF_REMOVAL)

    return Table(
        name="influential",
        title=printed("influential")["title"],
        ours=setting.description,
        theirs=describe_without_numbers("influential"),
        columns=columns,
        rows=(
            reference_row(setting, "original", columns),
            *(replace(method_row(setting, group, columns), reference=True) for group in groups),
        ),
        notes=(_NOTE_REMOVAL,),
    )


def tables_of_the_figures(
    settings: Sequence[Setting], several: Sequence[Setting]
) -> Iterator[Table]:
    """The numbers in the paper's Figures 2 and 3."""
    for setting in asked("figure2", several):
        yield compared("figure2", setting, _RUN_TIME, (_NOTE_TIME,))
    for setting in asked("figure3", settings):
        yield compared("figure3", setting, _ENTROPY)


def tables_of_the_appendix(
    several: Sequence[Setting], single: Sequence[Setting]
) -> Iterator[Table]:
    """The tables of the paper's appendix, and that by correlation."""
    for family in families(asked("appendix_labels", several), "forget_label.names"):
        yield labels_table(family)

    small = asked("appendix_single_label", single, lambda found: found.dataset != "mufac")
    for setting in small:
        yield compared("appendix_single_label", setting, (*_SPLITS, _CLASS))

    for family in families(asked("appendix_correlation", several), "dataset.correlation"):
        if len(family) > 1:
            yield correlation_table(family)


def compared(
    table: str, setting: Setting, columns: tuple[Column, ...], notes: tuple[str, ...] = ()
) -> Table:
    """One setting beside the paper's nearest one: a row for each method of either."""
    setting = made_for(table, setting)
    paper: dict[str, Sequence[float | None]] = {}
    theirs = describe_without_numbers(table)
    if "values" in printed(table):
        place = beside(table, setting.dataset, setting.backbone)
        paper, theirs = dict(published_values(table, *place)), describe(table, *place)

    rows = [reference_row(setting, model, columns, paper.get(model, ())) for model in REFERENCES]
    for group in setting.methods:
        rows.append(method_row(setting, group, columns, paper.get(group.method, ())))

    ours = {*REFERENCES, *(group.method for group in setting.groups)}
    for name in METHODS:
        if name in paper and name not in ours:
            rows.append(row_without_runs(name, columns, paper[name]))

    rows.sort(key=lambda row: order_of(row.title))

    return Table(
        name=table,
        title=printed(table)["title"],
        ours=setting.description,
        theirs=theirs,
        columns=columns,
        rows=tuple(rows),
        notes=notes,
        errata=errata(table),
    )


def row_without_runs(title: str, columns: Sequence[Column], paper: Sequence[float | None]) -> Row:
    """A row that only the paper has."""
    return Row(title, tuple(without("no run") for _ in columns), spread(columns, paper))


def made_for(table: str, setting: Setting) -> Setting:
    """The setting with those groups of a method alone that a table's own runs are of.

    A method that has none keeps all: others vary what the table does not.
    """
    made = {group.method for group in setting.groups if table in experiments(group)}
    kept = [
        group
        for group in setting.groups
        if table in experiments(group) or group.method not in made or not group.runs
    ]

    named = iter(varied([group for group in kept if group.runs]))

    return replace(setting, groups=tuple(next(named) if group.runs else group for group in kept))


def describe_without_numbers(table: str) -> str:
    return str(printed(table)["about"])


def order_of(title: str) -> int:
    name = title.split()[0]
    return METHODS.index(name) if name in METHODS else len(METHODS)


def attacked(setting: Setting) -> Table:
    """Table 4: the paper's two numbers beside what our attackers find, and their references."""
    table = compared("table4", setting, _ATTACKED, (_NOTE_ATTACKED,))
    untrained = [reference_row(setting, model, _ATTACKED) for model in UNTRAINED]
    return replace(table, rows=tuple(filter(any_value, (*table.rows, *untrained))))


def sensitivity_tables(setting: Setting) -> list[Table]:
    """Table 1: Weight Filtering by epsilon and phi, where they vary, a table for each reading."""
    grids: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in setting.groups:
        if group.method == "wf" and has_strengths(group):
            method = group.runs[0].config.get("method", {})
            grids[str(method.get("reading")), str(method.get("epsilon_mode"))].append(group)
    return [grid_table(setting, *how, groups) for how, groups in grids.items() if len(groups) > 1]


def grid_table(setting: Setting, reading: str, mode: str, groups: Sequence[Group]) -> Table:
    """One row for each pair of epsilon and phi of either side."""
    attacks = [column for column in (EXCESS, LINEAR) if measured(setting, column)]
    columns = (*_SENSITIVITY, *attacks)
    rows = [
        *(reference_row(setting, model, columns) for model in REFERENCES),
        *grid_rows(setting, columns, groups),
    ]

    meaning = "phi is the fraction of each layer's weights that is edited"
    if reading == "printed":
        meaning = "phi is a threshold"

    paper = printed("table1")

    return Table(
        name="table1",
        title=f"{paper['title']}: reading {reading}",
        ours=setting.description,
        theirs=describe("table1", paper["dataset"], paper["backbone"]),
        columns=columns,
        rows=tuple(rows),
        notes=(f"Ours: reading {reading}, epsilon {mode}; {meaning}.", _NOTE_SENSITIVITY),
        errata=errata("table1"),
    )


def grid_rows(
    setting: Setting, columns: Sequence[Column], groups: Sequence[Group]
) -> Iterator[Row]:
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
            yield row_without_runs(title, columns, values)


def labels_table(family: Sequence[Setting]) -> Table:
    """Accuracy of each label by the label that was forgotten: the references and two methods."""
    settings = [made_for("appendix_labels", setting) for setting in family]
    first, paper = settings[0], printed("appendix_labels")
    forget = "the label that the row names"

    columns = tuple(label_columns(settings, paper["columns"]))
    rows = [row for setting in settings for row in label_rows(setting, columns)]

    return Table(
        name="appendix_labels",
        title=paper["title"],
        ours=f"{first.dataset}, {first.backbone}, forget {forget}; {first.budget}",
        theirs=describe("appendix_labels", paper["dataset"], paper["backbone"], forget),
        columns=columns,
        rows=tuple(rows),
        notes=(_NOTE_LABELS,),
        errata=errata("appendix_labels"),
    )


def label_columns(settings: Iterable[Setting], printed_labels: Sequence[str]) -> Iterator[Column]:
    """A column for each label of any run, with its place in the paper's table."""
    runs = [run for setting in settings for run in setting.runs]
    places = {label: place for place, label in enumerate(printed_labels)}
    for label in dict.fromkeys(label for run in runs for label in run_labels(run)):
        path = f"{{model}}/test/label/{escaped(label)}/accuracy"
        yield Column(label, path, about="accuracy, test split", printed=places.get(label))


def label_rows(setting: Setting, columns: Sequence[Column]) -> Iterator[Row]:
    """The references and the paper's two methods, with the forgotten label before their name."""
    forget = "+".join(setting.forget)
    paper = printed("appendix_labels")["values"].get(same_label(forget), {})

    found = [reference_row(setting, model, columns) for model in REFERENCES]
    for group in setting.methods:
        if group.method in ("wf", "wp"):
            found.append(method_row(setting, group, columns, paper.get(group.method, ())))

    for row in found:
        yield replace(row, title=f"{forget}: {row.title}")


def rows_without_paper(setting: Setting, columns: Sequence[Column]) -> Iterator[Row]:
    """The references and all methods of a setting."""
    for model in REFERENCES:
        yield reference_row(setting, model, columns)
    for group in setting.methods:
        yield method_row(setting, group, columns)


def correlation_table(family: Sequence[Setting]) -> Table:
    """Residue by how entangled the labels of the drawn faces are."""
    settings = [made_for("appendix_correlation", setting) for setting in family]
    first, columns = settings[0], (KEPT, OUTPUT, EXCESS, LINEAR)

    rows = []
    for setting in sorted(settings, key=correlation_of):
        known = cell(setting.runs, _TRUE_LABELS.path, PERCENT.limits, setting.seeds)
        for row in rows_without_paper(setting, columns):
            title = f"correlation {correlation_of(setting):g}: {row.title}"
            cells = (*row.cells, known)
            rows.append(Row(title, cells, (None,) * len(cells), row.verdict, reference=True))

    forget = ", ".join(first.forget)

    return Table(
        name="appendix_correlation",
        title=printed("appendix_correlation")["title"],
        ours=f"{first.dataset}, {first.backbone}, forget {forget}; {first.budget}",
        theirs=describe_without_numbers("appendix_correlation"),
        columns=(*columns, _TRUE_LABELS),
        rows=tuple(rows),
        notes=(_NOTE_CORRELATION,),
    )


def requests_table(family: Sequence[Setting]) -> Table:
    """Utility and residue request after request, and when all come at once."""
    settings = [made_for("requests", setting) for setting in family]
    first, columns = settings[0], (KEPT, OUTPUT, EXCESS, LINEAR, TIME, FASTER)

    rows = []
    for setting in settings:
        for row in rows_without_paper(setting, columns):
            rows.append(replace(row, title=f"{setting.order}: {row.title}", reference=True))

    return Table(
        name="requests",
        title=printed("requests")["title"],
        ours=f"{first.dataset}, {first.backbone}; {first.budget}",
        theirs=describe_without_numbers("requests"),
        columns=columns,
        rows=tuple(rows),
        notes=(_NOTE_REQUESTS,),
    )
