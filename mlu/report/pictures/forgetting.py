"""Pictures of what forgetting keeps, and of what it does to each label."""

import json
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from mlu.report.groups import Group, Setting, run_labels
from mlu.report.pictures.base import (
    EXCESS_READ,
    INK,
    KEPT,
    LINEAR_READ,
    Picture,
    embedded,
    outer_legend,
    point,
    rate,
    share,
    short,
    styles,
)
from mlu.runs.layout import LABELS
from mlu.runs.read import Run
from mlu.runs.style import COLOURS, tidy

_READERS = {
    "strongest reader, outputs or features": EXCESS_READ,
    "logistic regression, features": LINEAR_READ,
}
"""Panel -> path of what is read above Retrain."""


def trade_off(setting: Setting) -> Picture | None:
    """The retained accuracy against what can still be read above Retrain."""
    found = [group for group in setting.methods if rate(group.runs, EXCESS_READ).value is not None]
    if not found:
        return None

    canvas = Canvas(figsize=(9.2, 4.2), layout="constrained")
    panels = canvas.subplots(1, 2)
    for axes, (title, path) in zip(panels, _READERS.items(), strict=True):
        draw_trade_off(axes, setting, found, path)
        tidy(axes, "retained accuracy, test (%)", title)

    panels[0].set_ylabel("read above Retrain (points)")
    outer_legend(canvas, panels[0])

    said = [
        f"{group.title} keeps {share(rate(group.runs, KEPT))} % and shows "
        f"{share(rate(group.runs, EXCESS_READ))} points"
        for group in found
    ]

    return embedded(
        canvas,
        "What is kept against what can still be read",
        "Retained accuracy against what the strongest reader finds above Retrain: "
        f"{'; '.join(said)}.",
        "Right is better, and at or below the dotted line nothing more is read than from Retrain. "
        "Bars are 95 % intervals. Points of one colour are variants of one method.",
    )


def draw_trade_off(axes: Axes, setting: Setting, groups: Sequence[Group], path: str) -> None:
    """The references and the methods by one reader."""
    axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    for model in ("original", "retrain"):
        x, y = (rate(setting.runs, name.replace("unlearned", model)) for name in (KEPT, path))
        point(axes, x, y, model, COLOURS[model], "*")
    for group, colour, marker in styles(groups):
        x, y = rate(group.runs, KEPT), rate(group.runs, path)
        point(axes, x, y, short(group.method), colour, marker)


def spill_over(setting: Setting) -> Picture | None:
    """Change of each label's balanced accuracy, methods by labels, beside their correlations."""
    groups = [group for group in setting.methods if group.runs]
    labels = run_labels(setting.runs[0])
    changes = np.array([[change(group.runs, label) for label in labels] for group in groups], float)
    if not groups or not labels or np.isnan(changes).all():
        return None

    together = recorded_correlations(setting.runs, labels)
    beside = ""
    if together is None:
        beside = f" The labels' correlations are left out: no run left {LABELS}."

    return embedded(
        spill_over_canvas(setting, groups, labels, changes, together),
        "What forgetting does to each label",
        "Change of each label's balanced accuracy on the test split relative to the original: "
        f"{most(groups, labels, changes)} points.",
        "Unlearned less original, test split, mean over seeds, in points of balanced accuracy."
        f"{beside}",
    )


def spill_over_canvas(
    setting: Setting,
    groups: Sequence[Group],
    labels: Sequence[str],
    changes: np.ndarray,
    together: np.ndarray | None,
) -> Canvas:
    """Heat maps of the changes and, if they are known, of the labels' correlations."""
    count = 1 if together is None else 2
    rows = len(groups) if together is None else max(len(groups), len(labels))
    size = (4.2 + 0.5 * len(labels) * count, 1.6 + 0.34 * rows)
    canvas = Canvas(figsize=size, layout="constrained")
    panels = canvas.subplots(1, count, squeeze=False)[0]

    names = []
    for label in labels:
        forgotten = " (forgotten)" if label in setting.forget else ""
        names.append(f"{short(label)}{forgotten}")

    # The forgotten label's own change is meant, and would pale all others.
    kept = changes[:, [label not in setting.forget for label in labels]]
    limit = max(1.0, float(np.nanmax(np.abs(kept), initial=0)))
    heat_map(panels[0], changes, [short(group.title) for group in groups], names, limit, 0)
    panels[0].set_title("change of balanced accuracy (points)")
    if together is not None:
        heat_map(panels[1], together, names, names, 1.0, 1)
        panels[1].set_title("correlation of the labels")

    return canvas


def most(groups: Sequence[Group], labels: Sequence[str], changes: np.ndarray) -> str:
    """Which label each method changes most."""
    found = []
    for group, row in zip(groups, changes, strict=True):
        if not np.isnan(row).all():
            place = int(np.nanargmax(np.abs(row)))
            found.append(f"{group.title} changes {labels[place]} most, by {row[place]:+.1f}")
    return "; ".join(found)


def change(runs: Iterable[Run], label: str) -> float:
    """Balanced accuracy of a label after less before, mean over seeds, in points.

    Returns:
        NaN where no run has both.
    """
    path = f"test/label/{label}/balanced_accuracy"
    latest = {run.seeds: run for run in sorted(runs, key=lambda run: run.date)}

    found = []
    for run in latest.values():
        after, before = (run.figures.get(f"{model}/{path}") for model in ("unlearned", "original"))
        if after is not None and before is not None:
            found.append(100 * (after - before))

    return float(np.mean(found)) if found else np.nan


def recorded_correlations(runs: Iterable[Run], labels: Sequence[str]) -> np.ndarray | None:
    """Correlations of the labels, from the first run that left them; None where none did."""
    for run in runs:
        try:
            content = json.loads((run.folder / LABELS).read_text())
            found = np.array(content["correlation"], float)
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue
        if content.get("labels") == list(labels) and found.shape == (len(labels), len(labels)):
            return found

    return None


def heat_map(
    axes: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    limit: float,
    digits: int,
) -> None:
    """A heat map with its numbers; red is less than nothing, blue more."""
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="equal")
    axes.set_xticks(
        range(len(columns)),
        columns,
        rotation=50,
        ha="right",
        rotation_mode="anchor",
        fontsize="small",
    )
    axes.set_yticks(range(len(rows)), rows, fontsize="small")
    axes.tick_params(length=0)

    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        # Adding zero turns -0.0 into 0.0.
        shown = f"{round(value, digits) + 0.0:.{digits}f}"
        colour = readable_on(*image.cmap(image.norm(value))[:3])
        axes.text(column, row, shown, ha="center", va="center", fontsize=7.5, color=colour)


def readable_on(red: float, green: float, blue: float) -> str:
    """Black or white: not the ink, since the background stays the same in a dark scheme."""
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#ffffff"
