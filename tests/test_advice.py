"""Settings and commands that messages advise: they work when they are typed as they are printed."""

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from optuna.distributions import FloatDistribution

from mlu.data.missing import mended_roots
from mlu.data.recognition import unreadable_kind
from mlu.data.sets.csv import Csv
from mlu.launch.check import check_config
from mlu.launch.compose import composed, values_of
from mlu.launch.database import opened
from mlu.launch.home import words_at_home
from mlu.launch.options import CONF
from mlu.launch.search import purpose_of
from mlu.launch.space import Space, values_in
from mlu.launch.study import directions_of
from mlu.launch.sweep import conclude
from mlu.launch.tune import leave_best
from mlu.system.errors import UserError
from tests.launch.test_tune import trial_of
from tests.support.photo_folder import write_lines

ROOT = Path(__file__).parents[1]
PARSER = OverridesParser.create()
STRANGE = "my $method [1]"


def refused(work: Callable[..., object], *arguments: object) -> str:
    """The line that refuses some work."""
    with pytest.raises(UserError) as fault:
        work(*arguments)
    return str(fault.value)


def refused_run(*overrides: str) -> str:
    return refused(check_config, values_of(composed(overrides)))


def refused_cell(text: str, folder: Path) -> str:
    write_lines(folder / "labels.csv", "image,Bald", f'0.png,"{text}"', "1.png,1", "2.png,0")
    data = Csv(name="csv", root=folder, table="labels.csv", image_size=8, prepared=folder)
    return refused(data.read)


def refused_picture(folder: Path) -> str:
    file = folder / f"{STRANGE}.psd"
    file.write_bytes(b"8BPS\0\x01")
    return str(unreadable_kind(file))


def refused_trials() -> str:
    """The line after a search of which the trials are of two methods."""
    notes = [SimpleNamespace(number=n, choices={"method": f"{STRANGE}{n}"}) for n in (0, 1)]
    board = SimpleNamespace(notes=lambda: notes)
    return refused(conclude, SimpleNamespace(board=board), {0: None, 1: None})


def refused_search() -> str:
    settings = {"custom_search_space": None, "direction": "minimize"}
    config = composed(["objective=speedup"])
    return refused(purpose_of, settings, Space({}, {}), config)


def found_settings(folder: Path) -> str:
    """The line that says how to use what a search has found of a method with a strange name."""
    source = folder / f"{STRANGE}.yaml"
    source.write_text((CONF / "method" / "wf.yaml").read_text())
    return leave_best([([], trial_of(0.9, 0.0))], source, folder / STRANGE)[1]


ADVICE = {
    "label to forget": (
        lambda _: refused_run("dataset=csv"),
        ": set ", "", {"forget_label.names": ["..."]},
    ),
    "labels": (
        lambda folder: refused_cell("?", folder),
        "that are: ", "", {"dataset.labels": ["..."]},
    ),
    **{
        f"cell {text!r}": (
            lambda folder, text=text: refused_cell(text, folder),
            "unknown, set ", "; if the column", {"dataset.unknown": text},
        )
        for text in ("?", "-", "not sure", "it's", "$HOME [1]", "None of them")
    },
    "directions": (
        lambda _: refused(directions_of, "maximize", ["speedup", "work_ratio"]),
        "such as ", "", {"hydra.sweeper.direction": ["maximize", "maximize"]},
    ),
    "some values": (
        lambda _: refused(values_in, "phi", FloatDistribution(0.0, 1.0)),
        "as in ", " or '", {"phi": ["0.1", "0.2"]},
    ),
    "a range of values": (
        lambda _: refused(values_in, "phi", FloatDistribution(0.0, 1.0)),
        ")' or ", ", or take", {"phi": ["1", "2", "3", "4", "5"]},
    ),
    "values to draw": (
        lambda _: refused_search(),
        "such as ", "", {"phi": (0.01, 0.3)},
    ),
    "database": (
        lambda _: refused(opened, "my searches.db"),
        "write ", ", another", {"hydra.sweeper.storage": "sqlite:///my searches.db"},
    ),
    "folder and table": (
        lambda _: mended_roots(Path("/my photos"), Path("/it's/labels.csv")),
        "", "", {"dataset.root": "/my photos", "dataset.table": "/it's/labels.csv"},
    ),
    "one method": (lambda _: refused_trials(), "such as ", "", {"method": f"{STRANGE}0"}),
    "settings that were found": (
        found_settings, f"{STRANGE}/tuned' ", "", {"method": f"{STRANGE}_tuned"},
    ),
}  # fmt: skip
"""A message, what stands in it before and after the advice, and what Hydra must read there."""


def value_in(read: Override) -> object:
    """The value of an override; of a sweep the words of its jobs, or else its ends."""
    if not read.is_sweep_override():
        return read.value()
    value = read.value()
    if isinstance(value, IntervalSweep):
        return (value.start, value.end)
    return [str(word) for word in read.sweep_string_iterator()]


@pytest.mark.parametrize("case", ADVICE)
def test_a_shell_and_hydra_read_advice_as_it_is_meant(case, tmp_path):
    say, before, after, expected = ADVICE[case]
    message = say(tmp_path)
    assert before in message
    printed = message.partition(before)[2] if before else message
    printed = printed.partition(after)[0] if after else printed

    read = [PARSER.parse_override(word) for word in words_at_home(shlex.split(printed))]
    assert {one.key_or_group: value_in(one) for one in read} == expected


def test_the_file_of_a_command_is_one_word(tmp_path):
    command = refused_picture(tmp_path).partition("convert it with ")[2]
    source, target = (str(tmp_path / f"{STRANGE}.{end}") for end in ("psd[0]", "png"))
    assert shlex.split(command) == ["magick", source, target]


KEYS = "|".join([*composed([]), "hydra"])
"""What settings begin with."""
BARE = re.compile(rf"""(?<![\w./'"+~-])(?:X|{KEYS})(?:[./]\w+)*=[^\s'",;]*[\[({{$*?]\S*""")
"""A setting that a shell would not leave as it is."""
OWN = ("hydra.searchpath=[X]",)
"""Strings that are settings, and no advice."""


def strings_in(text: str) -> Iterator[str]:
    """The strings of a module but its docstrings; what f-strings fill in is X."""
    nodes = [*ast.walk(ast.parse(text))]
    passed: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.Expr):
            passed.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in node.values}
            parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
            yield "".join(parts)

    for node in nodes:
        said = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if said and id(node) not in passed:
            yield node.value


def bare_advice(text: str) -> list[str]:
    """Settings in the strings of a module that would have to stand in quotes."""
    found = []
    for one in strings_in(text):
        found += [bare.group() for bare in BARE.finditer(one) if one not in OWN]
    return found


@pytest.mark.parametrize(
    "file", sorted((ROOT / "mlu").rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT))
)
def test_no_message_advises_what_a_shell_would_change(file):
    assert bare_advice(file.read_text()) == []


def test_neither_does_a_comment_that_help_shows():
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        said = [line.partition("#")[2] for line in file.read_text().splitlines()]
        assert not [line for line in said if BARE.search(line)], file


def test_bare_advice_is_found():
    assert bare_advice('x = "set dataset.labels=[...]"') == ["dataset.labels=[...]"]
    assert bare_advice('x = f"such as {key}.b=choice(1, 2)"') == ["X.b=choice(1,"]
    quoted = "set 'dataset.labels=[...]' or seed='${c}' or phi=... or dataset.root=X"
    assert bare_advice(f'x = "{quoted}"') == []
