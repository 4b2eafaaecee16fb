"""The table of an audit in a terminal."""

from collections.abc import Iterator

from rich.table import Table

from mlu.auditing.amounts import AMOUNT, PLACES
from mlu.auditing.population import Population
from mlu.metrics.amounts import AMOUNT_METRICS
from mlu.metrics.findings import part_of_path
from mlu.runs.read import Run
from mlu.runs.room import READ_PLACES
from mlu.runs.tables import measured_text, text_of
from mlu.runs.verdicts import BASELINE

_MODELS = {
    "original": "before",
    "unlearned": "after",
    "retrain": "Retrain",
    "random": "untrained",
    "start": "pretrained",
}
"""Name of a model in figures -> what its column is called."""

_READ = {"r2": "R²", "rank_correlation": "rank correlation"}


def audit_table(run: Run, population: Population) -> Table:
    """A row for each figure, a column for each model; 95 % intervals of one figure in brackets."""
    facts = run.results.run
    models = {
        name: title
        for name, title in _MODELS.items()
        if any(
            path.startswith(f"{name}/") and value is not None for path, value in run.figures.items()
        )
    }
    mark = "Retrain" if "retrain" in models else "the mark"
    title = f"{facts.dataset}, {facts.backbone}: audit of {', '.join(facts.forget_label)}"
    table = Table(title=text_of(title), title_justify="left", title_style="bold")
    table.add_column("balanced accuracy of test people")
    for column in (*models.values(), "retained labels", f"after, above {mark}"):
        table.add_column(column, justify="right")

    for name, paths in rows_of_audit(population, retrain="retrain" in models):
        cells = [
            measured_text(
                run.figures, f"{model}/{paths[0]}", ends=model in ("unlearned", "retrain")
            )
            for model in models
        ]
        told, beyond = (measured_text(run.figures, path) if path else "" for path in paths[1:])
        table.add_row(text_of(name), *cells, told, beyond)

    return table


def rows_of_audit(
    population: Population, retrain: bool
) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Title of each row; paths of a model's figure, of what retained labels tell, of the excess."""
    for label in population.audited:
        start = f"attack/aia/label/{part_of_path(label)}"
        above = f"unlearned/{start}" if retrain else f"unlearned/{start}/{BASELINE}"
        told = f"proxy/{start}/folded_balanced_accuracy"
        for place, called in READ_PLACES.items():
            path = f"{start}/strongest/{place}"
            excess = f"{above}/strongest/{place}/excess"
            yield f"{label}, {called}", (f"{path}/balanced_accuracy", told, excess)

        # Of the model after alone: the largest of all readers has no counterpart elsewhere.
        same = (f"{start}/any_reader/balanced_accuracy", "", f"{above}/same_reader/excess")
        yield f"{label}, any one reader", same

    for name in population.amounts:
        part = part_of_path(name)
        for place in PLACES:
            for metric in AMOUNT_METRICS:
                told = f"proxy/{AMOUNT}/{part}/{metric}"
                path = f"{AMOUNT}/{part}/{place}/{metric}"
                yield f"{name}, {_READ[metric]} of {place}", (path, told, "")

    yield "accuracy of the retained labels", ("test/retained/accuracy", "", "")
