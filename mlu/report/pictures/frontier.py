"""A picture of what is kept against what can still be read: a curve over each method's strength."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.transforms import Bbox

from mlu.report.aggregate import Cell
from mlu.report.groups import Group, Setting, correlation_of, curves, families, strength_of
from mlu.report.pictures.base import (
    HUES,
    INK,
    KEPT,
    MARKERS,
    STYLE,
    Picture,
    embedded,
    error_bars,
    legend_entries,
    point,
    rate,
    share,
    short,
)
from mlu.runs.results import RETAINED_LABELS
from mlu.runs.style import COLOURS, tidy

_PLACES = ("features", "outputs")
"""Where the strongest reader looks."""

_LETTERS = 8.5
"""Size of a name in the picture, in points."""

_BETWEEN = 12
"""Points of each stretch of a curve that names keep off."""

_ASIDE = (5, 12, 22, 36, 52)
"""How far a name may stand from its point, in points: the nearest free place is taken."""

_APART = 3
"""Least room between two names, in points."""

_TOWARDS = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Directions in which it may stand, the preferred first."""


@dataclass(frozen=True)
class Curve:
    """One method at its strengths.

    Attributes:
        title: Its name.
        groups: Its runs at each strength, ascending.
        colour: Of line and points.
        marker: Of its points.
    """

    title: str
    groups: Sequence[Group]
    colour: str
    marker: str

    def known(self, place: str) -> list[tuple[float, Cell, Cell]]:
        """Strength, what is read at a place and what is kept, of all groups that have both."""
        cells = [
            (
                strength_of(group.runs[0]),
                rate(group.runs, read_at("unlearned", place)),
                rate(group.runs, KEPT),
            )
            for group in self.groups
        ]
        return [one for one in cells if one[1].value is not None and one[2].value is not None]


def read_at(model: str, place: str) -> str:
    """Path of what the strongest reader of a model reaches at a place."""
    return f"{model}/attack/aia/strongest/{place}/balanced_accuracy"


def frontier_pictures(settings: Sequence[Setting]) -> Iterator[Picture]:
    """One picture for settings that differ in the labels' correlation alone.

    None where no method of theirs was run at several strengths.
    """
    for family in families(settings, "dataset.correlation"):
        if any(len(curve.known(_PLACES[0])) > 1 for curve in curves_of(family)):
            with mpl.rc_context(STYLE):
                yield frontier(sorted(family, key=correlation_of, reverse=True))


def curves_of(family: Iterable[Setting]) -> list[Curve]:
    """The curves of all settings; those of one title look alike in all of them."""
    found = [(curve_title(groups), groups) for one in family for groups in curves(one)]
    titles = list(dict.fromkeys(title for title, _ in found))

    return [
        Curve(title, groups, HUES[place % len(HUES)], MARKERS[place % len(MARKERS)])
        for title, groups in found
        for place in [titles.index(title)]
    ]


def curve_title(groups: Sequence[Group]) -> str:
    """The method, and what tells its curve from others of it."""
    words = groups[0].title.split()
    return " ".join(word for word in words if not word.startswith("strength="))


