"""Reasons why images that a table names are not there: what is there by nearly the same name."""

import os
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from mlu.system.commands import shell_word

MOST_SEEN = 500_000
"""Files of a folder, and of those in it, that are looked at."""

ENDING = re.compile(
    r"\.(avif|bmp|dng|gif|hei[cf]|jfif|jp2|jpe?g|jpe|p[bgpn]m|png|tiff?|webp)$", re.IGNORECASE
)
"""What ends the name of an image."""

KINDS = {
    "backslash": "\\ parts its folders",
    "percent": "it is encoded as in a web address",
    "blanks": "it has blanks at an end",
    "unicode": "its accents are composed otherwise (Unicode NFC, NFD)",
    "no ending": "it lacks the ending",
    "too much ending": "the file has no ending",
    "ending": "it has another ending",
    "case": "large and small letters differ",
    "folder": "it is in another folder",
}
"""Differences of a name in a table from that of its file, and how they are told."""


@dataclass(frozen=True)
class NearMiss:
    """A name in a table, and a file that is likely meant.

    Attributes:
        named: As the table has it.
        there: Of the file, relative to the images' folder, with `/`.
    """

    named: str
    there: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names in KINDS of how they differ."""
        return tuple(name_differences(self.named, self.there))


def why_missing(
    folder: Path, paths: Sequence[str], rows: Sequence[int], source: Path | None = None
) -> dict[int, str]:
    """The reason for each missing file, with what mends it.

    Args:
        folder: The images' folder.
        paths: Of all images, relative to it.
        rows: Those that are missing.
        source: The table that names them, where `dataset.table` can name that.

    Returns:
        A line for each row; empty where nothing can be told.
    """
    if not rows:
        return {}
    if source is not None and not folder.is_dir():
        return dict.fromkeys(rows, f"there is no folder {folder}: name it with dataset.root=...")
    if source is not None and (above := folder_above(folder, paths, rows)):
        roots = mended_roots(above, source)
        return dict.fromkeys(rows, f"its folder is not {folder} but {above}: set {roots}")

    found = dict(near_misses(folder, paths, rows))
    often = Counter(miss.kinds for miss in found.values())

    lines = {}
    for row in rows:
        miss = found.get(row)
        lines[row] = ""
        if miss is not None and miss.kinds:
            lines[row] = line_of(miss, often[miss.kinds], len(rows), folder, source)

    return lines


def folder_above(folder: Path, paths: Sequence[str], rows: Sequence[int]) -> Path | None:
    """The folder above this one, if names are relative to that: of the first image and the last."""
    above = folder.absolute().parent
    named = (paths[rows[0]], paths[rows[-1]])
    return above if all((above / name).is_file() for name in named) else None


def near_misses(
    folder: Path, paths: Sequence[str], rows: Sequence[int]
) -> Iterator[tuple[int, NearMiss]]:
    """Missing rows and the files that they likely mean."""
    spare: dict[str, list[str]] = defaultdict(list)
    taken = set(paths)
    for there in files_below(folder):
        if there not in taken:
            spare[loose(there)].append(there)

    for row in rows:
        meant = likely_meant(paths[row], spare.get(loose(paths[row]), ()))
        if meant is not None:
            yield row, NearMiss(paths[row], meant)


def files_below(folder: Path) -> Iterator[str]:
    """Files of a folder and of those in it, the nearest first, relative and with `/`."""
    waiting, seen = [""], 0
    for inner in waiting:
        try:
            with os.scandir(folder / inner) as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    seen += 1
                    if seen > MOST_SEEN:
                        return

                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{inner}{entry.name}/")
                    else:
                        yield inner + entry.name
        except OSError:  # a folder that one may not look into has nothing to tell
            continue


def web_path(name: str) -> str:
    """A name with `/` and decoded, without blanks at the ends of its parts, composed."""
    parts = unquote(name.replace("\\", "/")).split("/")
    kept = [part.strip() for part in parts if part.strip() not in ("", ".")]
    return unicodedata.normalize("NFC", "/".join(kept))


def loose(name: str) -> str:
    """A file's own name, so that all near spellings are the same."""
    return ENDING.sub("", web_path(name).rpartition("/")[2]).casefold()


def likely_meant(named: str, candidates: Iterable[str]) -> str | None:
    """The one whose folders and ending are most like those of a name; None if several are."""
    scores: dict[tuple[int, bool], list[str]] = defaultdict(list)
    for there in candidates:
        scores[likeness(web_path(named), web_path(there))].append(there)

    best = scores[max(scores)] if scores else []

    return best[0] if len(best) == 1 else None


