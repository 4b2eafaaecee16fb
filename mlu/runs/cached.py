"""The entries of the cache, and which of them knew a label of some data."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mlu.system.store import (
    DRAFT,
    LOCK,
    MANIFEST,
    PROGRESS,
    USES,
    checksum,
    digest,
    sealed_manifest,
    uses_of,
)

CACHE = "cache"
"""Folder of the cache, in that of outputs."""

DRAWN = ("faces", "multidigits")
"""Kinds of entries that are data: images which a data set draws, with their labels."""

UNTRAINED = ("random", "start")
"""Kinds of entries that are models which have not seen the data."""

WITHOUT_LABEL = ("retrain", "shadow-retrain")
"""Kinds of entries that are models trained without the labels which their key calls `forgotten`."""

_NAME = re.compile(rf"[0-9a-f]{{16}}(\{DRAFT})?")

WRITTEN = (
    *(f"{name}.safetensors" for name in ("weights", "train", "validation", "test")),
    "evidence.npz",
)
"""Names of all files that entries are made of, where none says which it has."""


@dataclass(frozen=True)
class CacheEntry:
    """An entry of the cache, whole, damaged or half-built.

    Attributes:
        folder: Where it is.
        key: All that it depends on; None where nobody can tell.
        checksums: SHA-256 of its files, as they were written; empty where nobody can tell.
        users: Folders of the runs that have asked for it, as far as that was noted.
        complete: Whether these are all: an older version noted none.
    """

    folder: Path
    key: Mapping[str, Any] | None
    checksums: Mapping[str, str]
    users: tuple[str, ...]
    complete: bool

    @property
    def kind(self) -> str:
        """Its kind, such as `original`."""
        return self.folder.parent.name

    @property
    def name(self) -> str:
        """Its name in the cache, such as `original/0123456789abcdef`."""
        return f"{self.kind}/{self.folder.name}"

    def files(self) -> list[Path]:
        """Its files that mlu has written, the one that says what it is last."""
        known = {*(self.checksums or WRITTEN), PROGRESS, MANIFEST}
        found = []
        for file in sorted(self.folder.iterdir()):
            if file.name in known and (file.is_file() or file.is_symlink()):
                found.append(file)
        return sorted(found, key=lambda file: file.name == MANIFEST)

    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.lstat().st_size for file in self.files())

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether no process reads or builds it, nor will until the block ends."""
        lock = FileLock(self.folder.with_suffix(LOCK))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return

        try:
            yield True
        finally:
            lock.release()

    def remove(self) -> dict[str, str]:
        """Remove its files, and its folder unless somebody has put something else there.

        The file that says what it is goes last, so that who is ended in between can go on.

        Returns:
            SHA-256 of each file as it was; of a link what it led to, which stays.
        """
        gone = {}
        for file in self.files():
            linked = file.is_symlink()
            gone[file.name] = f"a link to {file.readlink()}" if linked else checksum(file)
            file.unlink()

        if not any(self.folder.iterdir()):
            self.folder.rmdir()
        if not any(self.folder.with_suffix(end).exists() for end in ("", DRAFT)):
            self.folder.with_suffix(USES).unlink(missing_ok=True)

        return gone


def entries_in(cache: Path) -> Iterator[CacheEntry]:
    """All entries of a cache that are folders by names of its own; links are followed nowhere."""
    for folder in folders_of_entries(cache):
        if folder.is_dir() and not folder.is_symlink():
            yield entry_of(folder)


def links_in(cache: Path) -> list[Path]:
    """Links where a cache has entries, or folders of them: mlu makes none."""
    kinds = [kind for kind in sorted(cache.iterdir()) if kind.is_symlink()]
    return [*kinds, *(folder for folder in folders_of_entries(cache) if folder.is_symlink())]


def folders_of_entries(cache: Path) -> Iterator[Path]:
    """Whatever is called as entries are, and as their drafts."""
    for kind in sorted(cache.iterdir()):
        if kind.is_dir() and not kind.is_symlink():
            yield from (one for one in sorted(kind.iterdir()) if _NAME.fullmatch(one.name))


def entry_of(folder: Path) -> CacheEntry:
    """The entry in a folder, by what it says of itself and what is noted beside it."""
    name, noted = folder.with_suffix("").name, uses_of(folder)
    manifest = sealed_manifest(folder) or {}
    told = [manifest.get("key"), noted and noted["key"]]
    keys = [key for key in told if key and digest(key) == name]

    return CacheEntry(
        folder,
        key=keys[0] if keys else None,
        checksums={str(file): str(sum_) for file, sum_ in manifest.get("checksums", {}).items()},
        users=tuple(noted["runs"]) if noted and keys else (),
        complete=bool(noted and keys and noted["complete"]),
    )


def knew(entry: CacheEntry, data: str, columns: Iterable[int]) -> bool | None:
    """Whether labels of some data can be read from an entry, or from what it was made of.

    Args:
        entry: Of the cache.
        data: The data's fingerprint.
        columns: Of the labels.

    Returns:
        None where nobody can tell.
    """
    if entry.kind in DRAWN:
        return False
    if entry.key is None:
        return None
    if entry.key.get("data") != data or entry.kind in UNTRAINED:
        return False

    if entry.kind in WITHOUT_LABEL:
        return not set(columns) <= set(forgotten_columns(entry.key))

    return True


def forgotten_columns(key: Mapping[str, Any]) -> Sequence[int]:
    """The columns that a model was trained without, by its key."""
    found = key.get("forgotten")
    return found if isinstance(found, list) else []
