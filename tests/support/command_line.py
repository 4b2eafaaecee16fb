"""The command line as a user meets it: every command in a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.forked import warm

ROOT = Path(__file__).parents[2]


def launch(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess:
    """`python launch.py <arguments>` with outputs in a folder.

    Args:
        folder: The outputs.
        arguments: Of the command.
        env: Its environment: such a process starts anew. One without is forked from a process that
            has imported everything, which takes seconds less.
    """
    words = [*arguments, f"outputs={folder}"]
    if env is not None:
        command = [sys.executable, str(ROOT / "launch.py"), *words]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=300
        )

    with tempfile.TemporaryDirectory() as said:
        done = warm(str(ROOT / "launch.py"), words, Path(said))
    return subprocess.CompletedProcess(words, done.code, done.stdout, done.stderr)
