"""The ledger of requests: a line for each thing that was asked for or done, chained by hashes.

Every line holds the hash of the line before and its own, so none can be changed, left out, put in
or moved unseen, unless all that follow are written anew. What was quoted of it elsewhere, as a
certificate does, tells that too.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mlu.system.errors import UserError, first_line, printable
from mlu.system.store import now

REQUESTS = "requests.jsonl"
"""Name of the ledger, in the folder of outputs."""

ASKED_FOR, DONE, VERIFIED = "request", "done", "verified"
PURGING, PURGED, INTERRUPTED, MENDED = "purging", "purged", "interrupted", "mended"
"""Events: a request came in; a run carried it out; attackers judged it; what knew is about to be
removed; was; was in part, when something ended it; half a line was cut off the end."""

BEFORE_ALL = "0" * 64
"""What the first line holds in place of a hash of the line before."""

_LONGEST_CUT = 500


@dataclass(frozen=True)
class Misfit:
    """The first line of a ledger that does not fit.

    Attributes:
        number: Of the line, from 1.
        reason: In words.
    """

    number: int
    reason: str


@dataclass(frozen=True)
class Ledger:
    """A ledger in a file, which is there from the first line on."""

    file: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it no other process works on the ledger; waits for one that does."""
        lock = self.file.with_name(f"{self.file.name}.lock")
        with FileLock(lock):
            yield

    def lines(self) -> list[dict[str, Any]]:
        """All lines; none where there is no file.

        Raises:
            UserError: If one does not fit.
        """
        found, misfit = self.examine()
        if misfit is not None:
            raise UserError(
                f"line {misfit.number} of {self.file} does not fit: {misfit.reason}; "
                "keep the file for whoever asks, and move it away to begin another"
            )
        return found

    def examine(self) -> tuple[list[dict[str, Any]], Misfit | None]:
        """The lines up to the first that does not fit, and that one."""
        found: list[dict[str, Any]] = []
        texts, rest = self.parts()
        before = BEFORE_ALL
        for number, text in enumerate(texts, 1):
            line = parsed_line(text)
            if isinstance(line, str):
                return found, Misfit(number, line)
            if reason := misfit_of(line, number, before):
                return found, Misfit(number, reason)
            found.append(line)
            before = line["hash"]

        if rest:
            return found, Misfit(len(texts) + 1, "it has no end, as when writing was cut short")
        return found, None

    def parts(self) -> tuple[list[bytes], bytes]:
        """The lines as they are written, without their ends, and what follows the last end."""
        if self.file.is_symlink():
            raise UserError(f"{self.file} is a link: put the ledger itself there")
        try:
            content = self.file.read_bytes()
        except FileNotFoundError:
            return [], b""
        except OSError as fault:
            raise UserError(f"{self.file} cannot be read: {first_line(fault)}") from fault

        *texts, rest = content.split(b"\n")
        return texts, rest

    def append(self, event: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write one more line, whole or not at all; returns it.

        Raises:
            UserError: If a line before does not fit.
            OSError: If it cannot be written.
        """
        lines = self.lines()
        before = lines[-1]["hash"] if lines else BEFORE_ALL
        line = {"line": len(lines) + 1, "date": now(), "event": event, **content, "before": before}
        line["hash"] = hash_of(line)

        text = as_text(line) + b"\n"
        with self.file.open("ab", buffering=0) as stream:
            size = stream.tell()
            try:
                written = stream.write(text)
                if written != len(text):
                    raise OSError(f"{self.file}: no room for a line of {len(text)} bytes")
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(size)
                raise

        return line

    def mend(self) -> None:
        """Cut half a line off the end, as a machine that went down may have left, and say so."""
        texts, rest = self.parts()
        if not rest:
            return

        misfit = self.examine()[1]
        if misfit is None or misfit.number <= len(texts):
            # What stands before does not fit either, so nobody knows what this is half of.
            return

        with self.file.open("r+b") as stream:
            stream.truncate(self.file.stat().st_size - len(rest))
        cut = rest[:_LONGEST_CUT].decode(errors="replace")
        self.append(MENDED, {"cut": printable(cut), "bytes": len(rest)})


def parsed_line(text: bytes) -> dict[str, Any] | str:
    """The line that stands in a text, or why there is none."""
    try:
        line = json.loads(text)
        as_written = as_text(line)
    except (ValueError, RecursionError):
        return "it is no JSON"

    if not isinstance(line, dict):
        return "it is no JSON object"
    if as_written != text:
        return "it is written otherwise than mlu writes a line"

    return line


def misfit_of(line: Mapping[str, Any], number: int, before: str) -> str | None:
    """Why a line cannot stand where it does; None where it can."""
    if line.get("hash") != hash_of(line):
        return "its hash is another than that of what it says"
    if line.get("before") != before:
        return "it does not follow the line before"
    if line.get("line") != number:
        return f"it says that it is line {line.get('line')}"
    return None


def hash_of(line: Mapping[str, Any]) -> str:
    """SHA-256 of all that a line holds besides its own hash, in hexadecimal."""
    rest = {key: value for key, value in line.items() if key != "hash"}
    return hashlib.sha256(as_text(rest)).hexdigest()


def as_text(line: Any) -> bytes:
    """The one way in which a line is written."""
    return json.dumps(line).encode()


def lines_about(lines: list[dict[str, Any]], results: str) -> list[dict[str, Any]]:
    """The lines about one run.

    Args:
        lines: Of a ledger.
        results: SHA-256 of the run's `results.json`, by which a ledger knows it.
    """
    return [line for line in lines if results_in(line) == results]


def results_in(line: Mapping[str, Any]) -> str | None:
    """SHA-256 of the `results.json` of the run that a line is about; None for none."""
    run = line.get("run")
    found = run.get("results") if isinstance(run, Mapping) else None
    return found if isinstance(found, str) else None
