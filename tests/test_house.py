"""How mlu reads: paragraphs in long bodies, docstrings that begin with what a thing is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "mlu").rglob("*.py"))
LONGEST = 10
"""Lines of a body that may stand without a blank one."""
NO_NAME = re.compile(r"(As|How|It|Of|Such as|That|These|They|Those|What)\b")
"""Words that begin a sentence which does not say what a thing is."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef


def documented(text: str) -> Iterator[tuple[str, str]]:
    """Names and docstrings of a module, its classes and its functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Documented) and (said := ast.get_docstring(node)):
            yield getattr(node, "name", "the module"), said


def packed_bodies(text: str) -> list[str]:
    """Names of functions whose bodies are long and have no paragraphs."""
    lines, found = text.splitlines(), []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            own = lines[body[0].lineno - 1 : node.end_lineno] if body else []
            if len(own) > LONGEST and all(line.strip() for line in own):
                found.append(node.name)
    return found


def unnamed(text: str) -> list[str]:
    """Names of what has a docstring that does not begin with what the thing is."""
    return [name for name, said in documented(text) if NO_NAME.match(said)]


def long_summaries(text: str) -> list[str]:
    """Names of what has a docstring whose first sentence takes more than a line."""
    return [name for name, said in documented(text) if "\n" in said.partition("\n\n")[0]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_easy_to_read(file):
    text = file.read_text()
    assert packed_bodies(text) == []
    assert unnamed(text) == []
    assert long_summaries(text) == []


def test_what_is_hard_to_read_is_found():
    steps = [f"    step{number}()" for number in range(LONGEST + 1)]
    packed = "\n".join(["def packed():", '    """Steps."""', *steps])
    assert packed_bodies(packed) == ["packed"]
    assert packed_bodies(packed.replace("    step5()", "\n    step5()")) == []
    assert packed_bodies("\n".join(packed.splitlines()[:-1])) == []
    assert unnamed('def named():\n    """Of these, the first."""') == ["named"]
    assert unnamed('class Named:\n    """Offers of a shop."""') == []
    assert long_summaries('"""One line\nand a half.\n\nMore."""') == ["the module"]
    assert long_summaries('"""One line.\n\nMore\nof it."""') == []
