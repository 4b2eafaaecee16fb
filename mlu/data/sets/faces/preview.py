"""python -m mlu.data.sets.faces.preview: a sheet of labelled faces as a picture."""

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from mlu.data.labels import PAPER
from mlu.data.sets.faces.dataset import Faces, check_faces
from mlu.data.sets.faces.drawing import noisy_bytes, render
from mlu.data.sets.faces.people import cast
from mlu.system.errors import UserError


def preview(faces: Faces, file: Path) -> None:
    """Save a sheet of faces, each of another person and over the names of what it has; raises
    UserError."""
    check_faces(faces)
    from matplotlib.figure import (
        Figure,  # Here, for it is slow to import and nothing else needs it.
    )

    people = cast(faces.images, faces.seed, 1, faces.correlation)
    pictures = noisy_bytes(
        render(people.rows(slice(None)), faces.image_size), faces.noise, seed=(faces.seed, 0)
    )
    columns = min(8, faces.images)
    rows = math.ceil(faces.images / columns)
    figure = Figure(figsize=(1.7 * columns, 2.1 * rows))
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        bottom=0.45 / (2.1 * rows),
        top=1 - 0.05 / rows,
        wspace=0.1,
        hspace=0.3,
    )
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")

    for axes, picture, labels in zip(figure.axes, pictures, people.labels, strict=False):
        axes.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
        axes.text(
            0.5, -0.04, caption(labels), transform=axes.transAxes, fontsize=7, ha="center", va="top"
        )

    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as fault:
        raise UserError(
            f"cannot save the sheet as {file} ({fault}): name a .png in a folder that exists"
        ) from fault


def caption(labels: np.ndarray) -> str:
    """Names of what a person has, shape (10,), two on a line."""
    names = [
        label.lower().replace("_", " ") for label, has in zip(PAPER, labels, strict=True) if has
    ]
    return "\n".join(", ".join(names[start : start + 2]) for start in range(0, len(names), 2))


def main(arguments: list[str] | None = None) -> int:
    """Command line of the preview; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mlu.data.sets.faces.preview", description="Draw a sheet of labelled faces."
    )
    parser.add_argument(
        "--preview",
        type=Path,
        required=True,
        metavar="FILE",
        help="picture to write, such as faces.png",
    )
    parser.add_argument(
        "--images", type=int, default=24, help="faces on the sheet (default: %(default)s)"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=64,
        help="height and width in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--correlation",
        type=float,
        default=1.0,
        help="0 to 1, as on CelebA-HQ (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    settings = vars(parser.parse_args(arguments))
    file = settings.pop("preview")
    try:
        preview(Faces(name="faces", root=".", labels=PAPER, **settings), file)
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2

    return 0


if __name__ == "__main__":
    sys.exit(main())
