"""Images that were decoded once: arrays on disk, read by memory map.

They come in shards, which are made in parallel, and made again where they are stale. A shard is
`00012.npy` (uint8, shape (images, 3, size, size)) and `00012.json`, which is written last and says
of which state of which files it is. A run that is killed leaves whole shards, and the next one
makes the others.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from mlu.data.base import Images
from mlu.data.files import NO_FILE, PIXEL_CODE, ImageFiles
from mlu.data.missing import why_missing
from mlu.system.commands import shell_word
from mlu.system.disk import mapped
from mlu.system.errors import UserError, first_line, printable
from mlu.system.owned import Owned
from mlu.system.process import end_with_parent, processes
from mlu.system.progress import progress_bar
from mlu.system.store import checksum, code_digest, digest, now

log = logging.getLogger(__name__)

SHARD_BYTES = 2**26
"""Of pixels in a shard: a second of decoding, and few enough shards to keep all of them mapped."""

UNREADABLE = "unreadable.txt"
"""Name of a list of images that cannot be read."""

MOST_SHOWN = 10
"""Images whose fault is shown; the list names all."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The decoded images of some files, as far as they have been made.

    Attributes:
        folder: Where the shards are.
        files: The images they are made from.
        state: Of each file, as `ImageFiles.state` gives it, shape (images, 4).
        source: The table that names the files, for messages; None where the user named none.
    """

    folder: Path
    files: ImageFiles
    state: np.ndarray
    source: Path | None = None

    @classmethod
    def of(cls, root: Path, name: str, files: ImageFiles, source: Path | None = None) -> "Prepared":
        """Where the images of these files belong."""
        key = {
            "paths": hashlib.sha256("\n".join(files.paths).encode()).hexdigest(),
            "shard": SHARD_BYTES,
            "code": code_digest(*PIXEL_CODE),
        }
        return cls(
            root / f"{name}-{files.image_size}px-{digest(key)}", files, files.state(), source
        )

    @property
    def rows(self) -> int:
        """Number of images in a whole shard."""
        return max(1, SHARD_BYTES // (3 * self.files.image_size**2))

    @cached_property
    def parts(self) -> list[slice]:
        """Rows of each shard."""
        return [slice(start, start + self.rows) for start in range(0, len(self.files), self.rows)]

    @cached_property
    def records(self) -> list[dict[str, Any] | None]:
        """The record of each shard; None where it must be made, or made again."""
        if not self.folder.is_dir():
            return [None] * len(self.parts)
        return [self.record(number, part) for number, part in enumerate(self.parts)]

    @property
    def unreadable(self) -> dict[int, str]:
        """Rows whose files are missing, could not be decoded, or are seen to be no pictures; why.

        Files that have not been decoded yet are not, but their first bytes are read.
        """
        found, waiting = {}, [np.empty(0, int)]
        for part, record in zip(self.parts, self.records, strict=True):
            if record is None:
                waiting.append(np.arange(part.start, min(part.stop, len(self.files))))
            else:
                for place, reason in record["unreadable"].items():
                    found[part.start + int(place)] = reason

        found |= self.files.strangers(np.concatenate(waiting), self.state[:, 0])
        for row, why in self.missing.items():
            file = self.files.folder / self.files.paths[row]
            found[row] = f"{file} is missing: {why or 'put it there'}"

        return dict(sorted(found.items()))

    @cached_property
    def missing(self) -> dict[int, str]:
        """Rows whose files are missing, and why as far as can be told; empty where it cannot."""
        rows = np.flatnonzero(self.state[:, 0] == NO_FILE)
        return why_missing(self.files.folder, self.files.paths, rows.tolist(), self.source)

    def record(self, number: int, part: slice) -> dict[str, Any] | None:
        """The record of one shard, if it is whole and as new as its files; else None."""
        paths, file = self.files.paths[part], shard_file(self.folder, number)
        try:
            record = json.loads(record_file(self.folder, number).read_text())
            whole = file.stat().st_size == record["bytes"]
            whole = whole and fits(mapped(file), len(paths), self.files)
            current = record["state"] == state_of(paths, self.state[part])
            places = {int(place) for place, _ in record["unreadable"].items()}
            placed = places <= {*range(len(paths))}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError):
            return None

        return record if whole and current and placed else None

    def opened(self, command: str) -> Images:
        """All images: from the shards, and where there is none from the files.

        Args:
            command: The command that makes the shards, for messages.
        """
        stale = self.records.count(None)
        if stale == len(self.records):
            log.info("images are decoded as they are needed: %s does that once for all", command)
            return self.files

        if stale:
            log.warning(
                "%s: %d of %d shards are missing or older than their files, "
                "which are decoded instead: run %s",
                self.folder, stale, len(self.records), command,
            )  # fmt: skip

        made = [record is not None for record in self.records]

        return PreparedImages(self.folder, self.files, self.rows, made)

    def make(self, jobs: int) -> dict[int, str]:
        """Make the shards that are missing or stale; returns `unreadable`, afterwards.

        Args:
            jobs: Processes that decode.

        Raises:
            UserError: If the disk has no room for them, or they cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            current = replace(self)  # another process may have made some meanwhile
            missing = [number for number, record in enumerate(current.records) if not record]
            self.refuse_overflow(len(missing))

            for number in range(len(self.parts)):
                shard_file(self.folder, number).with_suffix(".draft").unlink(missing_ok=True)

            self.decode(missing, jobs)

        return replace(self).unreadable

    def decode(self, shards: Sequence[int], jobs: int) -> None:
        """Make some shards, in several processes where there is more than one."""
        images = sum(len(self.files.paths[self.parts[number]]) for number in shards)
        with progress_bar("decoding", images, "images") as bar:
            if len(shards) == 1:
                # Sooner than a process has started.
                make_shard(*self.material(shards[0]))
                bar.advance(images)
                return

            with processes(jobs, end_with_parent) as pool:
                waiting: dict[Future[None], int] = {}
                for number in shards:
                    job = pool.submit(make_shard, *self.material(number))
                    waiting[job] = len(self.files.paths[self.parts[number]])

                for done in as_completed(waiting):
                    done.result()
                    bar.advance(waiting[done])

    def material(self, number: int) -> tuple[Path, int, ImageFiles, np.ndarray]:
        """The arguments of `make_shard` for one shard."""
        part = self.parts[number]
        batch = replace(self.files, paths=self.files.paths[part])
        return self.folder, number, batch, self.state[part]

    def refuse_overflow(self, shards: int) -> None:
        """Raises UserError if so many shards do not fit on the disk."""
        needed = min(shards * self.rows, len(self.files)) * 3 * self.files.image_size**2
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.folder} has room for {free / 1e9:.1f} GB, {needed / 1e9:.1f} GB are "
                "needed: name another folder with dataset.prepared=..., or a smaller "
                "dataset.image_size"
            )


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Images in shards (satisfies `Images`); those without a shard are decoded from their files.

    Attributes:
        folder: Where the shards are.
        files: Where the images come from.
        rows: Number of images in a whole shard.
        made: Whether there is a shard, for each.
    """

    folder: Path
    files: ImageFiles
    rows: int
    made: Sequence[bool]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        size = self.files.image_size
        images = np.empty((len(rows), 3, size, size), np.uint8)

        shard, place = np.divmod(rows, self.rows)
        for number in np.unique(shard):
            where = np.flatnonzero(shard == number)
            array = self.arrays[number]
            images[where] = self.files[rows[where]] if array is None else array[place[where]]

        return images

    @cached_property
    def arrays(self) -> list[np.ndarray | None]:
        """The array of each shard; None where there is none."""
        return [
            mapped(shard_file(self.folder, number)) if made else None
            for number, made in enumerate(self.made)
        ]

    def damaged(self) -> list[Path]:
        """Shards whose bytes are not those that were written."""
        found = []
        for number in np.flatnonzero(self.made).tolist():
            file = shard_file(self.folder, number)
            record = json.loads(record_file(self.folder, number).read_text())
            if checksum(file) != record["checksum"]:
                found.append(file)

        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process maps the files itself, instead of being sent their content."""
        return PreparedImages, (self.folder, self.files, self.rows, self.made)


