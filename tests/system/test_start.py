"""Ctrl-C from the first import of a command on: one line, and the code of the signal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlu.system.start import end_first_imports, sought_module
from tests.support.killing import hear_ctrl_c

ROOT = Path(__file__).parents[2]

STUB = """
import signal, sys
sys.path.remove({folder!r})
try:
    signal.raise_signal({number})
except Exception:
    pass
"""
"""A library of which the import is interrupted. If it is asked for again, it is the true one."""

SWALLOWS = STUB.replace("Exception", "BaseException")
"""One that takes what is raised in it for a library that is not there."""

COMMANDS = {
    "python launch.py": "hydra",
    "python -m mlu": "hydra",
    "python -m mlu.doctor": "hydra",
    "python -m mlu.prepare": "hydra",
    "python -m mlu.predict": "rich",
    "python -m mlu.certify": "rich",
    "python -m mlu.report": "rich",
    "python -m mlu.data.sets.faces.preview": "numpy",
}
"""By the command: something that it imports."""


def interrupted_import(command, library, stub, number, folder):
    """What becomes of a command that gets a signal when it imports a library."""
    (folder / f"{library}.py").write_text(stub.format(folder=str(folder), number=int(number)))
    return subprocess.run(
        [sys.executable, *command.split()[1:], "a=b c"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"},
        cwd=ROOT,
        preexec_fn=hear_ctrl_c,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_ended_while_it_imports_says_one_line(command, tmp_path):
    done = interrupted_import(command, COMMANDS[command], SWALLOWS, signal.SIGINT, tmp_path)
    assert done.stderr == f"ended by Ctrl-C; to go on: {command} 'a=b c'\n"
    assert done.stdout == ""
    assert done.returncode == 130


@pytest.mark.parametrize("command", ["python launch.py", "python -m mlu.report"])
def test_so_does_one_that_imports_what_that_line_needs(command, tmp_path):
    done = interrupted_import(command, "difflib", STUB, signal.SIGINT, tmp_path)
    assert (done.returncode, done.stderr) == (
        130,
        f"ended by Ctrl-C; to go on: {command} 'a=b c'\n",
    )


def test_so_does_one_that_is_told_to_end(tmp_path):
    done = interrupted_import("python -m mlu.doctor", "numpy", SWALLOWS, signal.SIGTERM, tmp_path)
    assert done.returncode == 143
    assert done.stderr.startswith("ended by SIGTERM; to go on: python -m mlu.doctor ")


def test_a_program_that_imports_the_library_hears_signals_as_ever():
    program = "import signal, sys; sys.argv = ['-m', 'a']; sys.orig_argv = ['p', '-m', 'b', 'a']"
    asks = "import mlu; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; {asks}; print(sys.excepthook is sys.__excepthook__)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=hear_ctrl_c,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.parametrize(
    ("argv", "orig_argv", "module"),
    [
        (["-m", "a", "b"], ["python", "-m", "mlu.doctor", "a", "b"], "mlu.doctor"),
        (["-m"], ["python", "-u", "-mmlu"], "mlu"),
        (["/mlu/doctor.py", "a"], ["python", "-m", "mlu.doctor", "a"], None),
        (["launch.py", "-m"], ["python", "launch.py", "-m"], None),
    ],
)
def test_the_module_that_python_looks_for(argv, orig_argv, module, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert sought_module() == module


def test_other_faults_are_told_as_ever(capsys):
    fault = ValueError("so it is")
    end_first_imports(ValueError, fault, None)
    assert capsys.readouterr().err == "ValueError: so it is\n"
