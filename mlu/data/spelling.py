"""One spelling for names and paths, so that equal things are equal however they are written.

Nothing heavy is imported: configurations are checked with it.
"""

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

log = logging.getLogger(__name__)

UNSEEN = (
    "\ufeff\u200b\u2060\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Marks that nobody sees: of byte order, of no width, of the direction of writing.

Joiners are not among them: in some scripts they make another word.
"""

BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""Letters that `str.strip` takes away."""

_EDGES = BLANKS + UNSEEN

_WITHOUT = dict.fromkeys(map(ord, UNSEEN))

_WHOLE = re.compile(r"([-+]?[0-9]+)(?:\.0+|,0{1,2})")
"""A whole number as pandas writes it in a column with gaps, or a table with decimal commas does."""

_BEGIN = "+-0123456789"

_ZEROS = re.compile(r"^0+(?=[0-9])")

_DETOURS = ("\\", "//", "/.", "./", "\n/", "/\n", "\n.\n", "\n..\n", "\n ", " \n", "\n\n")
"""Marks in paths, one a line, of which one may not be its own plain spelling."""


def plain_text(text: str) -> str:
    """A name without what nobody sees.

    Blanks of any kind are plain ones, none stand at its ends and no two together, and accents are
    composed (Unicode's form NFC).

    Example:
        >>> plain_text(chr(0xFEFF) + "Anna" + chr(0xA0) + " Mu" + chr(0x308) + "ller ")
        'Anna Müller'
    """
    if text.isascii():
        return " ".join(text.split())
    return unicodedata.normalize("NFC", " ".join(text.translate(_WITHOUT).split()))


def same_name(text: str) -> str:
    """The plain spelling of a name, in which whole numbers have no fraction.

    Case counts, and so do zeros before a number: they belong to codes.

    Example:
        >>> [same_name(text) for text in ("1", " 1.0", "1,0", "01", "1.5", "anna")]
        ['1', '1', '1', '01', '1.5', 'anna']
    """
    plain = plain_text(text)
    whole = _WHOLE.fullmatch(plain) if plain[:1] in _BEGIN else None
    return whole[1] if whole else plain


def one_spelling(names: Iterable[str], what: str) -> dict[str, str]:
    """The spelling of each name by which it goes; a warning counts those that have several.

    Args:
        names: Of people, classes or labels, each any number of times.
        what: Where they stand and what they are, for messages.
    """
    found = {name: same_name(name) for name in dict.fromkeys(names)}
    warn_of_alike(set(found.values()), what)
    if len(set(found.values())) == len(found):
        return {name: plain_text(name) for name in found}

    spellings: dict[str, list[str]] = defaultdict(list)
    for name, plain in found.items():
        spellings[plain].append(name)

    chosen: dict[str, str] = {}
    for several in spellings.values():
        best = min(map(plain_text, several), key=lambda name: (len(name), name))
        chosen.update(dict.fromkeys(several, best))

    joined = [several for plain, several in spellings.items() if plain and len(several) > 1]
    if joined:
        log.warning(
            "%s: %d of %d are spelt in more than one way, such as %r and %r: each is taken for one",
            what, len(joined), len(spellings), *joined[0][:2],
        )  # fmt: skip

    return chosen


def warn_of_alike(names: Collection[str], what: str) -> None:
    """Count the names that differ from another in the case of letters or in zeros before them."""
    plain = {name: name.casefold() for name in names}
    if len(set(plain.values())) == len(plain) and not any(name[0] == "0" for name in names if name):
        return

    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        alike[_ZEROS.sub("", plain[name])].append(name)

    several = [found for found in alike.values() if len(found) > 1]
    if several:
        log.warning(
            "%s: %d differ from another one only in the case of letters or in zeros before a "
            "number, such as %r and %r: they are taken for different ones; spell them alike if "
            "they are not",
            what, sum(len(found) - 1 for found in several), *several[0][:2],
        )  # fmt: skip


def respelt(names: Sequence[str], what: str) -> Sequence[str]:
    """Names by the spellings that `one_spelling` finds; the same ones where all are plain."""
    chosen = one_spelling(names, what)
    if all(name == plain for name, plain in chosen.items()):
        return names
    return [chosen[name] for name in names]


def plain_path(path: str) -> str:
    r"""A path of a file by the way that has no detours, parted by `/`, its accents composed.

    What leads out of the folder still does: it begins with `..`, `/` or a drive.

    Example:
        >>> [plain_path(path) for path in ("./a.png ", "b//a.png", "b/../a.png", "b\\a.png")]
        ['a.png', 'b/a.png', 'a.png', 'b/a.png']
    """
    return unicodedata.normalize("NFC", direct_path(path.strip(_EDGES).replace("\\", "/")))


def direct_path(path: str) -> str:
    """A path without `.`, doubled `/`, and `..` after the folder that it leaves again.

    Example:
        >>> direct_path("/a/./b//../c/")
        '/a/c'
    """
    if "//" not in path and "/." not in path and path[:1] not in "./" and path[-1:] != "/":
        return path

    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)

    return ("/" if path.startswith("/") else "") + "/".join(parts)


def plain_paths(paths: Sequence[str]) -> Sequence[str]:
    """The plain spelling of each path; the same sequence where all are plainly written."""
    return paths if plainly_written(paths) else [plain_path(path) for path in paths]


def plainly_written(paths: Sequence[str]) -> bool:
    """Whether a look at all paths together finds each in its plain spelling."""
    text = "\n".join(["", *paths, ""])
    if not text.isascii() or any(mark in text for mark in _DETOURS):
        return False
    return not any(blank in text for blank in "\t\r\v\f\x1c\x1d\x1e\x1f")


def path_spellings(path: str) -> Iterable[str]:
    """Spellings by which the file of a path may lie in its folder, the written one first."""
    plain = plain_path(path)
    forms = (unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))
    return dict.fromkeys([direct_path(path), direct_path(path.replace("\\", "/")), *forms])
