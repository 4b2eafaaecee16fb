"""Pictures of many runs, as SVG within the page."""

import base64
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlu.report.aggregate import STRONGEST, Cell, cell
from mlu.report.groups import (
    Group,
    Setting,
    correlation_of,
    families,
    has_strengths,
    request_families,
    run_labels,
    strengths,
)
from mlu.runs.layout import DISTRIBUTIONS, LABELS, ROC
from mlu.runs.read import Run
from mlu.runs.style import AXES, COLOURS, LOWEST_RATE, tidy
from mlu.system.errors import printable

INK, DARK_INK = "#1c2127", "#e4e8ee"
"""Of text and axes, on a light and on a dark page."""
HUES = ("#c44e52", "#8172b3", "#dd8452", "#937860", "#da8bc3", "#64a5b8", "#b5a642", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "mlu",
}
"""A label is text: a dollar in it starts no formula."""
LEADING = "Of several variants of a method the one with most seeds is drawn."
LONGEST = 28
"""Letters of a name in a picture."""
KEPT, EXCESS = "unlearned/test/retained/accuracy", "unlearned/attack/aia/features/excess"


@dataclass(frozen=True)
class Picture:
    """An image within the page: `light` and `dark` are data URIs, `alt` what one who cannot see it
    must know.

    Width and height are in CSS pixels.
    """

    title: str
    alt: str
    caption: str
    light: str
    dark: str
    width: int
    height: int


def pictures_of(setting: Setting) -> Iterator[Picture]:
    """Those of one setting for which its runs left something."""
    with mpl.rc_context(RC):
        for draw in (trade_off, spill_over, run_time, entropy_picture, rates, response_picture):
            picture = draw(setting)
            if picture is not None:
                yield picture


def embedded(figure: Figure, title: str, alt: str, caption: str) -> Picture:
    """The figure for both schemes: in the dark one its ink alone changes."""
    text = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    svg = text.getvalue()
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(
        title, alt, caption, data_uri(svg), data_uri(svg.replace(INK, DARK_INK)), width, height
    )


def data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def short(text: str) -> str:
    """A name that leaves room for the picture, of letters that SVG may hold."""
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def rate(runs: Iterable[Run], path: str) -> Cell:
    """A share, or a difference of two."""
    return cell(runs, path, (-1, 1) if path.endswith("/excess") else (0, 1))


def share(found: Cell) -> str:
    return "unknown" if found.value is None else f"{100 * found.value:.1f}"


def point(axes: Axes, x: Cell, y: Cell, label: str, colour: str, marker: str) -> None:
    """One method with its intervals, in percent."""
    if x.value is None or y.value is None:
        return

    bars = [
        None if found.interval is None or found.value is None
        else [[100 * max(found.value - found.interval.low, 0)], [100 * max(found.interval.high - found.value, 0)]]
        for found in (x, y)
    ]  # fmt: skip
    axes.errorbar(
        100 * x.value,
        100 * y.value,
        bars[1],
        bars[0],
        marker,
        color=colour,
        label=label,
        capsize=2,
        elinewidth=0.9,
        ms=6,
    )


def styles(groups: Sequence[Group]) -> Iterator[tuple[Group, str, str]]:
    """Each group with the colour and marker of its method."""
    methods = list(dict.fromkeys(group.method for group in groups))
    for group in groups:
        place = methods.index(group.method)
        yield group, HUES[place % len(HUES)], MARKERS[place % len(MARKERS)]


def leading(setting: Setting) -> list[Group]:
    """One group of each method: of several variants the one with most seeds, the first of those."""
    found: dict[str, Group] = {}
    for group in setting.methods:
        if group.runs and seeds(group) > (
            seeds(found[group.method]) if group.method in found else 0
        ):
            found[group.method] = group
    return list(found.values())


def seeds(group: Group) -> int:
    return len({run.seed for run in group.runs})


def once(axes: Axes) -> tuple[list[Any], list[str]]:
    """Handles and names for a legend, each name once."""
    handles, names = axes.get_legend_handles_labels()
    found = dict(zip(names, handles, strict=True))
    return list(found.values()), list(found)


