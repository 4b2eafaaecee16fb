"""python -m mlu.prepare dataset=celeba: decode and resize all images once, into arrays."""

import os
import time
from collections.abc import Mapping
from typing import Any

from mlu.launch.build import made
from mlu.launch.dataset_command import dataset_command


def main() -> None:
    dataset_command(
        "mlu.prepare", "Decode and resize all images of a data set once, in parallel.", prepare
    )


def prepare(values: Mapping[str, Any]) -> int:
    """Bring the arrays up to date.

    Returns:
        1 if there are images that cannot be read, else 0: the exit code.
    """
    from mlu.data.base import check_fields  # here: a refusal needs no torch
    from mlu.data.folder import ImageFolder
    from mlu.data.prepared import refused

    dataset = made(values, "dataset")
    if not isinstance(dataset, ImageFolder):
        print(f"{dataset.name} comes in arrays: there is nothing to prepare")
        return 0

    check_fields(dataset.name, dataset.split, dataset.image_size)

    start = time.perf_counter()
    table = dataset.label_table()
    arrays = dataset.arrays(table)
    kept = set(dataset.kept(table, arrays.state).tolist())
    found = arrays.make(jobs=os.cpu_count() or 1)
    unreadable = {row: why for row, why in found.items() if row in kept}

    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in arrays.folder.glob("*.npy"))
    pixels = dataset.image_size
    print(
        f"{dataset.name}: {len(arrays.files):,} images of {pixels} x {pixels} pixels, "
        f"{size / 1e9:.2f} GB in {arrays.folder}, {seconds:,.0f} s"
    )

    return refused(unreadable, table.paths, arrays.folder)


if __name__ == "__main__":
    main()
