"""Pictures of the arrays that runs leave: distributions of outputs, and ROC curves of attacks."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from mlu.report.groups import Setting
from mlu.report.pictures.base import (
    HUES,
    INK,
    LEADING,
    Picture,
    embedded,
    leading,
    outer_legend,
    short,
)
from mlu.runs.layout import DISTRIBUTIONS, ROC
from mlu.runs.read import Run
from mlu.runs.style import AXES, COLOURS, LOWEST_RATE, tidy

Arrays = Mapping[str, np.ndarray]
"""By their names in a file."""


def entropy_picture(setting: Setting) -> Picture | None:
    """Entropy of the outputs by split: the paper's Figure 3, of the lowest seed."""
    first = {group.title: group.runs[0] for group in leading(setting)}
    arrays = {title: arrays_of_run(run, DISTRIBUTIONS) for title, run in first.items()}
    curves = {title: found for title, found in arrays.items() if found}
    if not curves:
        return None

    reference = next(iter(curves.values()))
    splits = list(dict.fromkeys(path.split("/")[1] for path in reference if path.count("/") > 2))
    canvas = Canvas(figsize=(3.4 * len(splits) + 1.4, 3.2), layout="constrained")
    panels = canvas.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=True):
        draw_entropies(axes, curves, split)

    panels[0].set_ylabel("density")
    outer_legend(canvas, panels[0])

    drawn = sorted({run.seeds for run in first.values()})

    return embedded(
        canvas,
        "How sure the outputs are",
        f"Densities of the log entropy of the retained outputs on {', '.join(splits)}, for "
        f"{', '.join(curves)}, the original and Retrain; their means and distances stand in the "
        "table of entropies.",
        f"Log entropy of the retained outputs (nats), seed {', '.join(map(str, drawn))}. A method "
        f"that has forgotten as Retrain does lies on Retrain's line. {LEADING}",
    )


def draw_entropies(axes: Axes, curves: Mapping[str, Arrays], split: str) -> None:
    """Densities of one split: of the references, as the first method's run has them, and of all."""
    reference = next(iter(curves.values()))
    draw_density(axes, reference, f"original/{split}", "original", COLOURS["original"], fill=True)
    draw_density(axes, reference, f"retrain/{split}", "retrain", COLOURS["retrain"])
    for (title, found), colour in zip(curves.items(), cycle(HUES), strict=False):
        draw_density(axes, found, f"unlearned/{split}", short(title), colour)
    tidy(axes, AXES["entropy"].replace(" of the retained outputs", ""), short(split))


def draw_density(
    axes: Axes, found: Arrays, path: str, label: str, colour: str, fill: bool = False
) -> None:
    """One histogram as a density."""
    start = f"{path}/entropy/histogram"
    counts, edges = found.get(f"{start}/counts"), found.get(f"{start}/edges")
    if counts is None or edges is None or len(edges) != len(counts) + 1:
        return

    density = counts / (counts.sum() * np.diff(edges))
    opaque = 0.3 if fill else 1
    axes.stairs(density, edges, label=label, color=colour, fill=fill, alpha=opaque, linewidth=1.3)


def arrays_of_run(run: Run, name: str) -> dict[str, np.ndarray]:
    """Rows of finite numbers in a file of arrays of a run; nothing where none can be read."""
    try:
        # NumPy leaves a file open that it cannot read.
        with (run.folder / name).open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            rows = {path: found[path] for path in found.files}
    except Exception:  # zipfile and zlib have kinds of their own for damaged files
        return {}

    sound = {}
    for path, row in rows.items():
        if row.ndim == 1 and row.dtype.kind in "iuf" and np.isfinite(row).all():
            sound[path] = row

    return sound


def rates(setting: Setting) -> Picture | None:
    """Membership attacks at low false positive rates, a panel for each attack.

    Of each method the lowest seed that has them is drawn.
    """
    curves = {}
    for group in leading(setting):
        found = next(filter(None, (arrays_of_run(run, ROC) for run in group.runs)), {})
        if found:
            curves[group.title] = found

    if not curves:
        return None

    reference = next(iter(curves.values()))
    attacks = list(dict.fromkeys(path.split("/", 1)[1].rsplit("/", 1)[0] for path in reference))
    canvas = Canvas(figsize=(3.8 * len(attacks) + 1.4, 3.6), layout="constrained")
    panels = canvas.subplots(1, len(attacks), sharey=True, squeeze=False)[0]
    for axes, attack in zip(panels, attacks, strict=True):
        draw_attack_rates(axes, curves, attack)

    panels[0].set_ylabel("true positive rate")
    outer_legend(canvas, panels[0])

    return embedded(
        canvas,
        "Who was learnt from",
        f"True against false positive rates of membership attacks ({', '.join(attacks)}) on "
        f"logarithmic axes, for {', '.join(curves)}, the original and Retrain.",
        "Above the dotted line an attacker tells training images from others. One seed each; few "
        f"images stand behind the left end. {LEADING}",
    )


def draw_attack_rates(axes: Axes, curves: Mapping[str, Arrays], attack: str) -> None:
    """The curves of one attack on logarithmic axes."""
    ends, reference = [LOWEST_RATE, 1], next(iter(curves.values()))
    axes.plot(ends, ends, ":", color=INK, linewidth=1, label="knowing nothing")
    for model in ("original", "retrain"):
        draw_curve(axes, reference, f"{model}/{attack}", model, COLOURS[model])

    for (title, found), colour in zip(curves.items(), cycle(HUES), strict=False):
        draw_curve(axes, found, f"unlearned/{attack}", short(title), colour)

    axes.set(xscale="log", yscale="log", xlim=(LOWEST_RATE, 1), ylim=(LOWEST_RATE, 1))
    # The usual ones are formulas.
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    tidy(axes, "false positive rate", short(attack))


def draw_curve(axes: Axes, found: Arrays, path: str, label: str, colour: str) -> None:
    false, true = found.get(f"{path}/false"), found.get(f"{path}/true")
    if false is not None and true is not None and len(false) == len(true):
        axes.plot(false, true, label=label, color=colour, linewidth=1.4)
