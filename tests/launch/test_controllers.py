import importlib
import os
import time
from pathlib import Path

import pytest

from mlu.launch.controllers import LOCAL, end_jobs, start_apart
from tests.support.killing import state, until

submitit = pytest.importorskip("submitit")


@pytest.fixture(autouse=True)
def plain_submitit(monkeypatch):
    """Submitit as it was, after each test."""
    local = importlib.import_module("submitit.local.local")
    monkeypatch.setattr(local, "subprocess", local.subprocess)


def sleep_long(file: Path) -> None:
    file.write_text(str(os.getpid()))
    time.sleep(600)


def slept(folder: Path) -> int:
    """The number of the process of a job that sleeps."""
    file = folder / "number"
    submitit.LocalExecutor(folder).submit(sleep_long, file)
    until(lambda: file.is_file() and file.read_text() != "", seconds=60)
    return int(file.read_text())


def test_a_job_of_submitit_hears_no_ctrl_c_of_the_terminal_and_ends_with_the_sweep(tmp_path):
    start_apart()
    job = slept(tmp_path)
    assert os.getpgid(job) != os.getpgid(0)
    end_jobs()
    until(lambda: state(job) == "Z", seconds=10)
    end_jobs()


def test_what_is_started_apart_is_what_the_launcher_starts():
    module, _, name = LOCAL.rpartition(".")
    assert getattr(importlib.import_module(module), name)._EXECUTOR == "local"
