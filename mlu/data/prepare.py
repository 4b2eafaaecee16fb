"""python -m mlu.data.prepare dataset=celeba: decode and resize all images once; training then reads arrays."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlu.cli import dataset_command
from mlu.config import made
from mlu.data.base import check_fields
from mlu.data.folder import ImageFolder
from mlu.errors import printable

UNREADABLE = "unreadable.txt"
SHOWN = 10


def main() -> None:
    dataset_command("mlu.data.prepare", "Decode and resize all images of a data set once, in parallel.", prepare)


def prepare(config: Any) -> int:
    """Bring the arrays up to date; 1 if there are images that cannot be read, else 0."""
    dataset = made(config, "dataset")
    if not isinstance(dataset, ImageFolder):
        print(f"{dataset.name} comes in arrays: there is nothing to prepare")
        return 0
    check_fields(dataset.name, dataset.split, dataset.image_size)
    start = time.perf_counter()
    table = dataset.read()
    arrays, kept = dataset.arrays(table), set(dataset.kept(table).tolist())
    unreadable = {row: why for row, why in arrays.make(jobs=os.cpu_count() or 1).items() if row in kept}
    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in arrays.folder.glob("*.npy"))
    pixels = dataset.image_size
    print(
        f"{dataset.name}: {len(arrays.files):,} images of {pixels} x {pixels} pixels, {size / 1e9:.2f} GB in "
        f"{arrays.folder}, {seconds:,.0f} s"
    )
    return refused(unreadable, table.paths, arrays.folder)


def refused(unreadable: Mapping[int, str], paths: Sequence[str], folder: Path) -> int:
    """Say which images cannot be read and list them in a file of `folder`; 1 if there are any, else 0.

    Args:
        unreadable: Why, by row.
        paths: Of all images.
        folder: Where the list goes, for `dataset.exclude`.
    """
    if not unreadable:
        return 0
    file = folder / UNREADABLE
    file.write_text("".join(f"{paths[row]}\n" for row in sorted(unreadable)), encoding="utf-8")
    print(f"{len(unreadable):,} images cannot be read:")
    for row in sorted(unreadable)[:SHOWN]:
        print(f"  {printable(unreadable[row])}")
    print(f"leave them all out: dataset.exclude={file}")
    return 1


if __name__ == "__main__":
    main()
