"""The figures of a run as plain tables: columns and rows, for dashboards."""

from collections.abc import Sequence

from mlu.runs.layout import PlainTable
from mlu.runs.read import Run
from mlu.runs.tables import UTILITY

_STAGES = {"original": "original", "retrain": "retrain", "unlearned": "unlearn"}
"""Model -> the stage of which it is left."""
_ENDS = ("/low", "/high")
_PARTS = ("", *_ENDS)
"""A value and the ends of its interval."""


def plain_tables(run: Run, labels: Sequence[str]) -> dict[str, PlainTable]:
    """Tables of headline figures, of each label's figures on test images, and of all attacks.

    Args:
        run: What is shown.
        labels: Of the data set.
    """
    return {
        "tables/models": models_table(run),
        "tables/labels": plain_labels_table(run, labels),
        "tables/attacks": attacks_table(run),
    }


def models_table(run: Run) -> PlainTable:
    """Utility, what each attack shows on dashboards, and seconds, a row for each model."""
    paths = [path for _, path in UTILITY]
    for attack in run.attacks.values():
        paths += [f"attack/{path}" for path in attack.dashboard]

    parts = [path + part for path in paths for part in _PARTS]
    rows = []
    for model, stage in _STAGES.items():
        figures = [run.figures.get(f"{model}/{part}") for part in parts]
        rows.append([model, *figures, run.figures.get(f"seconds/{stage}")])

    return ["model", *parts, "seconds"], rows


def plain_labels_table(run: Run, labels: Sequence[str]) -> PlainTable:
    """Figures of each label for each model."""
    metrics = ("accuracy", "balanced_accuracy", "auroc")
    columns = [(model, metric) for metric in metrics for model in _STAGES]

    rows = []
    for label in labels:
        figures = [run.figures.get(f"{model}/test/label/{label}/{one}") for model, one in columns]
        rows.append([label, label in run.results.run.forget_label, *figures])

    return ["label", "forgotten", *(f"{model}/{metric}" for model, metric in columns)], rows


def attacks_table(run: Run) -> PlainTable:
    """Every figure below `attack/` of every model that was attacked, a row each."""
    rows = []
    for path, value in run.figures.items():
        model, *rest = path.split("/")
        if rest[:1] == ["attack"] and not path.endswith(_ENDS):
            low, high = (run.figures.get(path + end) for end in _ENDS)
            rows.append([model, "/".join(rest[1:-1]), rest[-1], value, low, high])
    return ["model", "attack", "metric", "value", "low", "high"], rows
