"""The figures of a run as plain tables: columns and rows, for dashboards."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlu.runs.layout import PlainTable

MODELS = ("original", "retrain", "unlearned")
HEADLINES = (
    "test/retained/accuracy",
    "test/forgotten/balanced_accuracy",
    "attack/aia/outputs/balanced_accuracy",
    "attack/aia/features/balanced_accuracy",
    "attack/aia/features/excess",
)
PARTS = ("", "/low", "/high")
"""A value and the ends of its interval."""


def plain_tables(results: Mapping[str, Any], labels: Sequence[str]) -> dict[str, PlainTable]:
    """`models` (headline figures), `labels` (each label's figures on test images) and `attacks`
    (all of them).

    Args:
        results: Content of `results.json`.
        labels: Of the data set.
    """
    return {
        "tables/models": models_table(results),
        "tables/labels": plain_labels_table(results, labels),
        "tables/attacks": attacks_table(results),
    }


def models_table(results: Mapping[str, Any]) -> PlainTable:
    metrics, seconds = results["metrics"], results["seconds"]
    columns = ["model", *(path + part for path in HEADLINES for part in PARTS), "seconds"]
    rows = [
        [
            model,
            *(metrics.get(f"{model}/{path}{part}") for path in HEADLINES for part in PARTS),
            seconds[stage],
        ]
        for model, stage in zip(MODELS, ("original", "retrain", "unlearn"), strict=True)
    ]

    return columns, rows


def plain_labels_table(results: Mapping[str, Any], labels: Sequence[str]) -> PlainTable:
    metrics, forgotten = results["metrics"], results["run"]["forget_label"]
    paths = [
        f"{model}/{metric}"
        for metric in ("accuracy", "balanced_accuracy", "auroc")
        for model in MODELS
    ]
    rows = [
        [label, label in forgotten, *(metrics.get(label_path(label, path)) for path in paths)]
        for label in labels
    ]

    return ["label", "forgotten", *paths], rows


def label_path(label: str, path: str) -> str:
    model, metric = path.split("/")
    return f"{model}/test/label/{label}/{metric}"


def attacks_table(results: Mapping[str, Any]) -> PlainTable:
    """Every figure below `attack/` of every model that was attacked, a row each."""
    metrics = results["metrics"]
    rows = []
    for path, value in metrics.items():
        model, *rest = path.split("/")
        if rest[:1] == ["attack"] and not path.endswith(PARTS[1:]):
            low, high = (metrics.get(path + part) for part in PARTS[1:])
            rows.append([model, "/".join(rest[1:-1]), rest[-1], value, low, high])
    return ["model", "attack", "metric", "value", "low", "high"], rows
