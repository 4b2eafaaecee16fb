"""Commands on a folder of photographs, each in a process of its own."""

import numpy as np

from tests.support.forked import warm
from tests.support.photo_folder import write_lines, write_photos

PATHS = [f"{number}.png" for number in range(200)]


def write_labelled_photos(root):
    """Photographs with a table of two labels in `labels.csv`."""
    write_photos(root, PATHS)
    signs = np.random.default_rng(0).integers(0, 2, (200, 2))
    rows = (f"{path},{one},{two}" for path, (one, two) in zip(PATHS, signs, strict=True))
    write_lines(root / "labels.csv", "image,Bald,Young", *rows)
    return root


def photo_command(name, root, *overrides):
    """`python -m mlu.NAME` on these photographs, with outputs beside them."""
    given = [
        "dataset=csv",
        f"dataset.root={root}",
        "dataset.image_size=24",
        f"outputs={root / 'outputs'}",
        *overrides,
    ]
    return warm(f"mlu.{name}", given, root / "said")
