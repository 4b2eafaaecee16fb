"""A picture of what comes back after release: read above the equally treated Retrain."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

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
from mlu.runs.style import step_axis, tidy
from mlu.runs.treatments import Treatments, treatments_in

_SPREAD = 0.5
"""Room on an axis, between 0 and 1, for the points of all methods at one treatment."""


def excess_after_release(setting: Setting) -> Picture | None:
    """Excess by steps of fine-tuning and after other treatments, a line for each method."""
    figures = dict.fromkeys(path for run in setting.runs for path in run.figures)
    found, groups = treatments_in(figures), []
    for group in leading(setting):
        if any(rate(group.runs, path).value is not None for path in all_paths(found)):
            groups.append(group)

    if not groups:
        return None

    canvas = Canvas(figsize=(9.2, 3.6), layout="constrained")
    tuned, treated = canvas.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for axes in (tuned, treated):
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":", label="Retrain, treated alike")
    draw_methods(tuned, treated, found, groups)

    step_axis(tuned, list(found.tuned))
    tidy(tuned, "steps on the retained labels", "fine-tuned after release")
    treated.set_xticks(range(len(found.others)), [short(name) for name in found.others])
    treated.margins(x=0.2)
    tidy(treated, "weights", "rounded or pruned")
    tuned.set_ylabel("read above the treated Retrain (points)")
    outer_legend(canvas, tuned)

    return embedded(
        canvas,
        "What comes back after release",
        f"What is read above the equally treated Retrain: {'; '.join(said_of(groups, found))}.",
        "Left after steps of fine-tuning on the retained labels alone, right after weights were "
        "rounded or the smallest were pruned. At the dotted line nothing more is read than from "
        f"Retrain after the same treatment. Bars are 95 % intervals. {LEADING}",
    )


def all_paths(found: Treatments) -> list[str]:
    return [*found.tuned.values(), *found.others.values()]


def draw_methods(tuned: Axes, treated: Axes, found: Treatments, groups: Sequence[Group]) -> None:
    """A line of each method on the left; on the right its points, side by side with others'."""
    for number, (group, colour, marker) in enumerate(styles(groups)):
        name = short(group.method)
        line = [(float(steps), rate(group.runs, path)) for steps, path in found.tuned.items()]
        series(tuned, line, name, colour, marker)

        beside = _SPREAD * ((number + 0.5) / len(groups) - 0.5)
        others = enumerate(found.others.values())
        points = [(place + beside, rate(group.runs, path)) for place, path in others]
        series(treated, points, name, colour, marker, line="")


def said_of(groups: Sequence[Group], found: Treatments) -> Iterator[str]:
    """The numbers of each method in words, for who cannot see them."""
    names = {path: f"after {steps} steps" for steps, path in found.tuned.items()}
    names |= {path: f"with {name}" for name, path in found.others.items()}
    for group in groups:
        numbers = [f"{share(rate(group.runs, path))} {name}" for path, name in names.items()]
        yield f"{group.title} {', '.join(numbers)} (points)"
