"""Pictures of one run."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from mlu.metrics.findings import NETWORK_READERS, READERS, Recovery, Trial
from mlu.metrics.trace import TracePoint
from mlu.metrics.trials import observed
from mlu.runs.layout import Histograms
from mlu.runs.style import AXES, COLOURS, LOWEST_RATE, TRACED, step_axis, tidy
from mlu.runs.treatments import treatments_in

_STAGES, _PROXY = "attack/aia/features", "proxy/attack/aia/balanced_accuracy"
_RELEASED, _MIXED = "durability/untreated", "durability/interpolated_"
_DPI = 120

_ROOM = 65
"""Letters that fit below an axis beside each other."""


def distribution_picture(histograms: Histograms, path: Path) -> None:
    """Entropy and loss of the retained outputs, a row each; the upper is the paper's Figure 3.

    A panel is for a split, a line for a model.

    Args:
        histograms: `<model>/<split>/<entropy or loss>/histogram` -> counts and edges, of logarithms
            of nats.
        path: PNG file to write.
    """
    splits = list(dict.fromkeys(key.split("/")[1] for key in histograms))
    canvas = Canvas(figsize=(4 * len(splits), 3 * len(AXES)), layout="constrained")
    panels = canvas.subplots(len(AXES), len(splits), sharey="row", squeeze=False)
    for row, (kind, title) in zip(panels, AXES.items(), strict=True):
        for axes, split in zip(row, splits, strict=True):
            draw_densities(axes, histograms, split, kind)
            tidy(axes, title, split if kind == "entropy" else "")

        row[0].set_ylabel("density")

    panels[0, -1].legend(frameon=False)
    canvas.savefig(path, dpi=_DPI)


def draw_densities(axes: Axes, histograms: Histograms, split: str, kind: str) -> None:
    """The histograms of all models as densities, that of the original filled."""
    for model, colour in COLOURS.items():
        name = f"{model}/{split}/{kind}/histogram"
        if name not in histograms:
            continue

        counts, edges = histograms[name]
        density = counts / (counts.sum() * np.diff(edges))
        filled = model == "original"
        axes.stairs(
            density,
            edges,
            label=model,
            color=colour,
            fill=filled,
            alpha=0.35 if filled else 1,
            linewidth=1.5,
        )


def roc_picture(curves: Mapping[str, np.ndarray], path: Path) -> None:
    """Membership attacks on logarithmic axes, a panel for each attack, a line for each model.

    Args:
        curves: `<model>/<attack>/false` and `.../true` -> rates.
        path: PNG file to write.
    """
    attacks = list(dict.fromkeys(name.split("/", 1)[1].rsplit("/", 1)[0] for name in curves))
    canvas = Canvas(figsize=(4 * len(attacks), 3.6), layout="constrained")
    panels = canvas.subplots(1, len(attacks), sharey=True, squeeze=False)[0]
    for axes, attack in zip(panels, attacks, strict=True):
        draw_roc(axes, curves, attack)
        tidy(axes, "false positive rate", attack)

    panels[0].set_ylabel("true positive rate")
    panels[-1].legend(frameon=False)
    canvas.savefig(path, dpi=_DPI)


def draw_roc(axes: Axes, curves: Mapping[str, np.ndarray], attack: str) -> None:
    """The curves of all models, and that of who knows nothing."""
    for model, colour in COLOURS.items():
        if f"{model}/{attack}/false" in curves:
            false, true = curves[f"{model}/{attack}/false"], curves[f"{model}/{attack}/true"]
            axes.plot(false, true, label=model, color=colour, linewidth=1.5)

    ends = (LOWEST_RATE, 1)
    axes.plot(ends, ends, ":", color="black", linewidth=1, label="knowing nothing")
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)


def stage_picture(metrics: Mapping[str, float | None], path: Path) -> None:
    """Balanced accuracy of reading the forgotten label from each stage: a line for each model.

    Args:
        metrics: Those of a run; nothing is drawn where stages were not attacked.
        path: PNG file to write.
    """
    stages = attacked_stages(metrics)
    if not stages:
        return

    canvas = Canvas(figsize=(6, 3.6), layout="constrained")
    axes = canvas.subplots()
    for model, colour in COLOURS.items():
        draw_reading(axes, metrics, stages, model, colour)

    proxy = metrics.get(_PROXY)
    if proxy is not None:
        label = "true retained labels"
        axes.axhline(proxy, linestyle="--", color="black", linewidth=1, label=label)

    axes.axhline(0.5, linestyle=":", color="black", linewidth=1, label="knowing nothing")

    crowded = len(stages) * max(map(len, stages)) > _ROOM
    towards = "right" if crowded else "center"
    axes.set_xticks(range(len(stages)), stages, rotation=20 * crowded, ha=towards)
    axes.set_ylabel("balanced accuracy")
    tidy(axes, "stage", "forgotten label read from features")
    axes.legend(frameon=False, fontsize="small")
    canvas.savefig(path, dpi=_DPI)


def attacked_stages(metrics: Mapping[str, float | None]) -> list[str]:
    """Stages of the network of which the unlearned model's features were read, in order."""
    start = f"unlearned/{_STAGES}/"
    parts = [path[len(start) :].split("/")[0] for path in metrics if path.startswith(start)]

    stages = []
    for part in dict.fromkeys(parts):
        if f"{start}{part}/balanced_accuracy" in metrics and part not in (
            *READERS,
            *NETWORK_READERS,
        ):
            stages.append(part)

    return stages