def trade_off(setting: Setting) -> Picture | None:
    """What is kept against what can still be read above Retrain, by the headline reader and by the
    strongest."""
    paths = {
        "logistic regression on the features": EXCESS,
        "strongest of six readers": f"unlearned/{STRONGEST}",
    }
    found = [group for group in setting.methods if rate(group.runs, EXCESS).value is not None]
    if not found:
        return None

    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    said = []
    for axes, (title, path) in zip(panels, paths.items(), strict=True):
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        for model in ("original", "retrain"):
            x, y = (rate(setting.runs, name.replace("unlearned", model)) for name in (KEPT, path))
            point(axes, x, y, model, COLOURS[model], "*")
        for group, colour, marker in styles(found):
            x, y = rate(group.runs, KEPT), rate(group.runs, path)
            point(axes, x, y, short(group.method), colour, marker)
            if path == EXCESS:
                said.append(f"{group.title} keeps {share(x)} % and shows {share(y)} points")
        tidy(axes, "retained accuracy, test (%)", title)

    panels[0].set_ylabel("read above Retrain (points)")
    figure.legend(*once(panels[0]), loc="outside right upper", frameon=False, fontsize="small")

    return embedded(
        figure,
        "What is kept against what can still be read",
        f"Retained accuracy against what an attacker reads from the features above Retrain: {'; '.join(said)}.",
        "Right is better, and at or below the dotted line nothing more is read than from Retrain. Bars are 95 % "
        "intervals. Points of one colour are variants of one method.",
    )


def spill_over(setting: Setting) -> Picture | None:
    """Change of each label's balanced accuracy, methods by labels, beside the labels' correlations."""
    groups = [group for group in setting.methods if group.runs]
    labels = run_labels(setting.runs[0])
    changes = np.array([[change(group.runs, label) for label in labels] for group in groups], float)
    if not groups or not labels or np.isnan(changes).all():
        return None

    together = recorded_correlations(setting.runs, labels)
    height = 1.6 + 0.34 * max(len(groups), len(labels) if together is not None else 0)
    figure = Figure(
        figsize=(4.2 + 0.5 * len(labels) * (2 if together is not None else 1), height),
        layout="constrained",
    )
    panels = figure.subplots(1, 1 if together is None else 2, squeeze=False)[0]
    # The forgotten label's own change is meant, and would pale all others.
    kept = changes[:, [label not in setting.forget for label in labels]]
    limit = max(1.0, float(np.nanmax(np.abs(kept), initial=0)))
    names = [
        f"{short(label)} (forgotten)" if label in setting.forget else short(label)
        for label in labels
    ]
    matrix(panels[0], changes, [short(group.title) for group in groups], names, limit, 0)
    panels[0].set_title("change of balanced accuracy (points)")
    if together is not None:
        matrix(panels[1], together, names, names, 1.0, 1)
        panels[1].set_title("correlation of the labels")

    beside = (
        ""
        if together is not None
        else f" The labels' correlations are left out: no run left {LABELS}."
    )

    return embedded(
        figure,
        "What forgetting does to each label",
        "Change of each label's balanced accuracy on the test split relative to the original: "
        f"{most(groups, labels, changes)} points.",
        f"Unlearned less original, test split, mean over seeds, in points of balanced accuracy.{beside}",
    )


def most(groups: Sequence[Group], labels: Sequence[str], changes: np.ndarray) -> str:
    """Which label each method changes most."""
    found = []
    for group, row in zip(groups, changes, strict=True):
        if not np.isnan(row).all():
            place = int(np.nanargmax(np.abs(row)))
            found.append(f"{group.title} changes {labels[place]} most, by {row[place]:+.1f}")
    return "; ".join(found)


def change(runs: Iterable[Run], label: str) -> float:
    """Balanced accuracy of a label after less before, mean over seeds, in points; NaN where no run
    has both."""
    found = []
    for run in {run.seed: run for run in sorted(runs, key=lambda run: run.date)}.values():
        after, before = (
            run.figures.get(f"{m}/test/label/{label}/balanced_accuracy")
            for m in ("unlearned", "original")
        )
        if after is not None and before is not None:
            found.append(100 * (after - before))
    return float(np.mean(found)) if found else np.nan


