"""Commands of the command line, each in a fork of a process that has imported what they need:
seconds for hundreds.

`Commands` begin as bare as they are told to, one after the other. `warm` begins with everything
imported, and several may run at the same time.

As a script this reads JSON objects, one per line, of a module, its words and a folder for what it
writes to stdout and stderr, and answers each by another one: the exit code, and which heavy
libraries the command had imported.
"""

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.killing import ended, started

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lightning", "wandb")
BARE = {"CUDA_VISIBLE_DEVICES": ""}
"""A machine without a GPU."""


@dataclass(frozen=True)
class Done:
    """What a command left in its process."""

    code: int
    stdout: str
    stderr: str
    heavy: list[str]


class Commands:
    """A process that forks itself for every command.

    Args:
        imports: Modules that it imports before.
    """

    def __init__(self, *imports: str) -> None:
        words = [sys.executable, "-m", "tests.support.forked", *imports]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=os.environ | BARE
        )

    def run(self, module: str, words: Sequence[str], folder: Path) -> Done:
        """`python -m <module> <words>`; `folder` is for what it prints."""
        folder.mkdir(parents=True, exist_ok=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(
            json.dumps({"module": module, "words": list(words), "folder": str(folder)}),
            file=self.process.stdin,
        )
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        said = [(folder / name).read_text() for name in ("stdout", "stderr")]
        return Done(found["code"], *said, found["heavy"])

    def end(self) -> None:
        self.process.communicate(timeout=30)


def warm(module: str, words: Sequence[str], folder: Path) -> Done:
    """`python -m <module> <words>`, or a script of that path; `folder` is for what it prints."""
    folder.mkdir(parents=True, exist_ok=True)
    code = ended(started(carry_out, module, words, folder))

    said = [(folder / name).read_text() for name in ("stdout", "stderr")]
    return Done(code, *said, json.loads((folder / "heavy").read_text()))


def carry_out_there(
    place: Path, environment: Mapping[str, str], module: str, words: Sequence[str], folder: Path
) -> None:
    """In the child: `carry_out` in a folder, with more of an environment; does not return.

    The pictures of a run are blank.
    """
    from tests.support.blank import draw_blank

    if module.endswith("launch.py"):
        draw_blank()
    os.chdir(place)
    os.environ.update(environment)
    sys.path[:0] = [str(place / one) for one in environment.get("PYTHONPATH", "").split(":") if one]
    carry_out(module, words, folder)


def carry_out(module: str, words: Sequence[str], folder: Path) -> None:
    """In the child: the command, and what is left of it; does not return."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    # W&B's process of the tests' own, if they have one, is not the command's.
    os.environ.pop("WANDB_SERVICE", None)
    unregister_inherited_coverage()
    sys.argv = [module, *words]
    try:
        if module.endswith(".py"):
            runpy.run_path(module, run_name="__main__")
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    (folder / "heavy").write_text(json.dumps([name for name in HEAVY if name in sys.modules]))
    atexit._run_exitfuncs()
    os._exit(code)


def unregister_inherited_coverage() -> None:
    """Under coverage: the process that was forked measures by itself, and ends nobody else's."""
    if "coverage" in sys.modules:
        for inherited in sys.modules["coverage"].Coverage._instances[:-1]:
            atexit.unregister(inherited._atexit)


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for name in sys.argv[1:]:
        __import__(name)
    from hydra.core.plugins import Plugins

    from mlu.launch.check import check_config
    from mlu.launch.compose import composed, values_of
    from tests.support.composing import read_once

    read_once()
    # What every command would else do again: import all of Hydra's plugins, learn its grammar, read
    # our files.
    Plugins.instance()
    check_config(values_of(composed(["method=wp"])))
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)
    for line in sys.stdin:
        case = json.loads(line)
        folder = Path(case["folder"])
        child = os.fork()
        if not child:
            carry_out(case["module"], case["words"], folder)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(
            json.dumps({"code": code, "heavy": json.loads((folder / "heavy").read_text())}),
            file=answers,
            flush=True,
        )


if __name__ == "__main__":
    serve()