def likeness(named: str, there: str) -> tuple[int, bool]:
    """Number of the last folders that are the same, and whether the ending is."""
    common = 0
    parts = (PurePosixPath(path.casefold()).parts[-2::-1] for path in (named, there))
    for one, other in zip(*parts, strict=False):
        if one != other:
            break
        common += 1

    return common, image_ending(named).lower() == image_ending(there).lower()


def image_ending(name: str) -> str:
    match = ENDING.search(name)
    return match[0] if match else ""


def name_differences(named: str, there: str) -> Iterator[str]:
    """Names in KINDS of how a name differs from that of a file, in their order."""
    name = named
    if "\\" in name:
        yield "backslash"
        name = name.replace("\\", "/")
    if (unquote(name) == name) != (unquote(there) == there):
        yield "percent"

    name, file = unquote(name), unquote(there)
    if any(part != part.strip() for part in name.split("/")) and name != file:
        yield "blanks"
    composed = [unicodedata.is_normalized("NFC", one) for one in (name, file)]
    if composed[0] != composed[1]:
        yield "unicode"

    yield from plain_differences(web_path(name), web_path(file))


def plain_differences(name: str, file: str) -> Iterator[str]:
    """Differences of two names that are `web_path`s, in the order of KINDS."""
    endings = image_ending(name), image_ending(file)
    if endings[0].lower() != endings[1].lower():
        yield "ending" if all(endings) else "too much ending" if endings[0] else "no ending"

    stems = name.removesuffix(endings[0]), file.removesuffix(endings[1])
    own = [stem.rpartition("/")[2] for stem in stems]
    folders = [stem.rpartition("/")[0] for stem in stems]
    same_ending = endings[0].lower() != endings[1].lower() or endings[0] == endings[1]
    same_folder = folders[0].casefold() != folders[1].casefold() or folders[0] == folders[1]
    if own[0] != own[1] or not same_ending or not same_folder:
        yield "case"
    if folders[0].casefold() != folders[1].casefold():
        yield "folder"


def line_of(miss: NearMiss, count: int, missing: int, folder: Path, source: Path | None) -> str:
    """The reason and the remedy for one missing image."""
    why = " and ".join(KINDS[kind] for kind in miss.kinds)
    remedy = remedy_for(miss, folder, source)
    return (
        f"the table says {miss.named!r}, the folder has {miss.there!r}: {why} "
        f"(so of {count:,} of {missing:,} missing images); {remedy}"
    )


def remedy_for(miss: NearMiss, folder: Path, source: Path | None) -> str:
    """The way out, as a command or settings where there are some."""
    rename = "write in the table what the folder has"
    if source is None or len(miss.kinds) != 1:
        return rename
    if miss.kinds == ("folder",):
        root = other_root(miss, folder)
        return f"set {mended_roots(root, source)}" if root else rename

    changes = sed_changes(miss)
    if changes is None or source.suffix.lower() not in ("", ".csv", ".tsv", ".txt"):
        return rename

    mended = source.with_stem(source.stem + "_mended")
    files = f"{shlex.quote(str(source))} > {shlex.quote(str(mended))}"

    return f"sed {shlex.quote(changes)} {files}, then {shell_word('dataset.table', mended)}"


def sed_changes(miss: NearMiss) -> str | None:
    """The command of sed that mends a whole table; None where one does not do."""
    ends = image_ending(miss.named), image_ending(miss.there)
    case_of_ending = miss.named.removesuffix(ends[0]) == miss.there.removesuffix(ends[1])
    changes: Mapping[str, str | None] = {
        "backslash": r"s|\\|/|g",
        "percent": "s/%20/ /g" if set(re.findall("%..", miss.named)) == {"%20"} else None,
        "ending": f"s/\\{ends[0]}/{ends[1]}/g",
        "case": f"s/\\{ends[0]}/{ends[1]}/g" if case_of_ending else None,
    }
    return changes.get(miss.kinds[0])


def other_root(miss: NearMiss, folder: Path) -> Path | None:
    """The folder that names in the table are relative to; None where it cannot be told."""
    named, there = web_path(miss.named), web_path(miss.there)
    if there.endswith(f"/{named}"):
        return folder / there.removesuffix(f"/{named}")
    above = named.removesuffix(f"/{there}")
    if above != named and folder.absolute().name == above:
        return folder.absolute().parent
    return None


def mended_roots(root: Path, source: Path) -> str:
    """The settings for images relative to another folder, the table staying where it is."""
    table = shell_word("dataset.table", source.absolute())
    return f"{shell_word('dataset.root', root)} {table}"
