"""A picture of what validation people showed while methods forgot."""

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from mlu.metrics.trace import TracePoint
from mlu.report.groups import Setting
from mlu.report.pictures.base import (
    HUES,
    INK,
    LEADING,
    MARKERS,
    Picture,
    embedded,
    leading,
    outer_legend,
    short,
)
from mlu.runs.read import Run
from mlu.runs.style import COLOURS, tidy

_PANELS = {
    "stronger": "read by the stronger quick reader",
    "output": "told by the forgotten output",
    "retained": "retained accuracy",
}
"""What a panel shows of each point, and what it is called."""

Shown = Mapping[str, Sequence[TracePoint]]
"""By the title of a method the points of its run."""


def forgetting_picture(setting: Setting) -> Picture | None:
    """Curves of what is read and retained by steps of fine-tuning, one for each method.

    Of each method the lowest seed that was watched is drawn.
    """
    runs = {group.title: run for group in leading(setting) if (run := first_watched(group.runs))}
    if not runs:
        return None

    shown = {title: steps_of(run) for title, run in runs.items()}
    marks = [point for run in runs.values() for point in run.results.trace]
    retrain = next((point for point in marks if point.model == "retrain"), None)
    canvas = Canvas(figsize=(11, 3.2), layout="constrained")
    for axes, (of, title) in zip(canvas.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        draw_steps(axes, shown, retrain, of)
        tidy(axes, "steps of fine-tuning", title)

    canvas.axes[0].set_ylabel("percent")
    outer_legend(canvas, canvas.axes[0])

    drawn = sorted({run.seeds for run in runs.values()})
    ends = "; ".join(ends_in_words(shown))

    return embedded(
        canvas,
        "While it forgets",
        f"What validation people show from the first to the last step: {ends}.",
        "Of each forgotten label the stronger of a linear and a kernel reader of the last features "
        "and the label's own output, as balanced accuracies, averaged over labels. Half of the "
        "validation people teach the readers, the others judge them. Dashed is Retrain, asked in "
        f"the same way; a ring is the step that was kept. Seed {', '.join(map(str, drawn))}. "
        f"{LEADING}",
    )


def first_watched(runs: Sequence[Run]) -> Run | None:
    """The first of some runs whose method somebody watched."""
    return next((run for run in runs if steps_of(run)), None)


def steps_of(run: Run) -> list[TracePoint]:
    """The points of a run that are steps, without those that they are held against."""
    return [point for point in run.results.trace if point.step is not None]


def draw_steps(axes: Axes, shown: Shown, retrain: TracePoint | None, of: str) -> None:
    """One value of all methods by their steps, with a ring where one was kept, and Retrain's."""
    for number, (title, points) in enumerate(shown.items()):
        colour, marker = HUES[number % len(HUES)], MARKERS[number % len(MARKERS)]
        line = points_with(points, of)
        axes.plot(
            [point.step or 0 for point, _ in line],
            [100 * value for _, value in line],
            color=colour,
            marker=marker,
            label=short(title),
            ms=3.5,
            linewidth=1.3,
        )
        for point, value in line:
            if point.kept:
                axes.plot(point.step or 0, 100 * value, "o", mfc="none", mec=INK, ms=8)

    mark = points_with([retrain], of) if retrain else []
    for _, value in mark:
        axes.axhline(100 * value, ls="--", color=COLOURS["retrain"], linewidth=1, label="Retrain")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def points_with(points: Sequence[TracePoint], of: str) -> list[tuple[TracePoint, float]]:
    """Points that have a value, with it."""
    found = []
    for point in points:
        value = point.retained if of == "retained" else point.mean(of)
        if value is not None:
            found.append((point, value))
    return found


def ends_in_words(shown: Shown) -> Iterator[str]:
    """The ends of each line in words, for who cannot see them."""
    for title, points in shown.items():
        numbers = []
        for of, name in _PANELS.items():
            values = [f"{100 * value:.1f}" for _, value in points_with(points, of)] or ["unknown"]
            numbers.append(f"{name} {values[0]} to {values[-1]}")
        yield f"{title} {', '.join(numbers)}"