def draw_reading(
    axes: Axes,
    metrics: Mapping[str, float | None],
    stages: Sequence[str],
    model: str,
    colour: str,
) -> None:
    """The accuracies of reading from the stages of one model, with intervals."""
    points = []
    for place, stage in enumerate(stages):
        start = f"{model}/{_STAGES}/{stage}/balanced_accuracy"
        if metrics.get(start) is not None:
            points.append((place, *(metrics[f"{start}{end}"] for end in ("", "/low", "/high"))))

    if not points:
        return

    place, value, low, high = np.array(points, float).T
    reach = (value - low, high - value)
    axes.errorbar(place, value, reach, label=model, color=colour, capsize=2, linewidth=1.5)


def recovery_picture(exposure: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Balanced accuracy of the forgotten label while it is learnt again.

    A panel is for a number of images, a line for a model.

    Args:
        exposure: Evidence by model and path; nothing is drawn where nobody tried.
        path: PNG file to write.
    """
    found = {}
    for model, evidence in exposure.items():
        for place, recovery in evidence.items():
            if isinstance(recovery, Recovery):
                found[model, place] = recovery

    places = list(dict.fromkeys(place for _, place in found))
    if not places:
        return

    canvas = Canvas(figsize=(4 * len(places) + 1, 3.2), layout="constrained")
    panels = canvas.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for axes, place in zip(panels, places, strict=True):
        draw_recoveries(axes, {model: found.get((model, place)) for model in COLOURS})
        tidy(axes, "steps of fine-tuning", f"{place.split('/')[1]} labelled images")

    panels[0].set_ylabel("balanced accuracy")
    handles, labels = panels[-1].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    canvas.legend(once.values(), once.keys(), frameon=False, loc="outside right center")
    canvas.savefig(path, dpi=_DPI)


def draw_recoveries(axes: Axes, recoveries: Mapping[str, Recovery | None]) -> None:
    """The recovery of each model, and what counts as back."""
    for model, recovery in recoveries.items():
        if recovery is None:
            continue

        axes.plot(
            recovery.steps,
            recovery.balanced_accuracy.T,
            ".-",
            color=COLOURS[model],
            label=model,
            linewidth=1.2,
            clip_on=False,
        )
        axes.axhline(float(recovery.goal), linestyle=":", color="black", linewidth=1)

    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)


def durability_picture(
    metrics: Mapping[str, float | None], exposure: Mapping[str, Mapping[str, Any]], path: Path
) -> None:
    """Excess of the treated model over the equally treated Retrain, with intervals.

    A panel is for steps of fine-tuning, one for all other treatments, and one shows what is read of
    mixtures with the original.

    Args:
        metrics: Those of a run; nothing is drawn where its model was not treated.
        exposure: Evidence by model and path: of the mixtures there are no metrics.
        path: PNG file to write.
    """
    found = treatments_in(metrics)
    mixed = {model: mixtures_of(model, exposure) for model in ("retrain", "unlearned")}
    mixed = {model: readings for model, readings in mixed.items() if readings}
    if not found.tuned and not found.others:
        return

    widths = (3, 2, 3) if mixed else (3, 2)
    canvas = Canvas(figsize=(1.4 * sum(widths), 3.6), layout="constrained")
    panels = canvas.subplots(1, len(widths), width_ratios=widths)
    panels[1].sharey(panels[0])
    draw_excesses(panels[0], metrics, found.tuned, "o-")
    step_axis(panels[0], list(found.tuned))
    tidy(panels[0], "steps on the retained labels", "fine-tuned after release")

    draw_excesses(panels[1], metrics, dict(enumerate(found.others.values())), "o")
    panels[1].set_xticks(range(len(found.others)), list(found.others))
    panels[1].margins(x=0.25)
    tidy(panels[1], "weights", "rounded or pruned")

    panels[0].set_ylabel("read above the treated Retrain")
    panels[0].legend(frameon=False, fontsize="small")
    if mixed:
        draw_mixtures(panels[2], mixed)
        tidy(panels[2], "share of the original", "mixed with the original")

    canvas.savefig(path, dpi=_DPI)


def draw_excesses(
    axes: Axes, metrics: Mapping[str, float | None], paths: Mapping[int, str], style: str
) -> None:
    """Points at the numbers that go with their paths, and where Retrain is."""
    axes.axhline(0, linestyle=":", color="black", linewidth=1, label="Retrain, treated alike")
    points = []
    for place, path in paths.items():
        if metrics.get(path) is not None:
            points.append((place, *(metrics[f"{path}{end}"] for end in ("", "/low", "/high"))))

    if points:
        place, value, low, high = np.array(points, float).T
        # The largest of several excesses has the interval of its own trial.
        reach = np.maximum((value - low, high - value), 0)
        axes.errorbar(
            place,
            value,
            reach,
            fmt=style,
            label="unlearned",
            color=COLOURS["unlearned"],
            capsize=2,
            markersize=4,
            linewidth=1.5,
        )


def mixtures_of(model: str, exposure: Mapping[str, Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Share of the original and what is read, from the model itself to the original, ascending.

    Nothing where no mixture was read.
    """
    own, found = exposure.get(model, {}), {}
    for path in own:
        if path.startswith(_MIXED):
            share = float(path.removeprefix(_MIXED).split("/")[0]) / 100
            start = "/".join(path.split("/")[:2])
            found[share] = best_reading(own, start)

    if not found:
        return []

    found |= {0.0: best_reading(own, _RELEASED)}
    found |= {1.0: best_reading(exposure.get("original", {}), _RELEASED)}

    return sorted((share, value) for share, value in found.items() if value is not None)


def best_reading(evidence: Mapping[str, Any], start: str) -> float | None:
    """The largest folded balanced accuracy of the trials below a path; None where there is none."""
    trials = [found for path, found in evidence.items() if path.startswith(f"{start}/")]
    rates = [
        observed(trial).folded("balanced_accuracy").item()
        for trial in trials
        if isinstance(trial, Trial)
    ]
    return max(rates, default=None)


def draw_mixtures(axes: Axes, mixed: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """A thin line for each model, from itself to the original."""
    for model, readings in mixed.items():
        share, value = np.array(readings).T
        axes.plot(share, value, ".-", label=model, color=COLOURS[model], linewidth=0.9)
    axes.set_ylabel("balanced accuracy")
    axes.legend(frameon=False, fontsize="small")


def trace_picture(points: Sequence[TracePoint], path: Path) -> None:
    """Curves of what validation people show by steps of fine-tuning, and where Retrain is.

    Of several labels the mean. Each request to forget has lines of its own.

    Args:
        points: Those of a run; nothing is drawn where nobody was asked.
        path: PNG file to write.
    """
    own = [point for point in points if point.step is not None]
    if not own:
        return

    canvas = Canvas(figsize=(8.6, 3.8), layout="constrained")
    axes = canvas.subplots()
    retrain = next((point for point in points if point.model == "retrain"), None)
    for _, request in groupby(own, lambda point: point.request):
        draw_request(axes, list(request), retrain)

    if retrain is not None:
        axes.plot([], [], "--", color="black", linewidth=1, label="Retrain, in the same colour")
    axes.axhline(0.5, linestyle=":", color="black", linewidth=1, label="knowing nothing")

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(own) == 1:
        axes.set_xticks([own[0].step or 0])
    axes.set_ylabel("accuracy; of readers balanced accuracy")
    tidy(axes, "steps of fine-tuning", "what validation people show while it forgets")
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    canvas.legend(
        once.values(), once.keys(), frameon=False, fontsize="small", loc="outside right upper"
    )
    canvas.savefig(path, dpi=_DPI)


def draw_request(axes: Axes, points: Sequence[TracePoint], retrain: TracePoint | None) -> None:
    """Lines of one request, Retrain's of the same labels, and a ring where a step was chosen."""
    steps, figures = [point.step or 0 for point in points], [point.figures() for point in points]
    marks = {} if retrain is None else retrain.of_labels(points[0].labels).figures()
    kept = next((place for place, point in enumerate(points) if point.kept), -1)

    for name, (label, colour, marker) in TRACED.items():
        values = [found.get(name, np.nan) for found in figures]
        axes.plot(steps, values, color=colour, marker=marker, label=label, ms=4, linewidth=1.5)
        if name in marks:
            ends = steps[0] - 0.5, steps[-1] + 0.5
            axes.hlines(marks[name], *ends, color=colour, linestyle="--", linewidth=1)

    if points[kept] is not points[-1]:
        rings = [figures[kept][name] for name in TRACED if name in figures[kept]]
        label, places = "step that is kept", [steps[kept]] * len(rings)
        axes.plot(places, rings, "o", mfc="none", mec="black", ms=9, label=label)
