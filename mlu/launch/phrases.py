"""Phrases: what the value of a key may be, in the words with which the comment behind it begins.

A comment such as `# whole number >= 1, or null: passes after the edit` is a phrase, a colon and an
explanation. The phrase says what is checked, and what the message says where a value breaks it.
Plain values in, words out: nothing is imported for it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

Holds = Callable[[Any], bool]

PATHS = ("path", "folder", "a text file", "weights")
"""Kinds of values that are paths, besides files of a certain name."""


@dataclass(frozen=True)
class Phrase:
    """One thing that a value must be.

    Attributes:
        holds: Whether a value will do.
        words: What it must be, as a message says it.
        kind: What is asked of it besides, where that takes a look at files or at other keys:
            `path`, `folder`, `a text file`, `weights`, `column`, `cell`, ...
        names: Of weights, how those that can be downloaded are called. Of labels, where all that
            there are stand: `these`, in the file itself, or the path of a constant.
    """

    holds: Holds
    words: str
    kind: str = ""
    names: tuple[str, ...] = ()

    @property
    def is_path(self) -> bool:
        """Whether a value is the path of something, or a list of them."""
        # A file's own name has an ending.
        return self.kind in PATHS or "." in self.kind


def is_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_even(value: Any) -> bool:
    return is_whole(value) and value % 2 == 0


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def is_label(value: Any) -> bool:
    return is_number(value) or is_text(value)


def is_cell(value: Any) -> bool:
    return is_number(value) or isinstance(value, str | bool)


def is_group(value: Any) -> bool:
    return isinstance(value, dict)


def is_list_of(holds: Holds, fewest: int = 1) -> Holds:
    def is_list(value: Any) -> bool:
        return isinstance(value, list) and len(value) >= fewest and all(map(holds, value))

    return is_list


def is_one_or_list_of(holds: Holds, fewest: int = 1) -> Holds:
    several = is_list_of(holds, fewest)
    return lambda value: holds(value) or several(value)


def matches(pattern: str) -> Holds:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


GROUP = Phrase(is_group, "a group of keys")
"""A key with keys below it."""
KEYS = Phrase(is_group, "a group of keys", kind="keys")
"""One whose keys nobody knows beforehand."""
TARGET = Phrase(matches(r"\w+(\.\w+)+"), "a class, such as mlu.package.module.Class")

QUOTES = ", in quotes where it is a number"

FIXED = {
    "true | false": Phrase(lambda value: isinstance(value, bool), "true or false"),
    "keys": KEYS,
    "path": Phrase(is_text, f"a path{QUOTES}", kind="path"),
    "folder": Phrase(is_text, f"a path{QUOTES}", kind="folder"),
    "text file or list of text files": Phrase(
        is_one_or_list_of(is_text), "the path of a text file, or a list of them", kind="a text file"
    ),
    "some text": Phrase(lambda value: isinstance(value, str) and value != "", "some text"),
    "plain name": Phrase(
        matches(r"[\w-]+(\.[\w-]+)*"), "a name of letters, digits, '-', '_' and single dots"
    ),
    "user or team": Phrase(is_text, f"a user or a team{QUOTES}"),
    "column": Phrase(is_text, f"the name of a column{QUOTES}", kind="column"),
    "column of labels": Phrase(is_text, f"the name of a column{QUOTES}", kind="column of labels"),
    "cell": Phrase(is_cell, "what a cell says: text or a number", kind="cell"),
    "label or list of labels": Phrase(
        is_one_or_list_of(is_label, fewest=0),
        "the name of a label, or a list of them, such as [Bald,Young]",
    ),
    "list of lists of labels": Phrase(
        is_list_of(is_list_of(is_label, fewest=0)),
        "a list of lists of labels, such as [[Male],[Young]]",
    ),
    "list of two digits": Phrase(
        lambda value: is_list_of(is_label)(value) and len(value) == 2,
        "a list of two digits, such as ['3','8']",
    ),
    "list of epochs": Phrase(
        is_list_of(lambda value: is_whole(value) and value >= 1, fewest=0),
        "a list of epochs, such as [3,5]",
    ),
    "figure or list of figures": Phrase(
        is_one_or_list_of(is_text), "the path of a figure, or a list of them"
    ),
}
"""Phrases that say one thing."""

NUMBERS: dict[str, Holds] = {
    "number": is_number,
    "whole number": is_whole,
    "even whole number": is_even,
}

VALUE = r"-?\d+(?:\.\d+)?"
INTERVAL = rf"in (?P<left>[\[(])(?P<least>{VALUE}), (?P<most>{VALUE})(?P<right>[\])])"
RANGE = rf"(?:(?P<sign>>=?) (?P<low>{VALUE})|{INTERVAL})"
SUCH_AS = r"(?P<such>, such as \S+)?"


def number_phrase(kind: str, bounds: re.Match[str]) -> Phrase:
    is_kind, is_within = NUMBERS[kind], within(bounds)
    article = "an" if kind.startswith("even") else "a"
    return Phrase(lambda value: is_kind(value) and is_within(value), f"{article} {bounds.group()}")


def within(bounds: re.Match[str]) -> Holds:
    """Whether a number lies in a range such as `>= 0` or `in (0, 1]`; the infinite lies in none."""
    if bounds["sign"]:
        low, closed = float(bounds["low"]), bounds["sign"] == ">="
        return lambda value: (low <= value if closed else low < value) and value < math.inf

    least, most = float(bounds["least"]), float(bounds["most"])
    with_least, with_most = bounds["left"] == "[", bounds["right"] == "]"

    return lambda value: (
        (least <= value if with_least else least < value)
        and (value <= most if with_most else value < most)
    )


@cache
def phrase_of(said: str) -> Phrase | None:
    """The phrase that some words are; None where they are none."""
    for ending, (further, words) in ENDINGS.items():
        if said.endswith(ending):
            base = phrase_of(said.removesuffix(ending))
            return base and or_else(base, further, words)

    if said in FIXED:
        return FIXED[said]

    for pattern, made in PATTERNS.items():
        if found := re.fullmatch(pattern, said):
            return made(found)

    return None


def or_else(base: Phrase, further: Holds, words: str) -> Phrase:
    """A phrase that allows one value more."""
    return Phrase(
        lambda value: further(value) or base.holds(value),
        base.words + words,
        base.kind,
        base.names,
    )


ENDINGS: dict[str, tuple[Holds, str]] = {
    ", or null": (lambda value: value is None, ", or null"),
    ", or inf": (lambda value: value == math.inf, ", or inf"),
    ", or cv": (lambda value: value == "cv", ", or 'cv'"),
}
"""What a phrase may end with, and which value more is then allowed."""


def choice_phrase(found: re.Match[str]) -> Phrase:
    choices = found.group().split(" | ")
    return Phrase(
        lambda value: isinstance(value, str) and value in choices, " or ".join(map(repr, choices))
    )


def list_phrase(found: re.Match[str]) -> Phrase:
    kind, such = found["kind"], found["such"] or ""
    is_kind, is_within = NUMBERS[kind], within(found)
    words = f"a list of {kind}s {found['range']}{such}"
    return Phrase(is_list_of(lambda value: is_kind(value) and is_within(value)), words)


def labels_phrase(found: re.Match[str]) -> Phrase:
    names = tuple(filter(None, (found["these"], found["home"])))
    return Phrase(
        is_list_of(is_label), "a list of labels' names, such as [Bald,Young]", "labels", names
    )


def weights_phrase(found: re.Match[str]) -> Phrase:
    names = tuple(found["names"].split(" | ")[1:])
    return Phrase(is_text, f"a path, or a name of weights{QUOTES}", "weights", names)


PATTERNS: dict[str, Callable[[re.Match[str]], Phrase]] = {
    rf"(?P<kind>{'|'.join(NUMBERS)}) {RANGE}": lambda found: number_phrase(found["kind"], found),
    rf"list of (?P<kind>{'|'.join(NUMBERS)})s (?P<range>{RANGE}){SUCH_AS}": list_phrase,
    r"list of (?:(?P<these>these) )?labels(?: of (?P<home>\w+(?:\.\w+)+))?": labels_phrase,
    r"weights(?P<names>(?: \| [\w*]+)*)": weights_phrase,
    r"file (?P<name>\S+)": lambda found: Phrase(is_text, f"a path{QUOTES}", kind=found["name"]),
    r"name, such as \S+": lambda found: Phrase(is_text, f"a {found.group()}"),
    r"name of an? \w+": lambda found: Phrase(is_text, f"the {found.group()}{QUOTES}"),
    r"[\w-]+(?: \| [\w-]+)+": choice_phrase,
}
"""Phrases with words of their own, and what makes one of them."""
