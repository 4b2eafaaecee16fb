"""The picture of a data set's labels: how common each is, and how each goes with the others."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mlu.data.base import LabelledImages
from mlu.data.examination import label_correlations
from mlu.data.split import Split

MOST_NAMED = 16
"""Labels whose correlations are written into the picture."""


def draw_label_picture(data: LabelledImages, splits: Mapping[str, Split], path: Path) -> None:
    """Save a picture of how common each label is, and of how it goes with the others."""
    side = max(3.0, 0.42 * len(data.labels))
    figure = Figure(figsize=(4.5 + 1.25 * side, 2.2 + side), layout="constrained")
    bars, matrix = figure.subplots(1, 2, width_ratios=(3, side))

    draw_rates(bars, data, splits)
    image = draw_correlations(matrix, data)
    figure.colorbar(image, ax=matrix, label="correlation of the labels", shrink=0.8)

    figure.savefig(path, dpi=120)


def draw_rates(axes: Axes, data: LabelledImages, splits: Mapping[str, Split]) -> None:
    """Bars: how common each label is in each split."""
    rates, _ = shares(splits)
    places, height = np.arange(len(data.labels)), 0.8 / len(splits)
    for number, name in enumerate(splits):
        axes.barh(places + (number - 1) * height, rates[:, number], height, label=name)

    axes.set_yticks(range(len(data.labels)), data.labels)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of images with the label")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def draw_correlations(axes: Axes, data: LabelledImages) -> AxesImage:
    """A matrix: how each label goes with each other (phi coefficient)."""
    labels, values = len(data.labels), label_correlations(data)
    image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(labels), data.labels, rotation=90)
    axes.set_yticks(range(labels), data.labels)

    if labels <= MOST_NAMED:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if abs(value) > 0.6 else "black"
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour
            )

    return image


def shares(splits: Mapping[str, Split]) -> tuple[np.ndarray, np.ndarray]:
    """Shares of positives, and of what is known.

    Returns:
        Share of positives among the known, shape (labels, splits), and share of the known, shape
        (labels,).
    """
    rates = np.stack([split.base_rates().numpy() for split in splits.values()], 1)
    known = np.concatenate([split.known.numpy() for split in splits.values()])
    return rates, known.mean(0)
