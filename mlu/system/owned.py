"""The files of a folder that mlu has written: only these does it ever replace or remove.

A folder that mlu writes into has a hidden one, `.mlu`, with the checksums of what was written
there. A file that is not listed, or has changed since, is somebody else's.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from mlu.system.errors import UserError
from mlu.system.store import checksum

HIDDEN = ".mlu"
"""Folder, in each that mlu writes into, of what nobody else reads."""

_LIST, _NEW = "files.json", "new"
_KEPT = 2
"""Checksums of a file that are kept: whoever is ended in between leaves the one before or the new
one."""


@dataclass(frozen=True)
class Owned:
    """A folder, and which of its files mlu has written."""

    folder: Path

    @property
    def listing(self) -> Path:
        return self.folder / HIDDEN / _LIST

    @property
    def drafts(self) -> Path:
        """Where files are written before they come into the folder; `fresh_drafts` makes it."""
        return self.folder / HIDDEN / _NEW

    def known(self) -> dict[str, list[str] | None]:
        """Checksums of each file; None where whatever is there is ours, since it is being written.

        Empty where there is no list, or none that can be read.
        """
        try:
            files = json.loads(self.listing.read_bytes())["files"]
            return {str(name): sums if sums is None else [*sums] for name, sums in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def foreign(self, names: Iterable[str]) -> list[str]:
        """Some names, as far as there is something under them that mlu has not written."""
        known = self.known()
        return [name for name in names if not self.is_ours(name, known.get(name, []))]

    def is_ours(self, name: str, sums: Sequence[str] | None) -> bool:
        """Whether there is nothing by this name, or a file with one of these checksums."""
        file = self.folder / name
        if not os.path.lexists(file):
            return True
        if file.is_symlink() or not file.is_file():
            return False
        return sums is None or checksum(file) in sums

    def refuse_foreign(self, names: Iterable[str], remedy: str) -> None:
        """Raises UserError, with the remedy, where a file by one of these names is not ours."""
        found = self.foreign(names)
        if found:
            raise UserError(
                f"{self.folder} has files that mlu has not written, or not as they are now, "
                f"and would overwrite ({', '.join(found)}): {remedy}"
            )

    def is_claimed(self, name: str) -> bool:
        """Whether a library was to write a file, and nobody has noted since what it wrote."""
        return self.known().get(name, []) is None

    def claim(self, names: Iterable[str]) -> None:
        """List what is about to be written by a library: until `seal` it may be anything."""
        self.note(dict.fromkeys(names))

    def seal(self, names: Iterable[str]) -> None:
        """List files as they are, which have been written for us."""
        there = [name for name in names if (self.folder / name).is_file()]
        self.note({name: [checksum(self.folder / name)] for name in there})

    def note(self, sums: dict[str, list[str] | None]) -> None:
        """Put files on the list, whole or not at all."""
        self.listing.parent.mkdir(parents=True, exist_ok=True)
        draft = self.listing.with_suffix(".new")
        draft.write_text(json.dumps({"files": {**self.known(), **sums}}, indent=1))
        draft.replace(self.listing)

    def fresh_drafts(self) -> Path:
        """The folder of drafts, with nothing in it."""
        self.drop_drafts()
        self.drafts.mkdir(parents=True)
        return self.drafts

    def drop_drafts(self) -> None:
        if self.drafts.is_dir():
            shutil.rmtree(self.drafts)

    def settle(self, *names: str) -> None:
        """Move drafts into the folder, over what is ours by the same names."""
        known = self.known()
        new = {name: checksum(self.drafts / name) for name in names}
        self.note({name: [*(known.get(name) or []), sha][-_KEPT:] for name, sha in new.items()})
        for name in names:
            (self.drafts / name).replace(self.folder / name)

    def replace(self, names: Iterable[str], last: str) -> None:
        """Put all drafts in the place of all that is ours by these names.

        Args:
            names: Of everything that may be there, or come.
            last: The name that says that all is there: it goes first, and comes last.
        """
        names = list(names)
        new = sorted(draft.name for draft in self.drafts.iterdir() if draft.name != last)
        for name in (last, *names):
            (self.folder / name).unlink(missing_ok=True)
        self.settle(*new, last)

    def write(self, name: str, content: str) -> None:
        """Write a file of text, under another name first."""
        self.drafts.mkdir(parents=True, exist_ok=True)
        # Half of a pair of surrogates, as in a name that is not UTF-8, is no text.
        (self.drafts / name).write_text(content, encoding="utf-8", errors="replace")
        self.settle(name)
        self.drop_drafts()

    def free_name(self, name: str) -> str:
        """The name, or where somebody else's file has it that with the first number after it."""
        path = Path(name)
        numbered: Iterator[str] = (f"{path.stem}_{number}{path.suffix}" for number in count(2))
        return next(one for one in chain([name], numbered) if not self.foreign([one]))
