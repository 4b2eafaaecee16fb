"""A content-addressed cache on disk: each entry is built once and found again.

Also by jobs that run side by side.
"""

import datetime
import errno
import functools
import hashlib
import importlib.util
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from mlu.system.errors import UserError, first_line

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
PROGRESS = "progress"
"""File in a draft from which a build that was ended may go on; all else that it left is removed."""

DRAFT, LOCK, USES = ".draft", ".lock", ".uses"
"""Ends of the names of what stands beside an entry: where it is built, the lock of that, and which
runs have asked for it."""

PACKAGE = __name__.partition(".")[0]
"""This package, whose code each key names by itself."""

_DAMAGED = "cached %s in %s is damaged (%s): building it again"

Content = TypeVar("Content")


@dataclass(frozen=True)
class Entry:
    """A finished piece of work: its files, and what was noted when they were made.

    Facts are JSON values, with the `date`.
    """

    folder: Path
    facts: dict[str, Any]
    fresh: bool


class Store:
    """Entries under `root/<kind>/<hash of the key>`.

    They are made under another name and renamed, so never half-written.
    """

    def __init__(self, root: Path | str, user: Path | None = None) -> None:
        """A cache in a folder.

        Args:
            root: The folder.
            user: Of the run that asks; it is noted beside each entry. None notes nobody.
        """
        self.root, self.user = Path(root), user

    def holds(self, kind: str, key: Mapping[str, Any]) -> bool:
        """Whether there is an entry of `key`, damaged or not."""
        return self.folder(kind, key).exists()

    def folder(self, kind: str, key: Mapping[str, Any]) -> Path:
        return self.root / kind / digest(key)

    def lock(self, kind: str, key: Mapping[str, Any]) -> FileLock:
        """The lock under which an entry is built.

        One process may take it several times over; it falls when the process ends.
        """
        folder = self.folder(kind, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(folder.with_suffix(LOCK), is_singleton=True)

    @contextmanager
    def claim(self, kind: str, key: Mapping[str, Any]) -> Iterator[bool]:
        """Whether no other process builds the entry of `key`, nor will until the block ends."""
        try:
            lock = self.lock(kind, key).acquire(blocking=False)
        except Timeout:
            yield False
            return
        with lock:
            yield True

    def get(
        self, kind: str, key: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any]]
    ) -> Entry:
        """Find the entry of `key`, or build it while other processes that ask for it wait.

        Args:
            kind: A folder name, such as `original`.
            key: All that the content depends on, as JSON values.
            build: Fills the folder it is given, in which there is at most PROGRESS, and returns
                facts to keep with it, as JSON values.

        Returns:
            The entry; `fresh` tells whether `build` ran. One whose files do not match their
            checksums is built again.
        """
        folder = self.folder(kind, key)
        with self.lock(kind, key):
            if self.user is not None:
                note_use(folder, key, self.user)

            if folder.exists() or folder.is_symlink():
                fault = damage(folder)
                if fault is None:
                    (folder / PROGRESS).unlink(missing_ok=True)
                    return Entry(folder, read_manifest(folder)["facts"], fresh=False)

                log.warning(_DAMAGED, kind, folder, fault)
                remove(folder)

            draft = empty_draft(folder)
            facts = {**build(draft), "date": now()}
            write_manifest(draft, kind, key, facts)
            draft.rename(folder)
            (folder / PROGRESS).unlink(missing_ok=True)

            return Entry(folder, facts, fresh=True)

    def read(
        self,
        kind: str,
        key: Mapping[str, Any],
        build: Callable[[Path], Mapping[str, Any]],
        open_entry: Callable[[Entry], Content],
    ) -> Content:
        """The content of the entry of `key`: found or built, as by `get`, and opened.

        Checksums say that files are those that were written, not who wrote them. So what is found
        and cannot be opened is damaged as well, and built again.

        Args:
            kind: As in `get`, and so are `key` and `build`.
            key: See there.
            build: See there.
            open_entry: Reads the files, without running anything that they hold; raises what it
                will where they are not as `build` writes them.
        """
        with self.lock(kind, key):
            entry = self.get(kind, key, build)
            try:
                return open_entry(entry)
            except Exception as fault:
                if entry.fresh or of_the_machine(fault):
                    raise
                reason = f"{type(fault).__name__}: {first_line(fault)}"

            log.warning(_DAMAGED, kind, entry.folder, reason)
            remove(entry.folder)

            return open_entry(self.get(kind, key, build))

    def drop(self, kind: str, unwanted: Callable[[Mapping[str, Any]], bool]) -> None:
        """Remove entries, but for those that another process reads or builds at the moment.

        Args:
            kind: As in `get`.
            unwanted: Says of an entry's key whether it shall go. A damaged entry, whose key nobody
                knows, stays.
        """
        for folder in sorted((self.root / kind).glob("*/")):
            if damage(folder) is not None:
                continue
            key = read_manifest(folder)["key"]
            if not unwanted(key):
                continue
            with self.claim(kind, key) as ours:
                if ours and self.folder(kind, key) == folder:
                    remove(folder)


def of_the_machine(fault: BaseException | None) -> bool:
    """Whether a fault, or what it came of, is no file's own.

    It is that of a machine short of memory or of file handles.
    """
    while fault is not None:
        lacks_handles = isinstance(fault, OSError) and fault.errno not in (None, errno.ENOENT)
        if lacks_handles or isinstance(fault, MemoryError):
            return True
        fault = fault.__cause__

    return False


def empty_draft(folder: Path) -> Path:
    """The folder in which an entry is built, with nothing in it but PROGRESS."""
    draft = folder.with_suffix(DRAFT)
    if draft.is_symlink():
        draft.unlink()

    draft.mkdir(exist_ok=True)
    empty(draft, keep=PROGRESS)
    return draft


