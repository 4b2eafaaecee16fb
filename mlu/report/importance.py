"""The table of Section 6: importance of weights against what their removal costs each label."""

from collections.abc import Iterator, Sequence

from mlu.metrics.findings import part_of_path, split_part
from mlu.report.aggregate import Cell, cell
from mlu.report.groups import Setting
from mlu.report.published import printed
from mlu.report.tables import Column, Row, Table, Unit
from mlu.runs.read import Run

START = "original/attack/importance/label/"
"""Beginning of all paths; a label, a kind of groups and a score follow."""

CORRELATION = Unit("", digits=2, signed=True, limits=(-1, 1))

SCORE_TITLES = {
    "sensitivity": "sensitivity, Eq. 1",
    "fisher": "Fisher",
    "importance": "importance, Eq. 3",
    "fisher_ratio": "Fisher against others (wf)",
    "importance_ratio": "importance against others (wp)",
    "magnitude": "size of the weight",
    "random": "drawn at random",
}
"""Scores in their order, as they are called."""

_CLOSELY = ("fisher", "fisher_ratio", "importance_ratio")
"""Scores that have a row for each layer."""

_COLUMNS = tuple(
    Column(title, path, CORRELATION, about)
    for title, path, about in (
        ("own, rank", "filters/*/own/spearman", "Spearman: filters, with the label's own loss"),
        ("own, linear", "filters/*/own/pearson", "Pearson: filters, with the label's own loss"),
        ("others, rank", "filters/*/others/spearman", "with the mean loss of the other labels"),
        ("own less others", "filters/*/selective/spearman", "Spearman, with their difference"),
        ("own accuracy", "filters/*/answers/spearman", "with the fall of balanced accuracy"),
        ("single weights", "singles/*/own/spearman", "Spearman: weights by themselves"),
        ("most there is", "filters/*/halves/spearman", "costs by either half of the people"),
    )
)
_OF_A_LAYER = ("own/spearman", "own/pearson", "others/spearman")
"""What a layer has: the first columns."""

_NOTE = (
    "Of the original: weights of the body are set to zero, a filter or a weight at a time, and "
    "validation people show what each label loses; nothing is tuned. The importance of a filter is "
    "the mean of its weights' scores for the label. A run's own intervals draw filters. What is "
    "drawn at random must correlate with nothing; how far two halves of the people agree on a cost "
    "bounds what any score can reach."
)


def importance_table(setting: Setting) -> Table:
    """One row for each score, for each layer by some of them, and for each other label."""
    paper = printed("importance")

    return Table(
        name="importance",
        title=paper["title"],
        ours=setting.description,
        theirs=paper["about"],
        columns=_COLUMNS,
        rows=tuple(importance_rows(setting)),
        notes=(_NOTE,),
    )


def importance_rows(setting: Setting) -> Iterator[Row]:
    """The rows of all labels, the forgotten ones first and in full."""
    for label in setting.forget:
        for score, title in SCORE_TITLES.items():
            yield row_over_all(setting.runs, f"{label}: {title}", label, score)
        for score in _CLOSELY:
            for layer in layers_in(setting.runs, label):
                title = f"{label}: {SCORE_TITLES[score]}, {layer}"
                yield row_of_layer(setting.runs, title, label, score, layer)

    for label in labels_in(setting.runs):
        if label not in setting.forget:
            yield row_over_all(setting.runs, f"{label}: Fisher", label, "fisher")


def row_over_all(runs: Sequence[Run], title: str, label: str, score: str) -> Row:
    """A score's correlations over the filters of all layers together."""
    start, cells = f"{START}{part_of_path(label)}", []
    for column in _COLUMNS:
        cells.append(correlation_cell(runs, f"{start}/{column.path.replace('*', score)}"))
    return reference(title, cells)


def row_of_layer(runs: Sequence[Run], title: str, label: str, score: str, layer: str) -> Row:
    """A score's correlations over the filters of one layer."""
    start = f"{START}{part_of_path(label)}/filters/{score}/layer/{part_of_path(layer)}"
    cells = [correlation_cell(runs, f"{start}/{end}") for end in _OF_A_LAYER]
    lacking = len(_COLUMNS) - len(cells)
    return reference(title, [*cells, *[Cell(None)] * lacking])


def reference(title: str, cells: Sequence[Cell]) -> Row:
    """A row of no method: nothing was forgotten."""
    return Row(title, tuple(cells), (None,) * len(cells), reference=True)


def correlation_cell(runs: Sequence[Run], path: str) -> Cell:
    """A coefficient over seeds."""
    return cell(runs, path, CORRELATION.limits)


def labels_in(runs: Sequence[Run]) -> list[str]:
    """Labels of which there are figures, in the order of the outputs."""
    found = dict.fromkeys(split_part(path)[0] for path in paths_after(runs, START))
    return list(found)


def layers_in(runs: Sequence[Run], label: str) -> list[str]:
    """Layers of which a label has figures, from the first one on."""
    start = f"{START}{part_of_path(label)}/filters/{_CLOSELY[0]}/layer/"
    return list(dict.fromkeys(split_part(path)[0] for path in paths_after(runs, start)))


def paths_after(runs: Sequence[Run], start: str) -> Iterator[str]:
    """Ends of the paths that begin so."""
    for run in runs:
        for path in run.figures:
            if path.startswith(start):
                yield path[len(start) :]
