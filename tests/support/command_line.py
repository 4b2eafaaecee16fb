"""The command line as a user meets it: every command in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def launch(
    folder: Path, *arguments: str, env: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "launch.py"), *arguments, f"outputs={folder}"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=300)
