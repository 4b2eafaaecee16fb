"""Tables that stand beside the paper's: its Tables 1 to 4, its appendix, and their like."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mlu.report.aggregate import cell, without
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
from mlu.report.published import beside, describe, errata, printed, published_values, same_label
from mlu.report.tables import (
    EXCESS,
    FASTER,
    FEATURES,
    KEPT,
    LESS_WORK,
    NATS,
    OUTPUT,
    PERCENT,
    READ,
    RETAINED,
    SECONDS,
    TIME,
    TIMES,
    WORK,
    WORST,
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

SPLITS = tuple(
    Column(
        f"{title} {split}",
        RETAINED % split,
        about=f"retained accuracy, {split} split",
        better="high",
        printed=place,
    )
    for place, (title, split) in enumerate((("D", "train"), ("Dv", "validation"), ("Dt", "test")))
)
CLASS = Column(
    "forgotten class",
    "{model}/test/forgotten/recall",
    about="accuracy on its test images",
    printed=3,
)


def tables_of(settings: Sequence[Setting]) -> list[Table]:
    """Those of the paper that the runs can fill, in its order."""
    several = [setting for setting in settings if not setting.single_label]
    single = [setting for setting in settings if setting.single_label]
    return [
        *(table for setting in asked("table1", several) for table in sensitivity_tables(setting)),
        *(compared("table2", setting, SPLITS) for setting in asked("table2", several)),
        *(
            compared("table3", setting, SPLITS)
            for setting in asked("table3", single, lambda s: s.dataset == "mufac")
        ),
        *(
            attacked(setting)
            for setting in asked("table4", several, lambda s: has(s.runs, "unlearned/attack"))
        ),
        *(
            compared("figure2", setting, RUN_TIME, NOTE_TIME)
            for setting in asked("figure2", several)
        ),
        *(compared("figure3", setting, ENTROPY) for setting in asked("figure3", settings)),
        *(
            labels_table(found)
            for found in families(asked("appendix_labels", several), "forget_label.names")
        ),
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


def compared(
    table: str, setting: Setting, columns: tuple[Column, ...], notes: tuple[str, ...] = ()
) -> Table:
    """One setting beside the paper's nearest one: a row for each method of either."""
    setting = made_for(table, setting)
    paper, theirs = {}, describe_without_numbers(table)
    if "values" in printed(table):
        dataset, backbone = beside(table, setting.dataset, setting.backbone)
        paper, theirs = (
            dict(published_values(table, dataset, backbone)),
            describe(table, dataset, backbone),
        )

    rows = [reference_row(setting, model, columns, paper.get(model, ())) for model in REFERENCES]
    rows += [
        method_row(setting, group, columns, paper.get(group.method, ()))
        for group in setting.methods
    ]
    lacking = [
        name
        for name in METHODS
        if name in paper and name not in {group.method for group in setting.groups}
    ]
    rows += [
        Row(name, tuple(without("no run") for _ in columns), spread(columns, paper[name]))
        for name in lacking
        if name not in REFERENCES
    ]
    rows.sort(key=lambda row: order_of(row.title))

    return Table(
        table,
        printed(table)["title"],
        setting.description,
        theirs,
        columns,
        tuple(rows),
        notes,
        errata(table),
    )


def made_for(table: str, setting: Setting) -> Setting:
    """Of a method the groups of a table's own runs, where it has such: others vary what the table
    does not."""
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
    Column(
        "validation",
        "{model}/validation/entropy/mean",
        NATS,
        "mean entropy of the retained outputs",
    ),
    Column("test", "{model}/test/entropy/mean", NATS, "mean entropy of the retained outputs"),
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


def sensitivity_tables(setting: Setting) -> list[Table]:
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
        *(column for column in (EXCESS, WORST) if measured(setting, column)),
    )
    rows = [
        *(reference_row(setting, model, columns) for model in REFERENCES),
        *grid_rows(setting, columns, groups),
    ]
    selective = (
        "phi is the fraction of each layer's weights that is edited"
        if reading != "printed"
        else "phi is a threshold"
    )
    notes = (
        f"Ours: reading {reading}, epsilon {mode}; {selective}.",
        "The paper does not define its forgetting score. Beside it stands how often the forgotten output is wrong; one "
        "that knows nothing and gives the commoner answer is wrong as often as the other occurs.",
    )
    theirs = describe("table1", printed("table1")["dataset"], printed("table1")["backbone"])
    title = f"{printed('table1')['title']}: reading {reading}"

    return Table(
        "table1", title, setting.description, theirs, columns, tuple(rows), notes, errata("table1")
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
            yield Row(title, tuple(without("no run") for _ in columns), spread(columns, values))


def labels_table(settings: Sequence[Setting]) -> Table:
    """Each label's accuracy, by the label that was forgotten; rows of the paper's two methods and
    of the references."""
    settings = [made_for("appendix_labels", setting) for setting in settings]
    names = list(
        dict.fromkeys(
            label for setting in settings for run in setting.runs for label in run_labels(run)
        )
    )
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
    theirs = describe(
        "appendix_labels", paper["dataset"], paper["backbone"], "the label that the row names"
    )
    about = f"{settings[0].dataset}, {settings[0].backbone}, forget the label that the row names; {settings[0].budget}"

    return Table(
        "appendix_labels",
        paper["title"],
        about,
        theirs,
        columns,
        tuple(rows),
        notes,
        errata("appendix_labels"),
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


def correlation_table(settings: Sequence[Setting]) -> Table:
    """What is left of the label, by how entangled the labels of the drawn faces are."""
    settings = [made_for("appendix_correlation", setting) for setting in settings]
    proxy = Column(
        "true retained labels",
        RETAINED_LABELS,
        about="what they alone tell of the forgotten one",
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
            rows.append(
                Row(
                    title,
                    (*row.cells, known),
                    (None,) * len(columns),
                    row.forgotten,
                    reference=True,
                )
            )

    about = f"{settings[0].dataset}, {settings[0].backbone}, forget {', '.join(settings[0].forget)}; {settings[0].budget}"
    notes = ("Rows of different correlations are different data, so none is marked as best.",)
    title = printed("appendix_correlation")["title"]
    theirs = describe_without_numbers("appendix_correlation")

    return Table("appendix_correlation", title, about, theirs, columns, tuple(rows), notes)


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

    return Table(
        "requests", title, about, describe_without_numbers("requests"), columns, tuple(rows), notes
    )
