"""Images that stay in their files until they are asked for."""

import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mlu.data.decoding import decoded
from mlu.data.recognition import strangers
from mlu.system.errors import UserError, first_line

MOST_THREADS = 8
"""Threads that decode."""

NO_FILE = -1
"""All facts of a file that is not there."""

NUMBERS = 2**63 - 1
"""Bits of a device or of a file's number that are kept: those of int64."""

PIXEL_CODE = ("mlu.data.files", "mlu.data.decoding", "mlu.data.colours")
"""Modules that decide the pixels of an image file: what is kept of them depends on their code."""

DRAFT = "download.draft"
"""Folder that a download comes into first."""

OUTWARD = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")
"""A path that is absolute, or has a part `..`."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """JPEG, PNG and other image files, decoded by rows (satisfies `Images`).

    Eight threads at most share the work. A link in the folder is followed, wherever it leads: who
    may put one there may put the image itself there.

    Attributes:
        folder: The folder that holds the files.
        paths: File names relative to the folder, one per row.
        image_size: Height and width after centre crop and resize, in pixels.

    Raises:
        UserError: If a path is absolute or leads out of the folder (when made); if a file is
            missing, truncated, of far too many pixels, no image or none that can be shown
            truthfully (when its row is asked for).
    """

    folder: Path
    paths: Sequence[str]
    image_size: int

    def __post_init__(self) -> None:
        for path in self.paths:
            if OUTWARD.search(path):
                raise UserError(
                    f"image path {path!r} leads out of {self.folder}; "
                    "it must be relative to that folder"
                )

            if "\0" in path:
                raise UserError(
                    f"image path {path!r} has a zero byte, which no file name has: "
                    "mend the label table"
                )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Images of the given rows, in their order, uint8, shape (n, 3, image_size, image_size)."""
        files = [self.folder / self.paths[int(row)] for row in rows]
        images = np.empty((len(files), self.image_size, self.image_size, 3), dtype=np.uint8)
        for place, image in enumerate(threads(os.getpid()).map(self.decode, files)):
            images[place] = image
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def state(self) -> np.ndarray:
        """The `file_state` of each file, int64, shape (images, 4)."""
        found = np.empty((len(self.paths), 4), np.int64)
        for row, path in enumerate(self.paths):
            found[row] = file_state(f"{self.folder}/{path}")

        return found

    def decode(self, file: Path) -> np.ndarray:
        """One image, uint8, shape (image_size, image_size, 3)."""
        return decoded(file, self.image_size)

    def strangers(self, rows: np.ndarray, sizes: np.ndarray) -> dict[int, str]:
        """Rows, among some, whose files are of no kind that is read, and what they are.

        Args:
            rows: To look into.
            sizes: Of all files in bytes, shape (images,); NO_FILE where none is.
        """
        return strangers(self.folder, self.paths, sizes, rows, threads(os.getpid()))


def file_state(file: str) -> tuple[int, int, int, int]:
    """Facts of a file that are known without reading it.

    Returns:
        Size in bytes, time of change in ns, device, and the file's number there, which all links to
        it share; NO_FILE everywhere where there is none.
    """
    try:
        # Not Path.stat: of millions of files this takes a third of the time.
        facts = os.stat(file)  # noqa: PTH116
    except (OSError, ValueError):
        return (NO_FILE,) * 4
    return facts.st_size, facts.st_mtime_ns, facts.st_dev & NUMBERS, facts.st_ino & NUMBERS


@cache
def threads(process: int) -> ThreadPoolExecutor:
    """The threads of a process.

    A forked worker of a data loader inherits none, hence the process's number.
    """
    count = min(MOST_THREADS, os.cpu_count() or 1)
    return ThreadPoolExecutor(count, thread_name_prefix=f"decode-{process}")


def download(name: str, reader: str, root: Path, *parts: str) -> None:
    """Fetch a data set into `root` with torchvision.

    Files come into a folder of their own first: a half of one is never taken for it.

    Args:
        name: Of the data set, for messages.
        reader: Its class in torchvision.datasets.
        root: As torchvision takes it.
        *parts: Splits that the reader fetches one by one; none where it fetches all at once.

    Raises:
        UserError: With the reason and the other way, if it fails.
    """
    from torchvision import datasets  # here: only the download needs it

    draft = root / DRAFT
    try:
        draft.mkdir(parents=True, exist_ok=True)
        for options in [{"split": part} for part in parts] or [{}]:
            getattr(datasets, reader)(str(draft), download=True, **options)

        settle(draft, root)
    # No network, no gdown, a quota page of Google Drive, a wrong checksum.
    except Exception as fault:
        raise UserError(
            f"{name} could not be downloaded to {root}: {first_line(fault)}; put its files there, "
            f"or name their folder with dataset.root=..."
        ) from fault


def settle(draft: Path, folder: Path) -> None:
    """Move what is in one folder and not in another into that; what is there already stays."""
    for child in draft.iterdir():
        place = folder / child.name
        if child.is_dir() and place.is_dir():
            settle(child, place)
        elif not os.path.lexists(place):
            child.rename(place)

    shutil.rmtree(draft)
