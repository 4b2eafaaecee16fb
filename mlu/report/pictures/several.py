"""Pictures of several settings that differ in one thing."""

from collections.abc import Iterator, Sequence
from itertools import cycle

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from mlu.report.aggregate import Cell
from mlu.report.groups import (
    Setting,
    correlation_of,
    families,
    of_default_strength,
    request_families,
)
from mlu.report.pictures.base import (
    EXCESS_READ,
    HUES,
    INK,
    KEPT,
    LINEAR_READ,
    MARKERS,
    STYLE,
    Picture,
    embedded,
    rate,
    series,
    short,
    titles_of,
)
from mlu.runs.style import tidy

_APART = 0.06
"""Between the bars of two methods, in labels."""


def correlation_pictures(settings: Sequence[Setting]) -> Iterator[Picture]:
    """Residue by how entangled the labels are, for settings that differ in nothing else."""
    several = [setting for setting in settings if not setting.single_label]
    for family in families(several, "dataset.correlation"):
        if len(family) > 1:
            with mpl.rc_context(STYLE):
                yield residue(sorted(family, key=correlation_of))


def residue(family: Sequence[Setting]) -> Picture:
    """One family: a line for each method, by both readers."""
    canvas = Canvas(figsize=(9.2, 3.6), layout="constrained")
    panels = canvas.subplots(1, 2, sharey=True)
    readers = (("strongest reader", EXCESS_READ), ("logistic regression, features", LINEAR_READ))
    for axes, (above, path) in zip(panels, readers, strict=True):
        draw_residue(axes, family, path)
        tidy(axes, "correlation of the labels (1: as in CelebA-HQ)", above)

    panels[0].set_ylabel("read above Retrain (points)")
    panels[1].legend(frameon=False, fontsize="small")

    return embedded(
        canvas,
        "Residue by how entangled the labels are",
        "What is read of the forgotten label above Retrain, by the correlation of the labels, for "
        f"{', '.join(default_titles(family))}.",
        "At or below the dotted line nothing more is read than from Retrain. Bars are 95 % "
        "intervals.",
    )


def draw_residue(axes: Axes, family: Sequence[Setting], path: str) -> None:
    """A line for each method, and one at nothing."""
    looks = zip(default_titles(family), cycle(HUES), cycle(MARKERS), strict=False)
    for title, colour, marker in looks:
        found = [
            (correlation_of(setting), rate(group.runs, path))
            for setting in family
            for group in of_default_strength(setting)
            if group.title == title
        ]
        series(axes, found, short(title), colour, marker)

    axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")


def default_titles(family: Sequence[Setting]) -> list[str]:
    """Titles of the methods of several settings, each once; of several strengths the default's."""
    found = [group.title for setting in family for group in of_default_strength(setting)]
    return list(dict.fromkeys(found))


def request_pictures(settings: Sequence[Setting]) -> Iterator[Picture]:
    """Retained accuracy and residue by how many labels were forgotten, one picture a family."""
    for family in request_families(settings):
        with mpl.rc_context(STYLE):
            yield over_time(family)


def over_time(family: Sequence[Setting]) -> Picture:
    """One family: for each method a line, request after request, and a point for all at once."""
    canvas = Canvas(figsize=(9.2, 3.6), layout="constrained")
    panels = canvas.subplots(1, 2)
    shown = (
        ("retained accuracy (%)", KEPT),
        ("strongest reader above Retrain (points)", EXCESS_READ),
    )
    for axes, (name, path) in zip(panels, shown, strict=True):
        draw_over_time(axes, family, path)
        axes.set_xticks(sorted({len(setting.forget) for setting in family}))
        axes.set_ylabel(name)
        tidy(axes, "labels forgotten", "")

    panels[1].axhline(0, color=INK, linewidth=0.8, linestyle=":")
    panels[1].legend(frameon=False, fontsize="small")

    orders = "; ".join(setting.order for setting in family)

    return embedded(
        canvas,
        "Requests over time",
        "Retained accuracy and what is read above Retrain by how many labels are forgotten, for "
        f"{', '.join(titles_of(family))}.",
        f"One request after the other (lines) and all at once (stars): {orders}. Bars are 95 % "
        "intervals.",
    )


def draw_over_time(axes: Axes, family: Sequence[Setting], path: str) -> None:
    """The lines and points of all methods, beside each other."""
    titles = titles_of(family)
    looks = zip(titles, cycle(HUES), cycle(MARKERS), strict=False)
    for number, (title, colour, marker) in enumerate(looks):
        aside = _APART * (number - (len(titles) - 1) / 2)
        parts: dict[bool, list[tuple[float, Cell]]] = {True: [], False: []}
        for setting in family:
            in_turn = len(setting.requests) == len(setting.forget)
            for group in setting.methods:
                if group.title == title:
                    place = len(setting.forget) + aside
                    parts[in_turn].append((place, rate(group.runs, path)))

        series(axes, parts[True], short(title), colour, marker)
        series(axes, parts[False], f"{short(title)}, all at once", colour, "*", "none")
