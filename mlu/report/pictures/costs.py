"""A picture of what forgetting costs."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from mlu.report.aggregate import Cell, cell
from mlu.report.groups import Setting
from mlu.report.pictures.base import (
    HUES,
    INK,
    LEADING,
    Picture,
    embedded,
    error_bars,
    leading,
    legend_entries,
    short,
)
from mlu.runs.read import Run
from mlu.runs.style import COLOURS, tidy

_PHASES = {"seconds/score": "scores", "seconds/edit": "edit", "seconds/finetune": "fine-tuning"}
_TRAINED = ("original", "retrain")

Costs = Mapping[str, tuple[Cell, Cell, Sequence[Run]]]
"""By title: seconds, image passes, and the runs that they are of."""


def run_time(setting: Setting) -> Picture | None:
    """Seconds by phase and image passes, a bar for each method and reference."""
    known = known_costs(setting)
    if len(known) < 2:
        return None

    canvas = Canvas(figsize=(9.2, 1.6 + 0.3 * len(known)), layout="constrained")
    seconds, passes = canvas.subplots(1, 2, sharey=True)
    for place, (title, (total, work, runs)) in enumerate(known.items()):
        draw_seconds(seconds, place, total, runs, trained=title in _TRAINED)
        passes.barh(place, work.value or 0.0, color=COLOURS["original"])

    seconds.set_yticks(range(len(known)), list(map(short, known)))
    seconds.invert_yaxis()
    seconds.set_xlim(left=0)
    handles, names = legend_entries(seconds)
    canvas.legend(
        handles, names, loc="outside lower center", ncols=5, frameon=False, fontsize="small"
    )
    tidy(seconds, "seconds", "time")
    tidy(passes, "images passed forward and backward", "work")

    said = "; ".join(f"{title} {found[0].value:.3g} s" for title, found in known.items())

    return embedded(
        canvas,
        "What forgetting costs",
        f"Seconds of each method and of training: {said}.",
        "Seconds hold everything from the first score to the last batch-norm pass, loading "
        "included; bars end at the mean over seeds, with its 95 % interval. Image passes count "
        f"scores and teachers too, and do not depend on the machine. {LEADING}",
    )


def known_costs(setting: Setting) -> Costs:
    """The references and one group of each method, as far as their seconds are known."""
    rows = {model: (setting.runs, model) for model in _TRAINED}
    rows |= {group.title: (group.runs, "unlearn") for group in leading(setting)}

    known = {}
    for title, (runs, stage) in rows.items():
        seconds, work = cell(runs, f"seconds/{stage}"), cell(runs, f"work/{stage}")
        if seconds.value is not None:
            known[title] = seconds, work, runs

    return known


def draw_seconds(axes: Axes, place: int, total: Cell, runs: Sequence[Run], trained: bool) -> None:
    """Seconds by phase, or of a training, with the interval of their sum."""
    assert total.value is not None
    start = 0.0
    for (path, name), colour in zip({} if trained else _PHASES.items(), HUES, strict=False):
        width = cell(runs, path).value or 0.0
        axes.barh(place, width, left=start, color=colour, label=name)
        start += width

    rest, colour = ("training", "retrain") if trained else ("loading, batch norm, rest", "random")
    axes.barh(place, max(0.0, total.value - start), left=start, color=COLOURS[colour], label=rest)
    if total.interval:
        reach = error_bars(total)
        axes.errorbar(total.value, place, xerr=reach, color=INK, capsize=2, elinewidth=0.9)