def recorded_correlations(runs: Iterable[Run], labels: Sequence[str]) -> np.ndarray | None:
    """Of the labels, from the first run that left them; None where none did."""
    for run in runs:
        try:
            content = json.loads((run.folder / LABELS).read_text())
            found = np.array(content["correlation"], float)
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue
        if content.get("labels") == list(labels) and found.shape == (len(labels), len(labels)):
            return found
    return None


def matrix(
    axes: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    limit: float,
    digits: int,
) -> None:
    """A heat map with its numbers; red is less than nothing, blue more."""
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="equal")
    axes.set_xticks(
        range(len(columns)),
        columns,
        rotation=50,
        ha="right",
        rotation_mode="anchor",
        fontsize="small",
    )
    axes.set_yticks(range(len(rows)), rows, fontsize="small")
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            # Not the ink: the colour below stays in a dark scheme, and so must this.
            # Adding zero turns -0.0 into 0.0.
            shown = f"{round(value, digits) + 0.0:.{digits}f}"
            axes.text(
                column,
                row,
                shown,
                ha="center",
                va="center",
                fontsize=7.5,
                color="#000000" if light else "#ffffff",
            )


PHASES = {"seconds/score": "scores", "seconds/edit": "edit", "seconds/finetune": "fine-tuning"}


def run_time(setting: Setting) -> Picture | None:
    """Seconds by phase and image passes, a bar for each method and reference."""
    rows = {model: (setting.runs, model) for model in ("original", "retrain")}
    rows |= {group.title: (group.runs, "unlearn") for group in leading(setting)}
    known = {
        title: (cell(runs, f"seconds/{stage}"), cell(runs, f"work/{stage}"), runs)
        for title, (runs, stage) in rows.items()
    }
    known = {title: found for title, found in known.items() if found[0].value is not None}
    if len(known) < 2:
        return None

    figure = Figure(figsize=(9.2, 1.6 + 0.3 * len(known)), layout="constrained")
    seconds, passes = figure.subplots(1, 2, sharey=True)
    for place, (title, (total, work, runs)) in enumerate(known.items()):
        bar(seconds, place, total, runs, trained=title in ("original", "retrain"))
        passes.barh(place, work.value or 0.0, color=COLOURS["original"])

    seconds.set_yticks(range(len(known)), list(map(short, known)))
    seconds.invert_yaxis()
    seconds.set_xlim(left=0)
    figure.legend(
        *once(seconds), loc="outside lower center", ncols=5, frameon=False, fontsize="small"
    )
    tidy(seconds, "seconds", "time")
    tidy(passes, "images passed forward and backward", "work")
    said = "; ".join(f"{title} {found[0].value:.3g} s" for title, found in known.items())

    return embedded(
        figure,
        "What forgetting costs",
        f"Seconds of each method and of training: {said}.",
        "Seconds hold everything from the first score to the last batch-norm pass, loading included; bars end at the "
        "mean over seeds, with its 95 % interval. Image passes count scores and teachers too, and do not depend on "
        f"the machine. {LEADING}",
    )


def bar(axes: Axes, place: int, total: Cell, runs: Sequence[Run], trained: bool) -> None:
    """Seconds by phase, or of a training, with the interval of their sum."""
    assert total.value is not None
    start = 0.0
    for (path, name), colour in zip({} if trained else PHASES.items(), HUES, strict=False):
        width = cell(runs, path).value or 0.0
        axes.barh(place, width, left=start, color=colour, label=name)
        start += width

    rest, colour = ("training", "retrain") if trained else ("loading, batch norm, rest", "random")
    axes.barh(place, max(0.0, total.value - start), left=start, color=COLOURS[colour], label=rest)
    if total.interval:
        ends = [
            [max(total.value - total.interval.low, 0)],
            [max(total.interval.high - total.value, 0)],
        ]
        axes.errorbar(total.value, place, xerr=ends, color=INK, capsize=2, elinewidth=0.9)


