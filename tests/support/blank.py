"""Pictures of one pixel, for tests that look at none: to draw one takes as long as a model."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

save = Figure.savefig


def saved_blank(figure: Figure, place: Any, **settings: Any) -> None:
    """In the place of matplotlib's `savefig`: a file has one pixel, all else is drawn as ever."""
    if isinstance(place, Path):
        Image.new("RGB", (1, 1)).save(place, format="png")
    else:
        save(figure, place, **settings)


def blank_distributions(_: Any, path: Path) -> None:
    """In the place of `distribution_picture`, which every run draws, and which takes the longest.

    What is wrong with a picture never ends a run: tests of pictures alone would see it.
    """
    Image.new("RGB", (1, 1)).save(path, format="png")


def draw_blank() -> None:
    """In a process of its own: no picture of a run is drawn."""
    from mlu.pipeline import leave

    Figure.savefig = saved_blank
    leave.distribution_picture = blank_distributions
