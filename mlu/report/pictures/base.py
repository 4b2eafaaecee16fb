"""A picture as SVG within the page, and the marks that all pictures of many runs share."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from mlu.report.aggregate import STRONGEST, Cell, cell
from mlu.report.groups import Group, Setting, strength_of
from mlu.runs.read import Run
from mlu.system.errors import printable

INK = "#1c2127"
"""Colour of text and axes."""

_DARK_INK = "#e4e8ee"
"""The same on a dark page."""

HUES = ("#c44e52", "#8172b3", "#dd8452", "#937860", "#da8bc3", "#64a5b8", "#b5a642", "#7f7f7f",
        "#4a1942")  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    # A label is text: a dollar in it starts no formula.
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "mlu",
}
"""Settings of matplotlib."""

LEADING = "Of several variants of a method the one with most seeds is drawn."

KEPT = "unlearned/test/retained/accuracy"
EXCESS_READ = f"unlearned/{STRONGEST}"
LINEAR_READ = "unlearned/attack/aia/features/excess"

_LONGEST = 28
"""Letters of a name in a picture."""


@dataclass(frozen=True)
class Picture:
    """An image within the page.

    Attributes:
        title: Above it.
        alt: What one who cannot see it must know.
        caption: Below it.
        light: Data URI, for a light page.
        dark: Data URI, for a dark page.
        width: In CSS pixels.
        height: In CSS pixels.
    """

    title: str
    alt: str
    caption: str
    light: str
    dark: str
    width: int
    height: int


def embedded(canvas: Canvas, title: str, alt: str, caption: str) -> Picture:
    """The picture for both schemes: in the dark one its ink alone changes."""
    text = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    canvas.savefig(text, format="svg", transparent=True, metadata=metadata)
    light = text.getvalue()
    dark = light.replace(INK, _DARK_INK)

    width, height = (round(96 * inches) for inches in canvas.get_size_inches())

    return Picture(title, alt, caption, data_uri(light), data_uri(dark), width, height)


def data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def short(text: str) -> str:
    """A name that leaves room for the picture, of letters that SVG may hold."""
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def rate(runs: Iterable[Run], path: str) -> Cell:
    """A share, or a difference of two."""
    return cell(runs, path, (-1, 1) if path.endswith("/excess") else (0, 1))


def share(found: Cell) -> str:
    return "unknown" if found.value is None else f"{100 * found.value:.1f}"


def point(axes: Axes, x: Cell, y: Cell, label: str, colour: str, marker: str) -> None:
    """One method with its intervals, in percent."""
    if x.value is None or y.value is None:
        return

    axes.errorbar(
        100 * x.value,
        100 * y.value,
        error_bars(y, 100),
        error_bars(x, 100),
        marker,
        color=colour,
        label=label,
        capsize=2,
        elinewidth=0.9,
        ms=6,
    )


def error_bars(found: Cell, scale: float = 1) -> list[list[float]] | None:
    """The reach of an interval below and above its number; None where there is none."""
    if found.interval is None or found.value is None:
        return None
    below = scale * max(found.value - found.interval.low, 0)
    above = scale * max(found.interval.high - found.value, 0)
    return [[below], [above]]


def series(
    axes: Axes,
    found: Sequence[tuple[float, Cell]],
    label: str,
    colour: str,
    marker: str,
    line: str = "-",
) -> None:
    """Points with their intervals, in percent, joined."""
    known = [(x, y.value, y.interval) for x, y in found if y.value is not None and np.isfinite(x)]
    if not known:
        return

    x, y = np.array([[place, 100 * value] for place, value, _ in known]).T
    reach = [[value - ends.low, ends.high - value] if ends else [0, 0] for _, value, ends in known]
    axes.errorbar(
        x,
        y,
        np.maximum(np.array(reach).T * 100, 0),
        label=label,
        color=colour,
        marker=marker,
        ls=line,
        capsize=2,
        elinewidth=0.9,
        ms=5,
    )


def styles(groups: Sequence[Group]) -> Iterator[tuple[Group, str, str]]:
    """Each group with the colour and marker of its method."""
    methods = list(dict.fromkeys(group.method for group in groups))
    for group in groups:
        place = methods.index(group.method)
        yield group, HUES[place % len(HUES)], MARKERS[place % len(MARKERS)]


def leading(setting: Setting) -> list[Group]:
    """One group of each method: of several variants the one with most seeds.

    Of these the one at its default strength, else the first.
    """
    found: dict[str, Group] = {}
    for group in sorted(setting.methods, key=lambda group: not is_default(group)):
        most = seed_count(found[group.method]) if group.method in found else 0
        if group.runs and seed_count(group) > most:
            found[group.method] = group
    return [group for group in setting.methods if found.get(group.method) is group]


def is_default(group: Group) -> bool:
    """Whether its runs forgot with their method's default strength."""
    return all(strength_of(run) == 1 for run in group.runs)


def seed_count(group: Group) -> int:
    return len({run.seeds for run in group.runs})


def titles_of(family: Iterable[Setting]) -> list[str]:
    """Titles of the methods of several settings, each once."""
    return list(dict.fromkeys(group.title for setting in family for group in setting.methods))


def legend_entries(axes: Axes) -> tuple[list[Any], list[str]]:
    """Handles and names for a legend, each name once."""
    handles, names = axes.get_legend_handles_labels()
    found = dict(zip(names, handles, strict=True))
    return list(found.values()), list(found)


def outer_legend(canvas: Canvas, axes: Axes) -> None:
    """A legend of one panel, for all, at the right."""
    handles, names = legend_entries(axes)
    canvas.legend(handles, names, loc="outside right upper", frameon=False, fontsize="small")
