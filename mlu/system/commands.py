"""Commands that are printed to be typed: by the name that is there, quoted for a shell."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlu.system.conf import CONF
from mlu.system.start import sought_module

SCRIPT = "launch.py"
"""File of a checkout that starts runs; a wheel has none."""
MODULE = ("python", "-m", "mlu")
"""The same wherever the package is installed."""

_BEGUN_BY = "MLU_BEGUN_BY"
"""Variable by which the processes that a launcher starts know how the user has started the first
one."""

_FLAG = "--config-dir"
"""Flag that is followed by a folder of a user's own configurations."""

_PLAIN = re.compile(r"([a-z]+://)?[A-Za-z_/.][A-Za-z0-9_/.-]*")
"""What Hydra takes for text, whatever it says, unless it is one of the words below."""
_WORDS = ("true", "false", "null", "none", "nan", "inf")

_OF_IMAGES = ("dataset", "experiment", "budget", "outputs")
"""Keys and groups on which images depend."""

_given: list[str] = []
"""The words from which the configuration at work was composed."""


def program() -> list[str]:
    """The words that started this process, before its arguments."""
    module = sought_module()
    if module is not None:
        return ["python", "-m", module]

    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name.partition(".")[0] == "mlu":
        return ["python", "-m", spec.name.removesuffix(".__main__")]

    script = Path(sys.argv[0])
    if script.suffix == ".py":
        return ["python", str(from_here(script))]

    return [script.name if shutil.which(script.name) else str(script)]


def from_here(file: Path) -> Path:
    """A path from the current folder, where it leads to something in it."""
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


def remember_start(words: Sequence[str]) -> None:
    """Remember, here and in processes that this one starts, by which words runs are started."""
    os.environ[_BEGUN_BY] = shlex.join(words)


def launcher_words() -> list[str]:
    """The words that start a run: those that the user has typed, else those that are there."""
    if begun_by := os.environ.get(_BEGUN_BY):
        return shlex.split(begun_by)

    in_checkout = Path(SCRIPT).is_file() and CONF.parent.samefile(".")
    return ["python", SCRIPT] if in_checkout else [*MODULE]


def run_command(*words: str) -> str:
    """The command that starts a run with these words."""
    return shlex.join([*launcher_words(), *words])


def help_line() -> str:
    """The end of messages about what there is."""
    return f"See {run_command('--help')}"


def own_command() -> str:
    """The command that was typed, as a shell would read it again."""
    return shlex.join([*program(), *sys.argv[1:]])


def compose_by(words: Iterable[str]) -> None:
    """Remember the words from which the configuration at work was composed."""
    _given[:] = words


def images_command(module: str, name: str, root: Path | str | None = None) -> str:
    """The command that has a module look at the images of the configuration at work.

    Args:
        module: Such as `mlu.prepare`.
        name: Of the data set, where nobody has said from which words it was composed.
        root: Its folder, likewise.
    """
    words = [*folder_words(_given), *filter(decides_images, _given)]
    if not words:
        words = [override("dataset", name)]
        if root is not None:
            words.append(override("dataset.root", str(root)))

    return shlex.join(["python", "-m", module, *words])


def folder_flags(folders: Iterable[Path | str]) -> list[str]:
    """Folders of a user's own configurations, each with its flag."""
    return [word for folder in folders for word in (_FLAG, str(folder))]


def folder_words(words: Sequence[str]) -> list[str]:
    """The folder of a user's own configurations among words, with its flag."""
    if _FLAG not in words:
        return []
    place = words.index(_FLAG)
    return list(words[place : place + 2])


def decides_images(word: str) -> bool:
    """Whether images depend on an override."""
    key = word.partition("=")[0].lstrip("+~")
    return not word.startswith("-") and re.split(r"[.@]", key)[0] in _OF_IMAGES


def shell_word(key: str, value: object) -> str:
    """`key=value` as it is typed on the command line of a run.

    >>> print(shell_word("dataset.exclude", "my photos/list.txt"))
    "dataset.exclude='my photos/list.txt'"
    """
    word = override(key, str(value))
    # In double quotes Hydra's single ones stay as they are, and so does all but these.
    calm = "'" in word and not set(word) & set('"$`\\!')
    return f'"{word}"' if calm else shlex.quote(word)


def override(key: str, value: str) -> str:
    r"""`key=value` as Hydra reads it, with the value as text.

    >>> override("dataset.root", "photos")
    'dataset.root=photos'
    >>> override("dataset.root", "1 [a]")
    "dataset.root='1 [a]'"
    """
    return f"{key}={value}" if is_plain(value) else f"{key}={in_quotes(value)}"


def is_plain(value: str) -> bool:
    """Whether Hydra reads a value as this very text without quotes."""
    return _PLAIN.fullmatch(value) is not None and value.lower().lstrip(".") not in _WORDS


def in_quotes(value: str) -> str:
    """A value in Hydra's quotes, in which a backslash counts only before a quote or `${`."""
    escaped = re.sub(r"(\\*)('|\$\{|\Z)", lambda found: found[1] * 2 + guarded(found[2]), value)
    return f"'{escaped}'"


def guarded(sign: str) -> str:
    return f"\\{sign}" if sign else ""
