"""Tests stand where what they test stands: who knows a file of mlu knows where its tests are."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    file.relative_to(ROOT / "mlu")
    for file in sorted((ROOT / "mlu").rglob("*.py"))
    if file.name not in ("__init__.py", "__main__.py")
]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_tests_of_its_name(module):
    file = ROOT / "tests" / module.with_name(f"test_{module.name}")
    assert file.is_file(), f"mlu/{module} has no {file.relative_to(ROOT)}"
    assert "def test_" in file.read_text()
