"""`~` at the beginning of a path."""

import argparse
from pathlib import Path

import pytest

from mlu.system.errors import UserError
from mlu.system.home import at_home, home_path


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/jörg")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~", "/home/jörg"),
        ("~/", "/home/jörg"),
        ("~/faces/a b.csv", "/home/jörg/faces/a b.csv"),
        ("~root/faces", "/root/faces"),
        ("faces/~/a", "faces/~/a"),
        ("./~draft", "./~draft"),
        ("/tmp/~", "/tmp/~"),
        ("faces~", "faces~"),
        ("$HOME/faces", "$HOME/faces"),
        ("", ""),
    ],
)
def test_a_path_begins_at_home(written, meant):
    assert at_home(written) == meant
    assert home_path(written) == Path(meant)


@pytest.mark.parametrize("path", ["~nobody_is_called_so/faces", "~draft.csv"])
def test_a_home_that_nobody_has_is_refused_with_the_way_to_write_such_a_name(path):
    with pytest.raises(UserError) as caught:
        at_home(path, "outputs=")
    assert str(caught.value).startswith(f"outputs={path}: there is no home folder of")
    assert f"./{path}" in str(caught.value)
    with pytest.raises(argparse.ArgumentTypeError, match="no home folder"):
        home_path(path)
