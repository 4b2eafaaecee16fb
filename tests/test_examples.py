"""The examples run as they stand, and say what they promise."""

import re
from pathlib import Path

import pytest

from tests.support.forked import warm

EXAMPLES = Path(__file__).parents[1] / "examples"


def said_by(folder: Path, name: str, *words: str) -> list[list[float]]:
    """The figures of the lines `before` and `after`."""
    done = warm(str(EXAMPLES / name), words, folder)
    assert done.code == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("before", "after"))]
    return [[float(figure) for figure in re.findall(r"\d\.\d{3}", line)] for line in lines]


def test_a_model_of_one_s_own_forgets_a_label(tmp_path):
    (known, kept_before), (forgotten, kept_after) = said_by(
        tmp_path, "own_model.py", "--epochs", "4"
    )
    assert known > 0.85
    assert forgotten == pytest.approx(0.5, abs=0.02)
    assert kept_after > kept_before - 0.08


def test_a_transformer_forgets_a_class(tmp_path):
    (known, kept_before), (forgotten, kept_after) = said_by(
        tmp_path, "torchvision_model.py", "--epochs", "8", "--steps", "40"
    )
    assert known > 0.4
    assert forgotten == 0
    assert kept_after > kept_before - 0.1


def test_every_example_is_tested():
    tested = Path(__file__).read_text()
    assert all(f'"{file.name}"' in tested for file in EXAMPLES.glob("*.py"))