def first_run(group: Group) -> Run:
    return group.runs[0]


def entropy_picture(setting: Setting) -> Picture | None:
    """Entropy of the outputs by split: the paper's Figure 3, of the lowest seed."""
    curves = {
        group.title: found
        for group in leading(setting)
        if (found := arrays(first_run(group), DISTRIBUTIONS))
    }
    if not curves:
        return None

    reference = next(iter(curves.values()))
    splits = list(dict.fromkeys(path.split("/")[1] for path in reference if path.count("/") > 2))
    figure = Figure(figsize=(3.4 * len(splits) + 1.4, 3.2), layout="constrained")
    panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=True):
        for model in ("original", "retrain"):
            stairs(
                axes, reference, f"{model}/{split}", model, COLOURS[model], fill=model == "original"
            )
        for (title, found), colour in zip(curves.items(), cycle(HUES), strict=False):
            stairs(axes, found, f"unlearned/{split}", short(title), colour)
        tidy(axes, AXES["entropy"].replace(" of the retained outputs", ""), short(split))

    panels[0].set_ylabel("density")
    figure.legend(*once(panels[0]), loc="outside right upper", frameon=False, fontsize="small")
    drawn = sorted({first_run(group).seed for group in leading(setting)})

    return embedded(
        figure,
        "How sure the outputs are",
        f"Densities of the log entropy of the retained outputs on {', '.join(splits)}, for {', '.join(curves)}, the "
        "original and Retrain; their means and distances stand in the table of entropies.",
        f"Log entropy of the retained outputs (nats), seed {', '.join(map(str, drawn))}. A method that has forgotten "
        f"as Retrain does lies on Retrain's line. {LEADING}",
    )


def stairs(
    axes: Axes, found: dict[str, np.ndarray], path: str, label: str, colour: str, fill: bool = False
) -> None:
    """One histogram as a density."""
    start = f"{path}/entropy/histogram"
    counts, edges = found.get(f"{start}/counts"), found.get(f"{start}/edges")
    if counts is not None and edges is not None and len(edges) == len(counts) + 1:
        density = counts / (counts.sum() * np.diff(edges))
        axes.stairs(
            density,
            edges,
            label=label,
            color=colour,
            fill=fill,
            alpha=0.3 if fill else 1,
            linewidth=1.3,
        )


def arrays(run: Run, name: str) -> dict[str, np.ndarray]:
    """Rows of finite numbers that a run left in a file of arrays; nothing where it left none that
    can be read."""
    try:
        # NumPy leaves a file open that it cannot read.
        with (run.folder / name).open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            rows = {path: found[path] for path in found.files}
    except Exception:  # zipfile and zlib have kinds of their own for damaged files
        return {}

    sound = (
        row.ndim == 1 and row.dtype.kind in "iuf" and np.isfinite(row).all()
        for row in rows.values()
    )
    return {path: row for (path, row), whole in zip(rows.items(), sound, strict=True) if whole}


