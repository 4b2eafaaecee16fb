"""The end of a sweep: what it says of its jobs, and how to repeat those that failed."""

import json
import shlex

import pytest
from omegaconf import OmegaConf

from mlu.launch.options import CONF
from mlu.launch.sweep import Sweep, hand_out, sum_up
from mlu.runs.notes import Note, Noticeboard, leave_mark
from mlu.runs.read import collect
from tests.support.challenged import jobs
from tests.support.command_line import launch
from tests.support.made_runs import results_of, written

SMALL = [
    "dataset.images=120",
    "dataset.image_size=16",
    "training.epochs=1",
    "attack=none",
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


PLACES = {
    "below several folders": ["hydra.sweep.subdir=a/b/${hydra.job.num}", "hydra.job.chdir=true"],
    "by overrides": ["hydra.sweep.subdir=${hydra.job.override_dirname}", "hydra.run.dir=OUT/run"],
    "in a folder of each": ["hydra.sweep.dir=OUT/phi_${phi}", "hydra.sweep.subdir=job"],
    "elsewhere": ["hydra.sweep.subdir=OUT/s/${hydra.job.num}", "hydra.output_subdir=asked"],
    "beside": ["hydra.sweep.subdir=../beside_${hydra.job.num}", "hydra.output_subdir=."],
    "with signs of a pattern": ["hydra.sweep.dir='OUT/s[1]*'", "hydra.output_subdir=null"],
    "without a log": ["hydra/job_logging=disabled", "hydra.output_subdir=null"],
}
"""What says where the jobs of a sweep are; OUT is a folder."""


@pytest.mark.parametrize("words", PLACES.values(), ids=PLACES)
def test_jobs_are_found_wherever_they_are(words, tmp_path):
    placed = [word.replace("OUT", str(tmp_path)) for word in words]
    done = launch(tmp_path, "-m", "method=head", "phi=2,3", *placed)
    assert done.returncode == 1, done.stderr
    for number, phi in enumerate((2, 3)):
        said = f"job {number} failed: UserError: phi must be a number in [0, 1], or null, got {phi}"
        assert said in done.stdout
    assert done.stdout.count("repeat it: python launch.py method=head phi=") == 2
    gaps = collect([tmp_path]).gaps
    assert [(gap.method, gap.composed["phi"]) for gap in gaps] == [("head", 2), ("head", 3)]


def test_a_sweep_is_summed_up_by_its_own_jobs(tmp_path):
    small = [*SMALL, "reference=none", f"hydra.sweep.dir={tmp_path}/s"]
    first = launch(tmp_path, "-m", "method=head", "phi=2,3,4", *small)
    assert first.returncode == 1
    assert "job 2 failed" in first.stdout
    kept = (tmp_path / "s" / "1" / "failure.json").read_bytes()
    second = launch(tmp_path, "-m", "method=original", "seed=42", *small)
    assert (second.returncode, second.stderr) == (0, "")
    assert "failed" not in second.stdout
    assert second.stdout.count("│ 0 ") == 1
    assert (tmp_path / "s" / "1" / "failure.json").read_bytes() == kept


def test_a_sweep_whose_jobs_share_a_folder_ends_before_it_begins(tmp_path):
    done = launch(tmp_path, "-m", "method=head", "phi=2,3", "hydra.sweep.subdir=same")
    assert done.returncode == 2
    assert done.stderr.startswith("hydra.sweep.subdir=same: jobs 0 and 1 would both write into")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_job_that_cannot_begin_is_named(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "1").write_text("mine")
    folder = (f"hydra.sweep.dir={tmp_path}/s", "hydra.sweep.subdir=${hydra.job.num}/x")
    done = launch(tmp_path, "-m", "method=head", "phi=2,3,4", *folder)
    assert done.returncode == 1, done.stderr
    assert "job 0 failed: UserError: phi must be" in done.stdout
    assert "job 1 failed: cannot read or write" in done.stdout
    assert "job 2 has not begun\n  repeat it: python launch.py method=head phi=4" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("hydra/launcher=basic broke off: cannot read or write")
    assert (tmp_path / "s" / "1").read_text() == "mine"


HOPELESS = {
    "a name that is too long": f"hydra.sweep.subdir=${{hydra.job.num}}{'x' * 300}",
    "a key that is not there": "hydra.sweep.subdir=${hydra.job.num}${no.such.key}",
    "a folder that cannot be written": "hydra.output_subdir=/dev/null/x",
}


@pytest.mark.parametrize("word", HOPELESS.values(), ids=HOPELESS)
def test_a_first_job_that_cannot_begin_is_named(word, tmp_path):
    done = launch(tmp_path, "-m", "method=head", "phi=2,3", word)
    assert done.returncode == 1, done.stderr
    assert "job 0 failed: " in done.stdout
    assert "repeat it: python launch.py method=head phi=2" in done.stdout
    assert "job 1" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("hydra/launcher=basic broke off: ")


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """The end of a sweep of three jobs, whose first has failed without room even to say so.

    Its folder has jobs of an earlier sweep too.
    """
    monkeypatch.setattr("mlu.runs.tables.show_table", lambda table: print(len(table.rows), "rows"))
    hydra = {
        "sweep": {"dir": str(tmp_path)},
        "sweeper": {"_target_": "other"},
        "runtime": {"config_sources": [], "choices": {"method": "wf"}},
    }
    config = OmegaConf.create({"experiment": None, "outputs": str(tmp_path), "hydra": hydra})
    mine, earlier = (Noticeboard(name, tmp_path / name) for name in ("mine", "earlier"))
    for number in range(5):
        ended(earlier, tmp_path / str(number), number, error="UserError: long ago")
    for number in range(3):
        ended(mine, tmp_path / str(number), number, results=number > 0)
    return Sweep(config, mine)


def ended(board, folder, number, results=False, error=None, method="wf"):
    """Leave a job as it is when its sweep ends."""
    (folder / "results.json").unlink(missing_ok=True)
    choices, command = {"method": method}, f"python launch.py seed={number}"
    note = Note(board.sweep, number, folder, (f"seed={number}",), choices, command, error=error)
    leave_mark(note, "")
    board.leave(note)
    if results:
        written(folder / "results.json", json.dumps(results_of()))


def test_a_failure_that_was_not_written_is_one_all_the_same(sweep, capsys):
    assert sum_up(sweep) == 1
    said = capsys.readouterr().out
    assert "2 rows" in said
    assert "job 0 has no results" in said
    assert "repeat it: python launch.py seed=0" in said
    assert "long ago" not in said


def test_what_another_sweep_did_to_a_folder_meanwhile_is_told(sweep, tmp_path, capsys):
    ended(Noticeboard("yours", tmp_path / "yours"), tmp_path / "1", 1, results=True)
    assert sum_up(sweep) == 2
    said = capsys.readouterr().out
    assert "1 rows" in said
    assert f"job 1 has no results: another job has begun in {tmp_path / '1'} since" in said


def test_results_that_cannot_be_read_are_a_failure(sweep, tmp_path, capsys):
    (tmp_path / "2" / "results.json").write_text('{"schema"')
    assert sum_up(sweep) == 2
    assert "job 2 failed: results.json cannot be used" in capsys.readouterr().out


def test_a_job_that_left_nothing_between_others_is_missed(sweep, capsys):
    (sweep.board.folder / "1.json").unlink()
    assert sum_up(sweep) == 2
    assert "job 1 has not begun" in capsys.readouterr().out


def test_a_sweep_that_cannot_be_summed_up_has_failed(sweep, monkeypatch, capsys):
    def no(*args):
        raise RuntimeError("no best trial")

    monkeypatch.setattr("mlu.launch.sweep.leave_best", no)
    sweep.config.experiment = "tune"
    assert sum_up(sweep) == 2
    said = capsys.readouterr()
    assert "job 0 has no results" in said.out
    assert "the sweep could not be summed up: RuntimeError: no best trial" in said.err


def test_a_search_takes_its_own_trials_and_its_own_method(sweep, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("mlu.launch.sweep.leave_best", lambda *given: seen.append(given) or [])
    sweep.config.experiment = "tune"
    for number in (3, 4):
        ended(Noticeboard("yours", tmp_path / "yours"), tmp_path / str(number), number, True)
    for number in range(3):
        ended(sweep.board, tmp_path / str(number), number, True, method="neggrad")
    assert sum_up(sweep) == 0
    ((trials, source, _),) = seen
    assert [overrides for overrides, _ in trials] == [("seed=0",), ("seed=1",), ("seed=2",)]
    assert source == CONF / "method" / "neggrad.yaml"


def test_a_search_of_several_methods_writes_nothing(sweep, tmp_path, capsys):
    sweep.config.experiment = "tune"
    ended(sweep.board, tmp_path / "0", 0, True, method="neggrad")
    assert sum_up(sweep) == 1
    assert "its trials are of neggrad and wf: nothing is written" in capsys.readouterr().err
    assert not (tmp_path / "tuned").exists()


def test_a_challenge_is_left_in_the_folder_of_its_sweep(tmp_path, capsys):
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "sweep")}}})
    sweep = Sweep(config, Noticeboard("ours", tmp_path / "notes"))
    hand_out(sweep, dict(enumerate(jobs(tmp_path / "jobs"))))
    assert (tmp_path / "sweep" / "challenge" / "challenge.json").is_file()
    assert f"the challenge is in {tmp_path / 'sweep' / 'challenge'}" in capsys.readouterr().out
    hand_out(sweep, {})
    assert capsys.readouterr().out == "no challenge is written: no job has results\n"
