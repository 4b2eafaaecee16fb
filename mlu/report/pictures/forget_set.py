"""A picture of what the weights that were chosen for one label are to the others."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from mlu.report.forget_set import START, choosing, chosen_layers, other_labels_in
from mlu.report.groups import Group, Setting
from mlu.report.pictures.base import (
    INK,
    LEADING,
    Picture,
    embedded,
    leading,
    outer_legend,
    rate,
    series,
    share,
    short,
    styles,
)
from mlu.runs.style import tidy

_ROOM = 0.5
"""Of an axis, between 0 and 1, for the points of all methods at one place."""


def shared_choices(setting: Setting) -> Picture | None:
    """Share of W_f that is chosen for others too, by layer and by label, beside chance."""
    there = choosing(setting)
    groups = [group for group in leading(setting) if group in there]
    if not groups:
        return None

    layers = {name: f"layer/{name}" for name in chosen_layers(groups[0].runs)}
    labels = {name: f"label/{part}" for part, name in other_labels_in(groups[0].runs)}
    canvas = Canvas(figsize=(9.6, 4.0), layout="constrained")
    panels = canvas.subplots(1, 2, sharey=True)
    draw_shared(panels[0], groups, layers)
    draw_shared(panels[1], groups, labels)
    tidy(panels[0], "", "chosen for the retained labels together")
    tidy(panels[1], "", "chosen for each retained label")
    panels[0].set_ylabel("share of W_f (%)")
    outer_legend(canvas, panels[0])

    return embedded(
        canvas,
        f"For whom else the weights of {short(', '.join(setting.forget))} are chosen",
        f"Share of the chosen weights that the same rule chooses for others too: "
        f"{'; '.join(said_of_shared(groups, labels))}.",
        "Left by layer, for the retained labels together; right for each of them. Crosses are what "
        f"a random choice of the same size shares. Bars are 95 % intervals. {LEADING}",
    )


def draw_shared(axes: Axes, groups: Sequence[Group], places: dict[str, str]) -> None:
    """Points of each method, side by side, and its chance as crosses of its colour."""
    for number, (group, colour, marker) in enumerate(styles(groups)):
        beside = _ROOM * ((number + 0.5) / len(groups) - 0.5)
        for metric, mark, name in (("overlap", marker, group.method), ("by_chance", "x", "")):
            found = [
                (place + beside, rate(group.runs, f"{START}/{part}/{metric}"))
                for place, part in enumerate(places.values())
            ]
            title = short(name) if name else f"{short(group.method)}, by chance"
            series(axes, found, title, colour, mark, line="")

    names = [short(name) for name in places]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.axhline(0, color=INK, linewidth=0.6)


def said_of_shared(groups: Sequence[Group], labels: dict[str, str]) -> Iterator[str]:
    """The numbers of each method in words, for who cannot see them."""
    for group in groups:
        numbers = []
        for name, part in {"all retained": "retained", **labels}.items():
            numbers.append(f"{name} {share(rate(group.runs, f'{START}/{part}/overlap'))}")
        by_chance = share(rate(group.runs, f"{START}/retained/by_chance"))
        yield f"{group.title} {', '.join(numbers)}, by chance {by_chance} (%)"