def frontier(family: Sequence[Setting]) -> Picture:
    """One family: a column of panels for each setting, the places below each other.

    Of one setting alone the places stand side by side.
    """
    panels = list(product(_PLACES, family))
    columns = len(family) if len(family) > 1 else len(_PLACES)
    rows = len(panels) // columns

    canvas = Canvas(figsize=(max(9.2, 4.2 * columns), 0.7 + 4.1 * rows), layout="constrained")
    axes = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    known = curves_of(family)
    for (place, setting), panel in zip(panels, axes.flat, strict=True):
        draw_frontier(panel, setting, own_curves(known, setting), place)
        tidy(panel, "", panel_title(setting, place))

    for panel in axes[-1]:
        panel.set_xlabel("the strongest reader's balanced accuracy (%)")
    for panel in axes[:, 0]:
        panel.set_ylabel("retained accuracy, test (%)")

    handles, names = legend_entries(axes.flat[0])
    canvas.legend(
        handles, names, loc="outside lower center", ncols=5, frameon=False, fontsize="small"
    )
    fit_axes(axes.flat[0], [points_in(panel) for panel in axes.flat])
    # Names go where there is room, which is known once all else has its place.
    canvas.draw_without_rendering()
    for (place, setting), panel in zip(panels, axes.flat, strict=True):
        name_curves(panel, own_curves(known, setting), place)

    return embedded(
        canvas,
        "What is kept against what can still be read, over the strength",
        "Retained accuracy against the strongest reader of the features, from each method's "
        f"weakest to its strongest: {'; '.join(map(spoken, known))}.",
        "Left is better, and up. A curve goes through a method's strengths in order and ends at "
        "the strongest, where its name stands; the filled point is its default, strength 1. "
        "Nothing left of the floor, which the true retained labels alone reach, can be had without "
        "losing them. Faint bars are 95 % intervals, cut where they leave the picture.",
    )


def own_curves(known: Iterable[Curve], setting: Setting) -> list[Curve]:
    """The curves of one setting."""
    return [curve for curve in known if any(group in setting.groups for group in curve.groups)]


def panel_title(setting: Setting, place: str) -> str:
    correlation = correlation_of(setting)
    if np.isnan(correlation):
        return f"read from {place}"
    return f"read from {place}, labels correlated by {correlation:g}"


def spoken(curve: Curve) -> str:
    """A curve in words."""
    found = [
        f"{share(kept)} % at {share(read)} % ({strength:g})"
        for strength, read, kept in curve.known(_PLACES[0])
    ]
    return f"{curve.title} keeps {', '.join(found) or 'what is unknown'}"


def draw_frontier(axes: Axes, setting: Setting, known: Sequence[Curve], place: str) -> None:
    """The marks and the curves of one setting."""
    draw_marks(axes, setting, place)
    for curve in known:
        draw_strengths(axes, curve, place)


def draw_marks(axes: Axes, setting: Setting, place: str) -> None:
    """Whatever the curves are held against: nothing known, the floor, and the models without."""
    axes.axvline(50, color=INK, linewidth=0.8, linestyle=":", label="knowing nothing")
    floor, untrained = (
        rate(setting.runs, path) for path in (RETAINED_LABELS, read_at("random", place))
    )
    if untrained.value is not None:
        colour = COLOURS["random"]
        axes.axvline(100 * untrained.value, color=colour, linewidth=1, label="random weights")
    if floor.value is not None:
        label = "the floor: true retained labels"
        axes.axvline(100 * floor.value, color=INK, linewidth=1, linestyle="--", label=label)

    for model, label in (("original", "original"), ("retrain", "Retrain")):
        read = rate(setting.runs, read_at(model, place))
        kept = rate(setting.runs, KEPT.replace("unlearned", model))
        point(axes, read, kept, label, COLOURS[model], "*")


def draw_strengths(axes: Axes, curve: Curve, place: str) -> None:
    """A line through the points of a method, with faint intervals; its default is filled."""
    known, colour = curve.known(place), curve.colour
    for _, read, kept in known:
        at = 100 * (read.value or 0), 100 * (kept.value or 0)
        across, along = error_bars(kept, 100), error_bars(read, 100)
        axes.errorbar(*at, across, along, color=colour, elinewidth=0.8, alpha=0.35)

    if known:
        axes.plot(*points_of(known).T, color=colour, linewidth=1.4)
    for strength, read, kept in known:
        face = colour if strength == 1 else "none"
        at = 100 * (read.value or 0), 100 * (kept.value or 0)
        axes.plot(*at, curve.marker, color=colour, markerfacecolor=face, ms=5)


def points_of(known: Sequence[tuple[float, Cell, Cell]]) -> np.ndarray:
    """Points of a curve: what is read and what is kept, in percent, shape (strengths, 2)."""
    values = [(read.value, kept.value) for _, read, kept in known]
    return 100 * np.array(values, float).reshape(-1, 2)


