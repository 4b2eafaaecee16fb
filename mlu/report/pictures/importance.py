"""A picture of what weights are worth to a label, by the importance that scores give them."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from mlu.metrics.findings import part_of_path
from mlu.report.aggregate import Cell, cell
from mlu.report.groups import Setting
from mlu.report.importance import START, correlation_cell, layers_in
from mlu.report.pictures.base import HUES, INK, MARKERS, Picture, embedded, error_bars, short
from mlu.runs.read import Run
from mlu.runs.style import tidy

_LINES = {
    "fisher": "Fisher",
    "fisher_ratio": "… against others (wf)",
    "importance_ratio": "Eq. 3 against others (wp)",
    "random": "at random",
}
"""Scores that are drawn, and what they are called."""

_SIDES = (("own", "-"), ("others", ":"))
_APART = 0.12
"""Between the points of two scores, in layers."""


def worth_of_weights(setting: Setting) -> Picture | None:
    """Correlation by layer, and what each part of the layers costs, for the forgotten label."""
    label = setting.forget[0]
    layers = layers_in(setting.runs, label)
    if not layers:
        return None

    canvas = Canvas(figsize=(9.2, 3.8), layout="constrained")
    by_layer, by_bin = canvas.subplots(1, 2)
    draw_by_layer(by_layer, setting.runs, label, layers)
    draw_by_bin(by_bin, setting.runs, label)
    by_layer.legend(frameon=False, fontsize="x-small")

    return embedded(
        canvas,
        f"What weights are worth to {short(label)}",
        f"Rank correlation of a filter's importance for {short(label)} with what its removal costs "
        f"that label: {'; '.join(said_of_layers(setting.runs, label, layers))}.",
        "Left: rank correlation, within each layer, of the importance of filters for the label "
        "with the rise of its loss when they are set to zero; bars are 95 % intervals. Right: mean "
        "rise over layers when a part of each is set to zero, the most important first; solid the "
        "label's own loss, dotted that of the others.",
    )


def draw_by_layer(axes: Axes, runs: Sequence[Run], label: str, layers: Sequence[str]) -> None:
    """A point for each score at each layer."""
    for number, (score, name) in enumerate(_LINES.items()):
        found = [layer_cell(runs, label, score, layer) for layer in layers]
        for place, one in enumerate(found):
            if one.value is None:
                continue

            axes.errorbar(
                place + _APART * (number - (len(_LINES) - 1) / 2),
                one.value,
                error_bars(one),
                color=HUES[number],
                marker=MARKERS[number],
                label=name if place == 0 else None,
                capsize=2,
                elinewidth=0.9,
                ms=5,
            )

    axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(layers)), [short(layer) for layer in layers], rotation=20)
    axes.set_ylabel("rank correlation")
    tidy(axes, "", "importance and cost of filters")


def draw_by_bin(axes: Axes, runs: Sequence[Run], label: str) -> None:
    """Cost over the parts of the layers, for each score: to the label, and to the others."""
    for number, score in enumerate(_LINES):
        for side, line in _SIDES:
            costs = list(costs_by_bin(runs, label, score, side))
            places = range(1, len(costs) + 1)
            axes.plot(places, costs, color=HUES[number], linestyle=line, linewidth=1.2)

    axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    axes.set_ylabel("rise of the loss (nats)")
    tidy(axes, "part of each layer, the most important first", "cost of a part of the weights")


def costs_by_bin(runs: Sequence[Run], label: str, score: str, side: str) -> Iterator[float]:
    """Mean rise of loss for each part of the layers, from the most important one on."""
    start, number = f"{START}{part_of_path(label)}/bins/{score}", 1
    found = cell(runs, f"{start}/bin_{number}/{side}")
    while found.value is not None:
        yield found.value
        number += 1
        found = cell(runs, f"{start}/bin_{number}/{side}")


def layer_cell(runs: Sequence[Run], label: str, score: str, layer: str) -> Cell:
    """Rank correlation within one layer, with the label's own loss."""
    start = f"{START}{part_of_path(label)}/filters/{score}"
    return correlation_cell(runs, f"{start}/layer/{part_of_path(layer)}/own/spearman")


def said_of_layers(runs: Sequence[Run], label: str, layers: Sequence[str]) -> Iterator[str]:
    """The numbers of each score in words, for who cannot see them."""
    for score, name in _LINES.items():
        found = [layer_cell(runs, label, score, layer).value for layer in layers]
        numbers = ["unknown" if value is None else f"{value:.2f}" for value in found]
        yield f"{name} {', '.join(numbers)}"
