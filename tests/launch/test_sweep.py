"""The end of a sweep: what it says of its jobs, and how to repeat those that failed."""

import json
import shlex

import pytest
from omegaconf import OmegaConf

from mlu.launch.sweep import sum_up
from tests.support.command_line import launch
from tests.support.made_runs import results_of

SMALL = [
    "dataset.images=300",
    "dataset.image_size=32",
    "training.epochs=1",
    "trainer.accelerator=cpu",
    "logger=none",
]


def test_a_sweep_goes_on_after_a_failed_job_and_says_how_to_repeat_it(tmp_path):
    done = launch(tmp_path, "-m", "method=head", "phi=2,0.1", *SMALL)
    assert done.returncode == 1
    assert "job 0 failed: UserError: phi must be a number in [0, 1], or null, got 2" in done.stdout
    assert "repeat it: python launch.py" in done.stdout
    (job,) = tmp_path.glob("sweeps/*/1")
    assert (job / "results.json").is_file()
    assert not (job.parent / "0" / "results.json").exists()
    assert json.loads((job.parent / "0" / "failure.json").read_text())["command"].startswith(
        "python launch.py"
    )


def test_what_repeats_a_job_says_where_its_configuration_is(tmp_path):
    (tmp_path / "own" / "method").mkdir(parents=True)
    (tmp_path / "own" / "method" / "mine.yaml").write_text("defaults: [head]\n")
    own = ("--config-dir", str(tmp_path / "own"))
    launch(tmp_path, "-m", *own, "method=mine", "phi=2,0.1", *SMALL)
    (file,) = tmp_path.glob("sweeps/*/0/failure.json")
    _, _, *words = shlex.split(json.loads(file.read_text())["command"])
    again = launch(tmp_path, *words)
    assert again.stderr.strip().splitlines()[-1].startswith("phi must be a number in [0, 1]")


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """The end of a sweep of three jobs, whose first has failed without room even to say so."""
    for job in range(3):
        folder = tmp_path / str(job) / ".hydra"
        folder.mkdir(parents=True)
        (folder / "overrides.yaml").write_text(f"[seed={job}]")
        if job:
            (folder.parent / "results.json").write_text(json.dumps(results_of()))
    (tmp_path / "0" / "failure.json").write_text("")
    monkeypatch.setattr("mlu.runs.tables.sweep_table", lambda jobs: f"{len(jobs)} jobs")
    hydra = {"sweep": {"dir": str(tmp_path)}, "runtime": {"config_sources": []}}
    return OmegaConf.create(
        {"experiment": None, "method": {"name": "mine"}, "outputs": "out", "hydra": hydra}
    )


def test_a_failure_that_was_not_written_whole_is_one_all_the_same(sweep, capsys):
    assert sum_up(sweep) == 1
    said = capsys.readouterr().out
    assert "2 jobs" in said
    assert "job 0 has no results" in said
    assert "repeat it: python launch.py seed=0" in said


def test_a_sweep_that_cannot_be_summed_up_has_failed(sweep, capsys):
    sweep.experiment = "tune"
    assert sum_up(sweep) == 2
    said = capsys.readouterr()
    assert "job 0 has no results" in said.out
    assert "the sweep could not be summed up: " in said.err
