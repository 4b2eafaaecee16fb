"""The table of Section 3: the weights that methods choose, and for whom else they would."""

from collections.abc import Iterator, Sequence

from mlu.metrics.findings import split_part
from mlu.report.aggregate import cell, without
from mlu.report.groups import Group, Setting
from mlu.report.published import printed
from mlu.report.tables import COUNT, NOT_ASKED, PERCENT, Column, Row, Table
from mlu.runs.read import Run

START = "unlearned/forget_set"

_COLUMNS = (
    Column("weights", "weights", COUNT, "that compete in the layer"),
    Column("chosen", "chosen", PERCENT, "share of them that is in W_f"),
    Column("shared", "overlap", PERCENT, "share of W_f that is chosen for the row's labels too"),
    Column("by chance", "by_chance", PERCENT, "the same of as many weights drawn at random"),
)

_NOTE = (
    "W_f is what the method treats in its first round, on the original; W_r is all else. Beside it "
    "stands what the same rule chooses when it is asked to forget other labels instead, with "
    "images of its own: all retained labels at once (layer by layer too), and each of them. In "
    "brackets under chance: where 95 % of random choices of that size lie."
)


def forget_set_table(setting: Setting) -> Table:
    """For each method a row over all, one for each layer and one for each retained label."""
    paper = printed("forget_set")

    return Table(
        name="forget_set",
        title=paper["title"],
        ours=setting.description,
        theirs=paper["about"],
        columns=_COLUMNS,
        rows=tuple(row for group in choosing(setting) for row in choice_rows(group)),
        notes=(_NOTE,),
    )


def choosing(setting: Setting) -> list[Group]:
    """Groups that have chosen weights and kept them."""
    return [group for group in setting.methods if chosen_layers(group.runs)]


def choice_rows(group: Group) -> Iterator[Row]:
    """The rows of one method."""
    yield choice_row(group, f"{group.title}: all, and the retained labels together", "", "retained")
    for layer in chosen_layers(group.runs):
        yield choice_row(group, f"{group.title}: {layer}", f"layer/{layer}", f"layer/{layer}")
    for part, label in other_labels_in(group.runs):
        yield choice_row(group, f"{group.title}: {label}", None, f"label/{part}")


def choice_row(group: Group, title: str, size: str | None, shared: str) -> Row:
    """One row; a label has no size of its own.

    Args:
        group: Whose runs.
        title: Of the row.
        size: Part of the paths of sizes; empty for all layers, None for none.
        shared: That of overlaps.
    """
    cells = []
    for number, column in enumerate(_COLUMNS):
        part = size if number < 2 else shared
        if part is None or (not part and column.path == "weights"):
            cells.append(without(NOT_ASKED))
            continue

        path = "/".join(filter(None, (START, part, column.path)))
        cells.append(cell(group.runs, path, column.unit.limits))

    return Row(title, tuple(cells), (None,) * len(cells), reference=True)


def chosen_layers(runs: Sequence[Run]) -> list[str]:
    """Layers in which weights were chosen from, in their order."""
    found: dict[str, None] = {}
    for run in runs:
        for path in run.figures:
            if path.startswith(f"{START}/layer/") and path.endswith("/chosen"):
                found[path[len(f"{START}/layer/") : -len("/chosen")]] = None
    return list(found)


def other_labels_in(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Labels that the same rule was asked to forget, each as a part of its path and by its name."""
    found, start, end = {}, f"{START}/label/", "/overlap"
    for run in runs:
        for path in run.figures:
            if path.startswith(start) and path.endswith(end):
                found[path[len(start) : -len(end)]] = split_part(path[len(start) :])[0]
    return list(found.items())
