"""The notes of jobs: where each writes, what it is of, and what has ended it.

A job leaves one in its folder, and one of a sweep another among those of its sweep. So a sweep
knows its own jobs wherever their folders are, and whatever else lies there.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mlu.runs.layout import CONFIG, RESULTS, write_json
from mlu.system.errors import UserError
from mlu.system.owned import HIDDEN

MARK = f"{HIDDEN}/job.json"
"""File of the note in a job's own folder."""
ASKED = f"{HIDDEN}/{CONFIG}"
"""File of a job's configuration before references were resolved."""
PATIENCE = 10
"""Seconds that a job waits for its folder: what loads data outlives a killed job by five."""


@dataclass(frozen=True)
class Note:
    """The words of a job about itself.

    Attributes:
        sweep: Identity of the sweep that it is one of; None for a run of its own.
        number: Which of its jobs.
        folder: Where it writes; absolute.
        overrides: What it was given.
        choices: The option of each group of configurations, such as `method: wf`.
        command: What repeats it by itself.
        stale: The stamp of the results that stood there when it began; None where there were none.
        error: What has ended it; None where nothing has, as far as it could tell.
    """

    sweep: str | None
    number: int
    folder: Path
    overrides: tuple[str, ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    stale: str | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"folder": str(self.folder)}

    @classmethod
    def from_json(cls, content: Any) -> "Note":
        """The note of what was read; raises one of UNREADABLE where it is none."""
        return cls(
            content["sweep"],
            int(content["number"]),
            Path(content["folder"]),
            tuple(str(override) for override in content["overrides"]),
            dict(content["choices"]),
            str(content["command"]),
            content["stale"],
            content["error"],
        )

    @property
    def is_last(self) -> bool:
        """Whether no other job has begun in its folder since."""
        last = note_in(self.folder)
        return last is not None and (last.sweep, last.number) == (self.sweep, self.number)

    @property
    def is_done(self) -> bool:
        """Whether its results are there, and not those of an earlier job alone."""
        stamp = stamp_of(self.folder / RESULTS)
        return self.error is None and stamp not in (None, self.stale)


UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading a file that is no note may raise."""


@dataclass(frozen=True)
class Noticeboard:
    """The place where the jobs of one sweep leave their notes, whichever processes they run in.

    Attributes:
        sweep: Identity of the sweep.
        folder: Absolute; made with the first note.
    """

    sweep: str
    folder: Path

    def leave(self, note: Note) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(note.to_json(), self.folder / f"{note.number}.json")

    def notes(self) -> list[Note]:
        """The notes that can be read, in the order of the jobs."""
        found = []
        for file in self.folder.glob("*.json"):
            with suppress(*UNREADABLE):
                found.append(Note.from_json(json.loads(file.read_text())))
        return sorted(found, key=lambda note: note.number)


def leave_mark(note: Note, composed: str) -> None:
    """Leave a job's note in its own folder, with its configuration as text."""
    file = note.folder / MARK
    file.parent.mkdir(parents=True, exist_ok=True)
    (note.folder / ASKED).write_text(composed)
    write_json(note.to_json(), file)


def note_in(folder: Path) -> Note | None:
    """The note of the last job that has begun in a folder; None where there is none to read."""
    try:
        return Note.from_json(json.loads((folder / MARK).read_text()))
    except UNREADABLE:
        return None


def stamp_of(file: Path) -> str | None:
    """The sign that tells a file from one that takes its place; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return f"{found.st_ino} {found.st_mtime_ns}"


def hold(folder: Path) -> AbstractContextManager[Any]:
    """The lock of a folder, held until its block ends; raises UserError if another job holds it."""
    lock = folder / HIDDEN / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(lock).acquire(timeout=PATIENCE)
    except Timeout as fault:
        raise UserError(
            f"another run writes into {folder}: wait for its end, or name another folder "
            "(hydra.run.dir=..., of a sweep hydra.sweep.dir=...)"
        ) from fault


def refuse_held(folder: Path) -> None:
    """Raises UserError if a job is at work in a folder."""
    if (folder / HIDDEN / "lock").is_file():
        with hold(folder):
            pass
