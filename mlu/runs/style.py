"""Colours and axes that pictures of one run and of many share."""

from collections.abc import Sequence

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

TRACED = {
    "retained": ("retained accuracy", "#55a868", "s"),
    "linear": ("read by a linear reader", "#c44e52", "o"),
    "kernel": ("read by a kernel", "#8172b3", "^"),
    "output": ("told by the forgotten output", "#4c72b0", "v"),
}
"""What is seen while a method forgets: what it is called, its colour and its marker."""

LOWEST_RATE = 1e-3
"""Lowest rate of false positives that a picture shows."""


def tidy(axes: Axes, below: str, above: str) -> None:
    axes.set(xlabel=below, title=above)
    axes.spines[["top", "right"]].set_visible(False)


def step_axis(axes: Axes, steps: Sequence[int]) -> None:
    """A logarithmic axis of steps, with a tick at each; 0 stands a decade before the first."""
    first = next((step for step in steps if step > 0), 1)
    axes.set_xscale("symlog", linthresh=first)
    axes.set_xticks(steps, [f"{step:d}" for step in steps])
    axes.set_xticks([], minor=True)
