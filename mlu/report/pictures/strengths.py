"""A picture of how the strengths phi and epsilon act."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from mlu.report.groups import Group, Setting, has_strengths, strengths
from mlu.report.pictures.base import (
    EXCESS_READ,
    HUES,
    KEPT,
    MARKERS,
    Picture,
    embedded,
    rate,
    series,
    share,
)
from mlu.runs.style import tidy

_METHODS = ("wf", "wp")
_STRENGTHS = ("epsilon", "phi")


def response_picture(setting: Setting) -> Picture | None:
    """Retained accuracy and excess by phi and by epsilon, rows for each method that varies them."""
    grids = {name: grid_of(setting, name) for name in _METHODS}
    grids = {name: groups for name, groups in grids.items() if groups}
    if not grids:
        return None

    drawn = [group for groups in grids.values() for group in groups]
    shown = {KEPT: "retained accuracy (%)"}
    if any(rate(group.runs, EXCESS_READ).value is not None for group in drawn):
        shown[EXCESS_READ] = "read above Retrain (points)"

    rows = [(name, groups, path) for name, groups in grids.items() for path in shown]
    canvas = Canvas(figsize=(9.2, 2.8 * len(rows)), layout="constrained")
    panels = canvas.subplots(len(rows), 2, squeeze=False, sharey="row")
    for (name, groups, path), pair in zip(rows, panels, strict=True):
        for axes, along in zip(pair, (1, 0), strict=True):
            strength_lines(axes, groups, path, along)
            tidy(axes, _STRENGTHS[along], name)
            axes.legend(frameon=False, fontsize="small")
        pair[0].set_ylabel(shown[path])

    said = [
        f"{group.title} keeps {share(rate(group.runs, KEPT))} %, "
        f"{share(rate(group.runs, EXCESS_READ))} points above Retrain"
        for group in drawn
    ]

    return embedded(
        canvas,
        "How the strengths phi and epsilon act",
        f"Retained accuracy and what is read above Retrain by phi and epsilon: {'; '.join(said)}.",
        "Left by phi (the fraction of weights that is edited, or the printed threshold), right by "
        "epsilon (how far they may drift afterwards). Bars are 95 % intervals.",
    )


def grid_of(setting: Setting, method: str) -> list[Group]:
    """The groups of a method, if they differ in a strength."""
    found = [group for group in setting.methods if group.method == method and has_strengths(group)]
    return found if len({strengths(group) for group in found}) > 1 else []


def strength_lines(axes: Axes, groups: Sequence[Group], path: str, along: int) -> None:
    """A line along one strength (0 epsilon, 1 phi) for each value of the other."""
    other = 1 - along
    values = sorted({strengths(group)[other] for group in groups})
    for value, colour, marker in zip(values, cycle(HUES), cycle(MARKERS), strict=False):
        line = [group for group in groups if strengths(group)[other] == value]
        line.sort(key=lambda group: strengths(group)[along])
        found = [(strengths(group)[along], rate(group.runs, path)) for group in line]
        series(axes, found, f"{_STRENGTHS[other]} {value:g}", colour, marker)

    axes.set_xscale("log")
    places = sorted({strengths(group)[along] for group in groups})
    places = [place for place in places if 0 < place < np.inf]
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xticks([], minor=True)