def note_use(folder: Path, key: Mapping[str, Any], user: Path) -> None:
    """Note beside an entry, before it is there, its key and which run has asked for it.

    Of one that is there without a note nobody knows who asked before: it is noted as not complete.
    """
    noted, run = uses_of(folder), str(user.absolute())
    if noted is None:
        noted = {"key": key, "complete": not folder.exists(), "runs": []}
    if run in noted["runs"]:
        return

    file = folder.with_suffix(USES)
    draft = file.with_suffix(f"{USES}.new")
    draft.write_text(json.dumps({**noted, "runs": [*noted["runs"], run]}))
    draft.replace(file)


def uses_of(folder: Path) -> dict[str, Any] | None:
    """The `key` of an entry, folders of the `runs` that have asked for it, and if all are there.

    None where nobody has noted that, as versions did before there were notes.
    """
    try:
        noted = json.loads(folder.with_suffix(USES).read_bytes())
        fits = isinstance(noted["key"], dict) and isinstance(noted["runs"], list)
        fits = fits and all(isinstance(run, str) for run in noted["runs"])
        fits = fits and isinstance(noted["complete"], bool)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return noted if fits else None


def write_manifest(
    draft: Path, kind: str, key: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Write what an entry is, with the checksums of its files, and a seal on that."""
    files = sorted(file for file in draft.iterdir() if file.name != PROGRESS)
    checksums = {file.name: checksum(file) for file in files}
    manifest = {"stage": kind, "key": key, "facts": facts, "checksums": checksums}

    sealed = {**manifest, "seal": digest(manifest)}
    (draft / MANIFEST).write_text(json.dumps(sealed, indent=1))


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it; of a link, which we make none of, the link alone."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink()


def empty(folder: Path, keep: str) -> None:
    """Remove all that is in a folder, but for what is named `keep`."""
    for found in folder.iterdir():
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        elif found.name != keep:
            found.unlink()


def now() -> str:
    """Date and time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, as 16 hexadecimal digits; the order of keys does not count.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def checksum(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_of(weights: str | Path | None) -> str | None:
    """Content for which a path or a name of weights stands: the checksum, else the name itself."""
    if weights is None:
        return None
    return checksum(Path(weights)) if Path(weights).is_file() else str(weights)


def read_manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return manifest


def sealed_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an entry as it was written, whatever became of its files; None for none."""
    try:
        manifest = read_manifest(folder)
        sealed = manifest.pop("seal") == digest(manifest)
        fits = isinstance(manifest["key"], dict) and isinstance(manifest["checksums"], dict)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    return manifest if sealed and fits else None


def damage(folder: Path) -> str | None:
    """The damage to an entry, or None when its files are the ones that were written."""
    if folder.is_symlink():
        return "it is a link"
    if not (folder / MANIFEST).is_file():
        return f"{MANIFEST} is missing"

    try:
        manifest = read_manifest(folder)
        sealed = manifest.pop("seal") == digest(manifest)
        checksums, _ = manifest["checksums"].items(), manifest["facts"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as fault:
        return f"unreadable {MANIFEST}: {fault}"

    if not sealed:
        return f"{MANIFEST} has another checksum than when it was written"

    for name, expected in checksums:
        if not (folder / name).is_file():
            return f"{name} is missing"
        if checksum(folder / name) != expected:
            return f"{name} has another checksum than when it was written"

    return None


@functools.cache
def code_digest(*modules: str) -> str:
    """Hash of the source of modules and packages (all files below them): part of an entry's key.

    Read once per process: what runs is the code that was there at its start.
    """
    sources = hashlib.sha256()
    for module in modules:
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None, module
        origin = Path(spec.origin)
        files = sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]
        for file in files:
            sources.update(
                f"{file.relative_to(origin.parent)} {file.stat().st_size}\n".encode()
                + file.read_bytes()
            )

    return sources.hexdigest()[:16]


def part_key(part: Any) -> Any:
    """The decisions of a configured object, as JSON values: its class and fields, nested ones too.

    Equal objects have equal keys: the order of fields does not count, 1 is 1.0, and a field with
    `compare=False` decides nothing. A path stands for the content of its file. The code of a class
    outside this package is part of the key; that of this package is for who builds the entry to
    name (`code_digest`).

    Raises:
        UserError: If it holds something whose content cannot be told.
    """
    if isinstance(part, Path):
        return content_of(part)
    if part is None or isinstance(part, bool | int | str):
        return part
    if isinstance(part, float):
        return int(part) if part.is_integer() else part
    if isinstance(part, list | tuple):
        return [part_key(one) for one in part]
    if isinstance(part, Mapping):
        return {str(name): part_key(one) for name, one in part.items()}

    kind = type(part)
    if not is_dataclass(part) or isinstance(part, type):
        raise UserError(
            f"{kind.__module__}.{kind.__qualname__} does not say what it holds, so nothing can be "
            "cached under it: make it a dataclass, whose fields do"
        )

    decisive = [field.name for field in fields(part) if field.compare]

    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "code": outside_code(part),
        "fields": {name: part_key(getattr(part, name)) for name in decisive},
    }


def outside_code(part: object) -> str | None:
    """Hash of the code of an object's class outside this package; None for a class of ours."""
    modules = [kind.__module__ for kind in type(part).__mro__]
    known = {PACKAGE, *sys.stdlib_module_names}
    outside = [module for module in modules if module.partition(".")[0] not in known]
    return code_digest(*dict.fromkeys(outside)) if outside else None
