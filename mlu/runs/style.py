"""Colours and axes that pictures of one run and of many share."""

from matplotlib.axes import Axes

COLOURS = {
    "original": "#4c72b0",
    "retrain": "#55a868",
    "unlearned": "#c44e52",
    "random": "#999999",
    "start": "#8172b3",
}
AXES = {
    "entropy": "log entropy of the retained outputs (nats)",
    "loss": "log loss of the retained outputs (nats)",
}

LOWEST_RATE = 1e-3
"""Lowest rate of false positives that a picture shows."""


def tidy(axes: Axes, below: str, above: str) -> None:
    axes.set(xlabel=below, title=above)
    axes.spines[["top", "right"]].set_visible(False)
