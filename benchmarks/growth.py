"""How the cost of wp and wf grows with training images and with weights, beside that of an epoch of
Retrain.

Random images and targets, which cost what others do. Exponents are those of least-squares power
laws, held against 1: cost in proportion to size. The picture goes to outputs/growth.png.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.measure import Comparison, method_named, quiet_trainer, seconds
from mlu.data.base import LabelledImages
from mlu.data.divided import ImageData
from mlu.models.backbones import Tiny
from mlu.models.tasks import ForgetRequest, MultiLabel
from mlu.runs.style import COLOURS, tidy
from mlu.system.seeding import generator
from mlu.training.classifier import Classifier
from mlu.training.optimise import Training
from mlu.unlearning.contract import Problem
from mlu.unlearning.unlearner import carry_out

LABELS, SIZE, IMAGES, BATCH = 10, 32, 1000, 64
ROUNDS = 3
TARGET = 1.05
"""Largest exponent that is good."""
LINES = {
    "wp": COLOURS["unlearned"],
    "wf": COLOURS["original"],
    "an epoch of Retrain": COLOURS["retrain"],
}
FILE = Path("outputs/growth.png")


class Setting(NamedTuple):
    """So many times the images, and channels of each block: weights grow as their square."""

    images: int
    channels: int


SERIES = {
    "training images": (Setting(1, 1), Setting(4, 1), Setting(16, 1)),
    "weights": (Setting(1, 1), Setting(1, 2), Setting(1, 4)),
}


class PowerLaw(NamedTuple):
    """cost = factor * size^exponent."""

    exponent: float
    factor: float


def run() -> list[Comparison]:
    works = {setting: works_of(setting) for settings in SERIES.values() for setting in settings}
    for work in works[Setting(1, 1)][0].values():
        work()  # what the process does once
    times: dict[tuple[Setting, str], list[float]] = {}
    for _ in range(ROUNDS):
        for setting, (kinds, _) in works.items():
            for kind, work in kinds.items():
                times.setdefault((setting, kind), []).append(seconds(work))
    points = {
        size: {
            kind: [
                (works[setting][1][size], statistics.median(times[setting, kind]))
                for setting in settings
            ]
            for kind in LINES
        }
        for size, settings in SERIES.items()
    }
    draw(points, FILE)
    found = []
    for size, lines in points.items():
        for kind, line in lines.items():
            exponent = power_law(line).exponent
            target = TARGET if kind in ("wp", "wf") else None
            found.append(
                Comparison(
                    f"{kind}, with {size}",
                    "proportion",
                    "exponent",
                    exponent,
                    1.0,
                    exponent,
                    target,
                )
            )
    return found


def works_of(setting: Setting) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """What is timed, by its name; and the numbers of training images and of weights."""
    data = noise(setting.images * IMAGES)
    torch.manual_seed(0)
    backbone = Tiny(name="tiny", widths=tuple(setting.channels * width for width in Tiny.widths))
    net = backbone.build(LABELS).eval().requires_grad_(False)
    train, request = data.splits["train"], ForgetRequest((0,), tuple(range(1, LABELS)))
    problem = Problem(net, net, MultiLabel(), request, train, data.splits["validation"], seed=0)

    def epoch() -> None:
        settings = Training(epochs=1, batch_size=BATCH, lr=0.05)
        module = Classifier(backbone.build(LABELS), MultiLabel(), settings, seed=0, stage="retrain")
        quiet_trainer("retrain", 1, settings).fit(module, data.train_batches(problem.retain))

    def unlearning(name: str) -> Callable[[], object]:
        return lambda: carry_out(method_named(name), problem, quiet_trainer, data.train_batches)

    works = {"wp": unlearning("wp"), "wf": unlearning("wf"), "an epoch of Retrain": epoch}
    weights = sum(weight.numel() for weight in net.parameters())
    return works, {"training images": len(train), "weights": weights}


def noise(images: int) -> ImageData:
    random = generator(images)
    pixels = torch.randint(
        0, 256, (images, 3, SIZE, SIZE), dtype=torch.uint8, generator=random
    ).numpy()
    targets = torch.randint(0, 2, (images, LABELS), dtype=torch.uint8, generator=random).numpy()
    labels = tuple(f"label{number}" for number in range(LABELS))
    return ImageData(
        LabelledImages("noise", "multilabel", pixels, targets, labels, "0"),
        seed=0,
        batch_size=BATCH,
    )


def power_law(points: Sequence[tuple[float, float]]) -> PowerLaw:
    """Least squares in logarithms, of (size, cost)."""
    exponent, factor = np.polyfit(*np.log(np.array(points)).T, 1)
    return PowerLaw(float(exponent), float(np.exp(factor)))


def draw(points: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], path: Path) -> None:
    """A panel for each size, a line for each kind of work."""
    figure = Figure(figsize=(4.5 * len(points), 3.6), layout="constrained")
    for axes, (size, lines) in zip(
        figure.subplots(1, len(points), sharey=True), points.items(), strict=True
    ):
        for kind, line in lines.items():
            sizes, costs = np.array(line).T
            law = power_law(line)
            axes.plot(sizes, costs, "o", color=LINES[kind])
            label = f"{kind}: exponent {law.exponent:.2f}"
            axes.plot(
                sizes,
                law.factor * sizes**law.exponent,
                color=LINES[kind],
                linewidth=1.5,
                label=label,
            )
        axes.set(xscale="log", yscale="log")
        axes.set_xticks(sizes, [f"{number:,.0f}" for number in sizes])
        axes.set_xticks([], minor=True)
        tidy(axes, size, "")
        axes.legend(frameon=False, fontsize="small")
    figure.axes[0].set_ylabel("seconds")
    figure.savefig(path, dpi=120)
