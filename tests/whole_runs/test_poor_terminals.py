"""A run and a sweep whose terminal lacks signs, or has gone: the same results, and exit code 0."""

import atexit
import json
import os
import sys

import pytest

from tests.support.forked import unregister_inherited_coverage
from tests.support.killing import ended, started

RUN = (
    "method=head",
    "reference=none",
    "dataset.images=100",
    "dataset.image_size=16",
    "training.epochs=1",
    "attack=none",
    "logger=none",
    "trainer.accelerator=cpu",
)
POOR = {
    "ascii": ("ascii", "said"),
    "latin-1": ("latin-1", "said"),
    "cp1252": ("cp1252", "said"),
    "a reader who has gone": ("utf-8", None),
    "a full disk": ("utf-8", "/dev/full"),
}
"""Encoding of the streams, and the file that standard output is; None for a broken pipe."""


def poor(outputs, how, *words):
    """`launch.py` with such streams."""
    from mlu.launch.cli import main

    encoding, said = POOR[how]
    outputs.mkdir(parents=True, exist_ok=True)
    os.dup2(os.open(outputs / "faults", os.O_WRONLY | os.O_CREAT), 2)
    if said is None:
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(outputs / said, os.O_WRONLY | os.O_CREAT)
    os.dup2(writing, 1)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", encoding=encoding, closefd=False) for number in (1, 2)
    )

    sys.argv = ["launch.py", *words, *RUN, f"outputs={outputs}"]
    try:
        main()
    finally:
        # A forked process leaves them out.
        unregister_inherited_coverage()
        atexit._run_exitfuncs()


@pytest.mark.parametrize("how", POOR)
def test_a_run_ends_well(how, tmp_path):
    assert ended(started(poor, tmp_path, how, f"hydra.run.dir='{tmp_path}/ä'")) == 0
    assert (tmp_path / "faults").read_bytes() == b""
    assert json.loads((tmp_path / "ä" / "results.json").read_text())
    assert "–" not in (log := (tmp_path / "ä" / "cli.log").read_text(encoding="utf-8"))
    assert "ä" in log


def test_the_jobs_of_a_sweep_end_well(tmp_path):
    sweep = ("-m", "seed=1,2", f"hydra.sweep.dir='{tmp_path}/ä'")
    assert ended(started(poor, tmp_path, "ascii", *sweep)) == 0
    assert (tmp_path / "faults").read_bytes() == b""
    assert b"| - |" in (tmp_path / "said").read_bytes().replace(b"  ", b"")
    assert len(list(tmp_path.glob("ä/*/results.json"))) == 2
    assert not list(tmp_path.glob("ä/*/failure.json"))