def make_shard(folder: Path, number: int, files: ImageFiles, state: np.ndarray) -> None:
    """Decode all images of a shard and write it, then its record.

    An image that cannot be decoded is black.
    """
    record_file(folder, number).unlink(missing_ok=True)
    images = np.zeros((len(files), 3, files.image_size, files.image_size), np.uint8)
    unreadable: dict[int, str] = {}
    for place, path in enumerate(files.paths):
        try:
            images[place] = files.decode(files.folder / path).transpose(2, 0, 1)
        except UserError as fault:
            unreadable[place] = str(fault)

    file = shard_file(folder, number)
    draft = file.with_suffix(".draft")
    try:
        with draft.open("wb") as stream:
            np.save(stream, images)

        record = {
            "state": state_of(files.paths, state),
            "bytes": draft.stat().st_size,
            "checksum": checksum(draft),
            "unreadable": unreadable,
            "date": now(),
        }
        draft.rename(file)
        draft.write_text(json.dumps(record))
        draft.rename(record_file(folder, number))
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise UserError(f"cannot write {file}: {first_line(fault)}") from fault


def shard_file(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.npy"


def record_file(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.json"


def fits(array: np.ndarray, images: int, files: ImageFiles) -> bool:
    """Whether these can be the decoded images."""
    shape = (images, 3, files.image_size, files.image_size)
    return array.dtype == np.uint8 and array.shape == shape


def state_of(paths: Sequence[str], state: np.ndarray) -> str:
    """Hash of names, sizes and times of change of some files."""
    content = "\n".join(paths).encode() + np.ascontiguousarray(state[:, :2]).tobytes()
    return hashlib.sha256(content).hexdigest()


def refused(unreadable: Mapping[int, str], paths: Sequence[str], folder: Path) -> int:
    """Say which images cannot be read, and list them in a file for `dataset.exclude`.

    Args:
        unreadable: Why, by row.
        paths: Of all images.
        folder: Where the list goes.

    Returns:
        1 if there are any, else 0: the exit code of a command.
    """
    if not unreadable:
        return 0

    rows = sorted(unreadable)
    file = leave_list(folder, UNREADABLE, [paths[row] for row in rows])

    print(f"{len(unreadable):,} images cannot be read:")
    for row in rows[:MOST_SHOWN]:
        print(f"  {printable(unreadable[row])}")

    print(f"leave them all out: {shell_word('dataset.exclude', file)}")

    return 1


def leave_list(folder: Path, name: str, paths: Iterable[str]) -> Path:
    """Leave paths, one in a line, beside a list of that name that somebody has edited.

    Returns:
        The file: of another name where there is such a list.
    """
    place = Owned(folder)
    free = place.free_name(name)
    place.write(free, "".join(f"{path}\n" for path in paths))
    return folder / free