def rates(setting: Setting) -> Picture | None:
    """Membership attacks at low false positive rates, a panel for each attack; of the lowest seed
    that has them."""
    curves = {
        group.title: next(filter(None, (arrays(run, ROC) for run in group.runs)), {})
        for group in leading(setting)
    }
    curves = {title: found for title, found in curves.items() if found}
    if not curves:
        return None

    reference = next(iter(curves.values()))
    attacks = list(dict.fromkeys(path.split("/", 1)[1].rsplit("/", 1)[0] for path in reference))
    figure = Figure(figsize=(3.8 * len(attacks) + 1.4, 3.6), layout="constrained")
    panels = figure.subplots(1, len(attacks), sharey=True, squeeze=False)[0]
    for axes, attack in zip(panels, attacks, strict=True):
        axes.plot(
            [LOWEST_RATE, 1], [LOWEST_RATE, 1], ":", color=INK, linewidth=1, label="knowing nothing"
        )
        for model in ("original", "retrain"):
            curve(axes, reference, f"{model}/{attack}", model, COLOURS[model])

        for (title, found), colour in zip(curves.items(), cycle(HUES), strict=False):
            curve(axes, found, f"unlearned/{attack}", short(title), colour)

        axes.set(xscale="log", yscale="log", xlim=(LOWEST_RATE, 1), ylim=(LOWEST_RATE, 1))
        # The usual ones are formulas.
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        tidy(axes, "false positive rate", short(attack))

    panels[0].set_ylabel("true positive rate")
    figure.legend(*once(panels[0]), loc="outside right upper", frameon=False, fontsize="small")

    return embedded(
        figure,
        "Who was learnt from",
        f"True against false positive rates of membership attacks ({', '.join(attacks)}) on logarithmic axes, for "
        f"{', '.join(curves)}, the original and Retrain.",
        "Above the dotted line an attacker tells training images from others. One seed each; few images stand behind "
        f"the left end. {LEADING}",
    )


def curve(axes: Axes, found: dict[str, np.ndarray], path: str, label: str, colour: str) -> None:
    false, true = found.get(f"{path}/false"), found.get(f"{path}/true")
    if false is not None and true is not None and len(false) == len(true):
        axes.plot(false, true, label=label, color=colour, linewidth=1.4)


def response_picture(setting: Setting) -> Picture | None:
    """Retained accuracy and excess by phi and by epsilon, a row for each method that was run on
    several of either."""
    grids = {
        name: [group for group in setting.methods if group.method == name and has_strengths(group)]
        for name in ("wf", "wp")
    }
    grids = {
        name: groups
        for name, groups in grids.items()
        if len({strengths(group) for group in groups}) > 1
    }
    if not grids:
        return None

    attacked = any(
        rate(group.runs, EXCESS).value is not None for groups in grids.values() for group in groups
    )
    shown = {KEPT: "retained accuracy (%)"} | (
        {EXCESS: "read above Retrain (points)"} if attacked else {}
    )
    figure = Figure(figsize=(9.2, 2.8 * len(shown) * len(grids)), layout="constrained")
    panels = figure.subplots(len(shown) * len(grids), 2, squeeze=False, sharey="row")
    rows = [(name, groups, path) for name, groups in grids.items() for path in shown]
    for (name, groups, path), pair in zip(rows, panels, strict=True):
        for axes, along in zip(pair, (1, 0), strict=True):
            strength_lines(axes, groups, path, along)
            tidy(axes, ("epsilon", "phi")[along], name)
            axes.legend(frameon=False, fontsize="small")
        pair[0].set_ylabel(shown[path])

    said = [
        f"{group.title} keeps {share(rate(group.runs, KEPT))} %, {share(rate(group.runs, EXCESS))} points above Retrain"
        for groups in grids.values()
        for group in groups
    ]

    return embedded(
        figure,
        "How the strengths phi and epsilon act",
        f"Retained accuracy and what is read above Retrain by phi and epsilon: {'; '.join(said)}.",
        "Left by phi (the fraction of weights that is edited, or the printed threshold), right by epsilon (how far "
        "they may drift afterwards). Bars are 95 % intervals.",
    )


def strength_lines(axes: Axes, groups: Sequence[Group], path: str, along: int) -> None:
    """A line along one strength (0 epsilon, 1 phi) for each value of the other."""
    other = 1 - along
    for value, colour, marker in zip(
        sorted({strengths(group)[other] for group in groups}),
        cycle(HUES),
        cycle(MARKERS),
        strict=False,
    ):
        line = sorted(
            (group for group in groups if strengths(group)[other] == value),
            key=lambda group: strengths(group)[along],
        )
        found = [(strengths(group)[along], rate(group.runs, path)) for group in line]
        series(axes, found, f"{('epsilon', 'phi')[other]} {value:g}", colour, marker)

    axes.set_xscale("log")
    places = sorted(
        {strengths(group)[along] for group in groups if 0 < strengths(group)[along] < np.inf}
    )
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xticks([], minor=True)


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
    ends = (
        np.array(
            [[value - ends.low, ends.high - value] if ends else [0, 0] for _, value, ends in known]
        ).T
        * 100
    )
    axes.errorbar(
        x,
        y,
        np.maximum(ends, 0),
        label=label,
        color=colour,
        marker=marker,
        ls=line,
        capsize=2,
        elinewidth=0.9,
        ms=5,
    )


