"""Data sets whose images are files.

A label table says what is on each, and a row may be left out by name.
"""

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlu.data.base import Dataset, Images, LabelledImages, TaskName, check_fields
from mlu.data.files import NO_FILE, PIXEL_CODE, ImageFiles
from mlu.data.prepared import Prepared
from mlu.data.same_files import equal_files, named_rows, paths_of_files
from mlu.system.commands import images_command
from mlu.system.errors import UserError, printable
from mlu.system.store import code_digest, digest

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabelTable:
    """All that the files of a data set say about its images; no image has been looked at.

    Attributes:
        folder: The folder that holds the images.
        paths: Of each image, relative to the folder.
        targets: As in `LabelledImages`, and so are `labels`, `task`, `known`, `identities` and
            `split`.
        origin: Where the images come from, for messages: where to get one that is missing.
        source: The file that names the images, where `dataset.table` can name it; else None.
    """

    folder: Path
    paths: Sequence[str]
    targets: np.ndarray
    labels: tuple[str, ...]
    origin: str
    task: TaskName = "multilabel"
    known: np.ndarray | None = None
    identities: np.ndarray | None = None
    split: np.ndarray | None = None
    source: Path | None = None

    def subset(self, rows: np.ndarray) -> "LabelTable":
        """The given rows, in their order."""
        return replace(
            self,
            paths=[self.paths[row] for row in rows],
            targets=self.targets[rows],
            known=None if self.known is None else self.known[rows],
            identities=None if self.identities is None else self.identities[rows],
            split=None if self.split is None else self.split[rows],
        )


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """A data set in files. A subclass reads its label table; the rest is the same for all of them.

    Images that `python -m mlu.prepare` has decoded are read from its arrays, the others are decoded
    as they are needed. Either way the pixels are the same.

    Attributes:
        split: `paper`: the project draws 65/25/10 over all images, so that no person is in two
            parts. `official`: the data set's own parts; where it has no validation part, that is
            drawn from its training part.
        prepared: Folder of the decoded images of all data sets.
        exclude: A text file, or several, with a path per line, in any of its spellings, also that
            of a link to the same file: images to leave out.
    """

    split: str = "paper"
    prepared: Path | str
    exclude: Path | str | Sequence[Path | str] | None = None

    @abstractmethod
    def read(self) -> LabelTable:
        """The label table.

        Raises:
            UserError: Naming file and row, where it is missing, doubled or malformed.
        """

    def load(self) -> LabelledImages:
        """Read the labels; the images stay in their files.

        Raises:
            UserError: If a file, row, image or label is missing, doubled or malformed.
        """
        check_fields(self.name, self.split, self.image_size)
        table = self.label_table()
        prepared = self.arrays(table)
        images: Images = prepared.opened(images_command("mlu.prepare", self.name, self.root))
        unreadable = prepared.unreadable

        kept = self.kept(table, prepared.state)
        refuse_files_twice(table, prepared.state, kept)
        if len(kept) < len(table.paths):
            table, images = table.subset(kept), Selected(images, kept)
            unreadable = {
                place: unreadable[row]
                for place, row in enumerate(kept.tolist())
                if row in unreadable
            }

        return LabelledImages(
            name=self.name,
            task=table.task,
            images=images,
            targets=table.targets,
            labels=table.labels,
            fingerprint=fingerprint(table, prepared.state[kept, 0], self.image_size),
            known=table.known,
            identities=table.identities,
            split=table.split,
            paths=table.paths,
            unreadable=unreadable,
        )

    def label_table(self) -> LabelTable:
        """The label table, its paths as their files are spelt.

        Raises:
            UserError: As `read`.
        """
        table = self.read()
        return replace(table, paths=paths_of_files(table.folder, table.paths))

    def arrays(self, table: LabelTable) -> Prepared:
        """Where the decoded images of a table are, or will be.

        Raises:
            UserError: If no image is there at all.
        """
        files = ImageFiles(table.folder, table.paths, self.image_size)
        if not len(files):
            raise UserError(
                f"the label table of {self.name} lists no image: give it a row for each"
            )

        prepared = Prepared.of(Path(self.prepared), self.name, files, table.source)
        if (prepared.state == NO_FILE).all():
            why = prepared.missing.get(0)
            raise UserError(
                f"none of the {len(files):,} images is in {files.folder}, "
                f"such as {files.paths[0]}: {why or f'get them from {table.origin}'}"
            )

        return prepared

    def kept(self, table: LabelTable, state: np.ndarray) -> np.ndarray:
        """Rows that `exclude` does not name, ascending.

        Args:
            table: All rows.
            state: Of their files.
        """
        if self.exclude is None:
            return np.arange(len(table.paths))

        files = [self.exclude] if isinstance(self.exclude, Path | str) else list(self.exclude)
        lines = {line for file in files for line in listed_paths(Path(file))}
        out, unknown = named_rows(table.folder, table.paths, state, lines)
        log.info("%s: %d of %d images are left out", self.name, out.sum(), len(out))
        if unknown:
            log.warning(
                "dataset.exclude names %d images that %s lacks, such as %s",
                len(unknown), self.name, printable(min(unknown)),
            )  # fmt: skip

        return np.flatnonzero(~out)


@dataclass(frozen=True, eq=False)
class Selected:
    """Some rows of other images (satisfies `Images`).

    Attributes:
        images: All of them.
        rows: Which ones, in order, shape (n,).
    """

    images: Images
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        return self.images[self.rows[rows]]


def all_images(images: Images) -> Images:
    """The images that some were selected from; themselves where they are all."""
    return images.images if isinstance(images, Selected) else images


def listed_paths(file: Path) -> set[str]:
    """The lines of a text file with anything on them."""
    try:
        return {line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"cannot read dataset.exclude={file}: {fault}") from fault


def refuse_files_twice(table: LabelTable, state: np.ndarray, rows: np.ndarray) -> None:
    """Raises UserError if two of some rows are one file, by a link or by the case of letters."""
    pairs = equal_files(state[rows])
    if len(pairs):
        one, other = (table.paths[row] for row in rows[pairs[0]])
        raise UserError(
            f"row {one} is there twice: {other} is the same file in {table.folder} "
            f"({len(pairs):,} such pairs); keep one row of each in the label table, or leave the "
            "photograph out with dataset.exclude"
        )


def fingerprint(table: LabelTable, sizes: np.ndarray, image_size: int) -> str:
    """Hash of all that a table says, and of the images' names and sizes in bytes.

    It does not depend on where the files lie, so another machine with the same files finds the same
    one.
    """
    content = hashlib.sha256("\n".join(table.paths).encode())
    for values in (sizes, table.targets, table.known, table.identities, table.split):
        content.update(b"none" if values is None else np.ascontiguousarray(values).tobytes())

    return digest(
        {
            "content": content.hexdigest(),
            "labels": table.labels,
            "task": table.task,
            "image_size": image_size,
            "code": code_digest(*PIXEL_CODE),
        }
    )
