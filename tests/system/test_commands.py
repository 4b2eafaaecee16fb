import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mlu.system import commands
from mlu.system.commands import (
    compose_by,
    images_command,
    launcher_words,
    override,
    own_command,
    program,
    run_command,
    shell_word,
)

ROOT = Path(__file__).parents[2]

VALUES = [
    *("photos", "a/b.txt", "/data/x_1-2", "./a", "../a", "~/photos", "a~b", "my photos", " a "),
    *("a[1]", "{a}", "(a)", "a,b", "a=b", "a:b", "a'b", 'a"b', "'a'", "a\\b", "a\\", "a\\'b", "\\"),
    *("$HOME", "${outputs}", "a${b}c", "\\${a}", "`id`", "a;b", "a&b", "a|b", "*.png", "a?", "#a"),
    *("1", "1.5", "-3", "1e5", "true", "False", "null", "NULL", "nan", "inf", ".inf", "-inf", ""),
    *("Äpfel", "写真", "a%b", "a@b", "a+b", "<time>", "!", "a\tb", "-", ".", "..", "/", "_", "a^b"),
    *("None", "a:None", "sqlite:///o.db"),
]


def as_read(word: str) -> str:
    """The value that a run gets, by the word that Hydra is given."""
    (found,) = OverridesParser.create().parse_overrides([word])
    return OmegaConf.create({found.key_or_group: found.value()})[found.key_or_group]


@pytest.mark.parametrize("value", VALUES)
def test_what_is_typed_arrives_as_it_was(value):
    (word,) = shlex.split(shell_word("root", value))
    assert as_read(word) == value


@given(st.text(st.sampled_from("ab/ .~'\"\\${}[](),=:1-\t"), max_size=8))
def test_so_does_any_text(value):
    assert as_read(override("root", value)) == value


def test_a_plain_value_stays_plain():
    assert shell_word("dataset.exclude", "/a/b-c_1.txt") == "dataset.exclude=/a/b-c_1.txt"
    assert shell_word("a.storage", "sqlite:///a/o.db") == "a.storage=sqlite:///a/o.db"


SCRIPT = "import sys; sys.argv[0] = {name!r}; from mlu.__main__ import main; main()"
STARTS = {
    "python launch.py": [sys.executable, str(ROOT / "launch.py")],
    "python -m mlu": [sys.executable, "-m", "mlu"],
    "mlu": [sys.executable, "-c", SCRIPT.format(name="/somewhere/bin/mlu")],
    "/somewhere/bin/mlu": [sys.executable, "-c", SCRIPT.format(name="/somewhere/bin/mlu")],
    "python -m mlu.doctor": [sys.executable, "-m", "mlu.doctor"],
    "python -m mlu.report": [sys.executable, "-m", "mlu.report"],
}
"""By the command that messages must name: how it is started."""


@pytest.mark.parametrize("name", STARTS)
def test_messages_name_the_command_that_was_typed(name, tmp_path):
    path = tmp_path / "bin"
    path.mkdir()
    if name == "mlu":
        (path / "mlu").touch(mode=0o755)
    environment = {**os.environ, "PATH": str(path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*STARTS[name], "--nothing"], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    expected = name.replace("launch.py", str(ROOT / "launch.py"))
    assert line.endswith(f"see {expected} --help")


def test_processes_of_a_launcher_name_the_command_of_the_first(monkeypatch):
    monkeypatch.setenv("MLU_BEGUN_BY", "")
    commands.remember_start(["python", "my folder/launch.py"])
    assert launcher_words() == ["python", "my folder/launch.py"]
    assert run_command("a=b c") == "python 'my folder/launch.py' 'a=b c'"


@pytest.mark.parametrize(("folder", "words"), [(".", "python launch.py"), ("..", "python -m mlu")])
def test_without_it_they_name_what_is_there(folder, words, monkeypatch):
    monkeypatch.delenv("MLU_BEGUN_BY", raising=False)
    monkeypatch.chdir(ROOT / folder)
    assert run_command() == words


def test_the_own_command_is_the_one_that_was_typed(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    words = [str(ROOT / "launch.py"), "forget_label.names=[Bald,Young]", "dataset.root=my photos"]
    monkeypatch.setattr(sys, "argv", words)
    assert program() == ["python", "launch.py"]
    assert shlex.split(own_command()) == ["python", "launch.py", *words[1:]]


GIVEN = ["--config-dir", "my conf", "dataset=csv", "+dataset.more=1", "dataset.root=a b", "seed=3"]


@pytest.fixture
def given_words():
    compose_by([])
    yield compose_by
    compose_by([])


def test_a_command_about_images_has_all_that_decides_them(given_words):
    assert images_command("mlu.prepare", "csv", "a b") == (
        "python -m mlu.prepare dataset=csv 'dataset.root='\"'\"'a b'\"'\"''"
    )
    given_words([*GIVEN, "dataset.image_size=48", "outputs=out", "method=wf", "phi=0.1"])
    words = shlex.split(images_command("mlu.prepare", "csv", "elsewhere"))
    decisive = [word for word in GIVEN if word != "seed=3"]
    assert words[3:] == [*decisive, "dataset.image_size=48", "outputs=out"]
