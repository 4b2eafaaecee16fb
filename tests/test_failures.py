"""The plugin that leaves what failed tests said."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.failures import FILE

ROOT = Path(__file__).parents[1]
RED = """
def test_good(): pass
def test_bad():
    print("seen before")
    assert 1 == 2, "why it failed"
"""


def pytest_in(folder: Path, *words: str) -> str:
    """What pytest prints of the tests there, with the plugin."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.failures", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True).stdout


def test_failures_are_told_in_a_file_that_a_green_run_removes(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_red.py").write_text(RED)
    file = tmp_path / FILE
    said = pytest_in(tmp_path, "-n", "1")
    assert said.splitlines()[-1] == f"what 1 failed tests said: {file}"
    said = file.read_text()
    assert said.startswith("test_red.py::test_bad (call)")
    assert "why it failed" in said
    assert "seen before" in said
    assert "test_good" not in said

    (tmp_path / "test_red.py").write_text("def test_good(): pass")
    assert "failed" not in pytest_in(tmp_path)
    assert not file.parent.exists()


def test_a_file_that_cannot_be_collected_is_told(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_red.py").write_text("import nowhere_at_all")
    assert pytest_in(tmp_path).splitlines()[-1].startswith("what 1 failed tests said: ")
    assert "No module named 'nowhere_at_all'" in (tmp_path / FILE).read_text()