def correlation_pictures(settings: Sequence[Setting]) -> Iterator[Picture]:
    """What is read above Retrain by how entangled the labels are, for settings that differ in
    nothing else."""
    for family in families(
        (setting for setting in settings if not setting.single_label), "dataset.correlation"
    ):
        if len(family) > 1:
            with mpl.rc_context(RC):
                yield residue(sorted(family, key=correlation_of))


def residue(family: Sequence[Setting]) -> Picture:
    """One family: a line for each method, by both readers."""
    figure = Figure(figsize=(9.2, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = list(dict.fromkeys(group.title for setting in family for group in setting.methods))
    for axes, (above, path) in zip(
        panels, (("features", EXCESS), ("strongest reader", f"unlearned/{STRONGEST}")), strict=True
    ):
        for title, colour, marker in zip(titles, cycle(HUES), cycle(MARKERS), strict=False):
            found = [
                (correlation_of(setting), rate(group.runs, path))
                for setting in family
                for group in setting.methods
                if group.title == title
            ]
            series(axes, found, short(title), colour, marker)
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        tidy(axes, "correlation of the labels (1: as in CelebA-HQ)", above)

    panels[0].set_ylabel("read above Retrain (points)")
    panels[1].legend(frameon=False, fontsize="small")

    return embedded(
        figure,
        "Residue by how entangled the labels are",
        f"What is read of the forgotten label above Retrain, by the correlation of the labels, "
        f"for {', '.join(titles)}.",
        "At or below the dotted line nothing more is read than from Retrain. Bars are 95 % intervals.",
    )


def request_pictures(settings: Sequence[Setting]) -> Iterator[Picture]:
    """What is kept and what is left by how many labels were forgotten, for settings that differ in
    nothing else."""
    for family in request_families(settings):
        with mpl.rc_context(RC):
            yield over_time(family)


APART = 0.06
"""Between the bars of two methods, in labels."""


def over_time(family: Sequence[Setting]) -> Picture:
    """One family: for each method a line, request after request, and a point where all came at
    once."""
    figure = Figure(figsize=(9.2, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    titles = list(dict.fromkeys(group.title for setting in family for group in setting.methods))
    shown = (
        ("retained accuracy (%)", KEPT),
        ("strongest reader above Retrain (points)", f"unlearned/{STRONGEST}"),
    )
    for axes, (name, path) in zip(panels, shown, strict=True):
        for number, (title, colour, marker) in enumerate(
            zip(titles, cycle(HUES), cycle(MARKERS), strict=False)
        ):
            aside = APART * (number - (len(titles) - 1) / 2)
            for in_turn, label, line in (
                (True, short(title), "-"),
                (False, f"{short(title)}, all at once", "none"),
            ):
                found = [
                    (len(setting.forget) + aside, rate(group.runs, path))
                    for setting in family
                    for group in setting.methods
                    if group.title == title
                    and (len(setting.requests) == len(setting.forget)) == in_turn
                ]
                series(axes, found, label, colour, marker if in_turn else "*", line)

        axes.set_xticks(sorted({len(setting.forget) for setting in family}))
        axes.set_ylabel(name)
        tidy(axes, "labels forgotten", "")

    panels[1].axhline(0, color=INK, linewidth=0.8, linestyle=":")
    panels[1].legend(frameon=False, fontsize="small")
    orders = "; ".join(setting.order for setting in family)

    return embedded(
        figure,
        "Requests over time",
        f"Retained accuracy and what is read above Retrain by how many labels are forgotten, for {', '.join(titles)}.",
        f"One request after the other (lines) and all at once (stars): {orders}. Bars are 95 % intervals.",
    )
