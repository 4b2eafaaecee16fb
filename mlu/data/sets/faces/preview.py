"""python -m mlu.data.sets.faces.preview --output faces.png: a sheet of labelled faces."""

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
from mlu.system.home import home_path
from mlu.system.interruption import interruptible
from mlu.system.owned import Owned
from mlu.system.terminal import tolerant_streams

MOST_COLUMNS = 8
"""Faces in a row of the sheet."""

FACE_WIDTH, FACE_HEIGHT = 1.7, 2.1
"""Of a face and its caption, in inches."""


@interruptible()
def main(arguments: list[str] | None = None) -> int:
    """Command line of the preview; returns its exit code."""
    tolerant_streams()
    settings = vars(preview_arguments().parse_args(arguments))
    file = settings.pop("output")
    try:
        preview(Faces(name="faces", root=".", labels=PAPER, **settings), file)
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2

    return 0


def preview_arguments() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mlu.data.sets.faces.preview", description="Draw a sheet of labelled faces."
    )

    # --preview is the option's older name.
    parser.add_argument(
        "--output",
        "--preview",
        type=home_path,
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

    return parser


def preview(faces: Faces, file: Path) -> None:
    """Save a sheet of faces, each of another person and over the names of what it has.

    Raises:
        UserError: For a field that cannot be drawn, or a file that cannot be written, or is there
            and no sheet of ours.
    """
    check_faces(faces)
    place = Owned(file.parent)
    place.refuse_foreign([file.name], "name another file with --output")
    from matplotlib.figure import Figure  # here: slow to import, and a refusal needs none

    people = cast(faces.images, faces.seed, 1, faces.correlation)
    clean = render(people.rows(slice(None)), faces.image_size)
    pictures = noisy_bytes(clean, faces.noise, seed=(faces.seed, 0))

    columns = min(MOST_COLUMNS, faces.images)
    rows = math.ceil(faces.images / columns)
    figure = Figure(figsize=(FACE_WIDTH * columns, FACE_HEIGHT * rows))
    bottom, top = 0.45 / (FACE_HEIGHT * rows), 1 - 0.05 / rows
    figure.subplots_adjust(left=0.01, right=0.99, bottom=bottom, top=top, wspace=0.1, hspace=0.3)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")

    for axes, picture, labels in zip(figure.axes, pictures, people.labels, strict=False):
        axes.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
        axes.text(
            0.5, -0.04, caption(labels), transform=axes.transAxes, fontsize=7, ha="center", va="top"
        )

    try:
        file.parent.stat()
        figure.savefig(place.fresh_drafts() / file.name, dpi=150)
        place.settle(file.name)
        place.drop_drafts()
    except (OSError, ValueError) as fault:
        raise UserError(
            f"cannot save the sheet as {file} ({fault}): name a .png in a folder that exists"
        ) from fault


def caption(labels: np.ndarray) -> str:
    """Names of what a person has, two on a line.

    Args:
        labels: 0 or 1, in the order of PAPER, shape (10,).

    Example:
        >>> print(caption(np.array([0, 1, 0, 0, 0, 1, 0, 0, 0, 1])))
        bald, male
        young
    """
    names = []
    for label, has in zip(PAPER, labels, strict=True):
        if has:
            names.append(label.lower().replace("_", " "))
    return "\n".join(", ".join(names[start : start + 2]) for start in range(0, len(names), 2))


if __name__ == "__main__":
    sys.exit(main())