def points_in(axes: Axes) -> np.ndarray:
    """All points of the lines in a panel, and some between them, in percent, shape (points, 2).

    Of a mark that is a whole line across, its place alone, with NaN for where it ends.
    """
    found = [np.full((1, 2), np.nan)]
    for line in axes.get_lines():
        data = np.array(line.get_xydata(), float).reshape(-1, 2)
        if line.get_transform() != axes.transData:
            found.append(np.array([[data[0, 0], np.nan]]))
        elif len(data):
            between = np.linspace(0, len(data) - 1, 1 + _BETWEEN * (len(data) - 1))
            known = np.arange(len(data))
            found.append(np.stack([np.interp(between, known, one) for one in data.T], 1))

    return np.concatenate(found)


def fit_axes(axes: Axes, points: Sequence[np.ndarray]) -> None:
    """Limits by the points of all panels: intervals of few seeds reach beyond and would hide them.

    Args:
        axes: A panel, with which the others share their axes.
        points: Of each panel, in percent, shape (points, 2).
    """
    found = np.concatenate(points)
    low, high = np.nanmin(found, axis=0), np.nanmax(found, axis=0)
    room = 0.08 * (high - low) + 1
    axes.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))


def name_curves(axes: Axes, known: Sequence[Curve], place: str) -> None:
    """The name of each curve at its strongest point, where it covers no other and few lines."""
    points = points_in(axes)
    points = axes.transData.transform(points[~np.isnan(points).any(1)])
    taken: list[Bbox] = []

    for curve in known:
        own = points_of(curve.known(place))
        if not len(own):
            continue
        end = own[-1]
        name = short(curve.title)
        middle, size = axes.transData.transform(end), size_in_points(axes, name)
        aside, box = free_place(axes, middle, size, points, taken)
        taken.append(box)
        line = {"arrowstyle": "-", "color": curve.colour, "linewidth": 0.6, "shrinkB": 3}
        axes.annotate(
            name,
            tuple(end),
            aside,
            textcoords="offset points",
            ha="center",
            va="center",
            color=curve.colour,
            fontsize=_LETTERS,
            arrowprops=line if np.hypot(*aside) > 2 * _ASIDE[1] else None,
        ).set_in_layout(False)


def size_in_points(axes: Axes, name: str) -> tuple[float, float]:
    """Width and height of a name as it is written in a panel, in points, with room around it."""
    text = axes.text(0, 0, name, fontsize=_LETTERS)
    box = text.get_window_extent()
    text.remove()

    return box.width / pixels_of(axes) + _APART, box.height / pixels_of(axes) + _APART


def pixels_of(axes: Axes) -> float:
    """Pixels in a point."""
    return axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]


def free_place(
    axes: Axes,
    end: np.ndarray,
    size: tuple[float, float],
    points: np.ndarray,
    taken: Sequence[Bbox],
) -> tuple[tuple[float, float], Bbox]:
    """Where a name may stand: how far from its point, in points, and the box that it fills there.

    Args:
        axes: The panel, whose edges it keeps to.
        end: The point, in pixels.
        size: Width and height of the name, in points.
        points: All that are drawn, in pixels, shape (points, 2).
        taken: Boxes of other names.
    """
    pixels, (width, height) = pixels_of(axes), size
    best: tuple[float, tuple[float, float], Bbox] | None = None

    for far, (right, up) in product(_ASIDE, _TOWARDS):
        aside = right * (far + width / 2), up * (far + height / 2)
        middle = end + pixels * np.array(aside)
        half = pixels * np.array((width, height)) / 2
        box = Bbox([middle - half, middle + half])

        outside = not all(axes.bbox.contains(*corner) for corner in box.corners())
        hidden = sum(box.contains(*one) for one in points)
        cost = 100 * outside + 10 * box.count_overlaps(taken) + hidden + far / 10
        if best is None or cost < best[0]:
            best = cost, aside, box

    assert best is not None
    return best[1:]
