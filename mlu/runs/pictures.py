"""Pictures of one run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mlu.metrics.findings import Recovery
from mlu.runs.layout import Histograms
from mlu.runs.style import AXES, COLOURS, LOWEST_RATE, tidy

STAGES, PROXY = "attack/aia/features", "proxy/attack/aia/balanced_accuracy"

ROOM = 65
"""Letters that fit below an axis beside each other."""


def distribution_picture(histograms: Histograms, path: Path) -> None:
    """Entropy and loss of the retained outputs: a row each, a panel for each split, a line for each
    model.

    The upper row is the paper's Figure 3.

    Args:
        histograms: `<model>/<split>/<entropy or loss>/histogram` -> counts and edges, of logarithms
            of nats.
        path: PNG file to write.
    """
    splits = list(dict.fromkeys(key.split("/")[1] for key in histograms))
    figure = Figure(figsize=(4 * len(splits), 3 * len(AXES)), layout="constrained")
    panels = figure.subplots(len(AXES), len(splits), sharey="row", squeeze=False)
    for row, (kind, title) in zip(panels, AXES.items(), strict=True):
        for axes, split in zip(row, splits, strict=True):
            for model, colour in COLOURS.items():
                if f"{model}/{split}/{kind}/histogram" in histograms:
                    counts, edges = histograms[f"{model}/{split}/{kind}/histogram"]
                    density = counts / (counts.sum() * np.diff(edges))
                    filled = model == "original"
                    opaque = 0.35 if filled else 1
                    axes.stairs(
                        density,
                        edges,
                        label=model,
                        color=colour,
                        fill=filled,
                        alpha=opaque,
                        linewidth=1.5,
                    )

            tidy(axes, title, split if kind == "entropy" else "")

        row[0].set_ylabel("density")

    panels[0, -1].legend(frameon=False)
    figure.savefig(path, dpi=120)


def roc_picture(curves: Mapping[str, np.ndarray], path: Path) -> None:
    """Membership attacks on logarithmic axes, a panel for each attack, a line for each model.

    Args:
        curves: `<model>/<attack>/false` and `.../true` -> rates.
        path: PNG file to write.
    """
    attacks = list(dict.fromkeys(name.split("/", 1)[1].rsplit("/", 1)[0] for name in curves))
    figure = Figure(figsize=(4 * len(attacks), 3.6), layout="constrained")
    for axes, attack in zip(
        figure.subplots(1, len(attacks), sharey=True, squeeze=False)[0], attacks, strict=True
    ):
        for model, colour in COLOURS.items():
            if f"{model}/{attack}/false" in curves:
                false, true = curves[f"{model}/{attack}/false"], curves[f"{model}/{attack}/true"]
                axes.plot(false, true, label=model, color=colour, linewidth=1.5)

        axes.plot(
            [LOWEST_RATE, 1],
            [LOWEST_RATE, 1],
            ":",
            color="black",
            linewidth=1,
            label="knowing nothing",
        )
        axes.set(xscale="log", yscale="log", xlim=(LOWEST_RATE, 1), ylim=(LOWEST_RATE, 1))
        tidy(axes, "false positive rate", attack)

    figure.axes[0].set_ylabel("true positive rate")
    figure.axes[-1].legend(frameon=False)
    figure.savefig(path, dpi=120)


def stage_picture(metrics: Mapping[str, float | None], path: Path) -> None:
    """How well a logistic regression reads the forgotten label from each stage: a line for each
    model.

    Args:
        metrics: Those of a run; nothing is drawn where stages were not attacked.
        path: PNG file to write.
    """
    start = f"unlearned/{STAGES}/"
    stages = [key[len(start) :].split("/")[0] for key in metrics if key.startswith(start)]
    stages = [
        stage
        for stage in dict.fromkeys(stages)
        if f"{start}{stage}/balanced_accuracy" in metrics and stage != "mlp"
    ]
    if not stages:
        return

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for model, colour in COLOURS.items():
        points = [
            (
                place,
                *(
                    metrics[f"{model}/{STAGES}/{stage}/balanced_accuracy{end}"]
                    for end in ("", "/low", "/high")
                ),
            )
            for place, stage in enumerate(stages)
            if metrics.get(f"{model}/{STAGES}/{stage}/balanced_accuracy") is not None
        ]
        if points:
            place, value, low, high = np.array(points, float).T
            axes.errorbar(
                place,
                value,
                (value - low, high - value),
                label=model,
                color=colour,
                capsize=2,
                linewidth=1.5,
            )

    proxy = metrics.get(PROXY)
    if proxy is not None:
        axes.axhline(
            proxy, linestyle="--", color="black", linewidth=1, label="true retained labels"
        )

    axes.axhline(0.5, linestyle=":", color="black", linewidth=1, label="knowing nothing")
    crowded = len(stages) * max(map(len, stages)) > ROOM
    axes.set_xticks(
        range(len(stages)), stages, rotation=20 * crowded, ha="right" if crowded else "center"
    )
    axes.set_ylabel("balanced accuracy")
    tidy(axes, "stage", "forgotten label read from features")
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def recovery_picture(exposure: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Balanced accuracy of the forgotten label while it is learnt again: a panel for each number of
    images.

    Args:
        exposure: Evidence by model and path; nothing is drawn where nobody tried.
        path: PNG file to write.
    """
    found = {
        (name, place): evidence[place]
        for name, evidence in exposure.items()
        for place in evidence
        if isinstance(evidence[place], Recovery)
    }
    places = list(dict.fromkeys(place for _, place in found))
    if not places:
        return

    figure = Figure(figsize=(4 * len(places) + 1, 3.2), layout="constrained")
    for axes, place in zip(
        figure.subplots(1, len(places), sharey=True, squeeze=False)[0], places, strict=True
    ):
        for model, colour in COLOURS.items():
            if (model, place) in found:
                recovery = found[model, place]
                axes.plot(
                    recovery.steps,
                    recovery.balanced_accuracy.T,
                    ".-",
                    color=colour,
                    label=model,
                    linewidth=1.2,
                    clip_on=False,
                )
                axes.axhline(float(recovery.goal), linestyle=":", color="black", linewidth=1)

        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=0)
        tidy(axes, "steps of fine-tuning", f"{place.split('/')[1]} labelled images")

    figure.axes[0].set_ylabel("balanced accuracy")
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), frameon=False, loc="outside right center")
    figure.savefig(path, dpi=120)
