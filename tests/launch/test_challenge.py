"""The end of a sweep that makes a challenge: all of it, or the reason why there is none."""

from dataclasses import replace

import pytest

from mlu.launch import challenge
from mlu.launch.challenge import leave_challenge
from mlu.launch.options import CONF
from mlu.methods.boundary import BoundaryShrink
from mlu.runs.challenge import read_challenge
from mlu.runs.layout import WEIGHTS
from mlu.system.errors import UserError
from mlu.system.store import checksum
from tests.conftest import METHODS
from tests.support.challenged import job, jobs
from tests.support.made_runs import metrics_of
from tests.whole_runs.test_experiments import swept


def test_every_method_that_forgets_labels_is_in_it_and_draws_are_nobody_else_s():
    values = swept("challenge", "small")
    assert set(values["method"]) == {*METHODS} - {"boundary"}
    assert "multilabel" not in BoundaryShrink.tasks
    assert values["seed"] == ["1", "2", "3", "4", "5"]
    assert (CONF / "experiment" / "challenge.yaml").read_text().count("${sum:2000,${seed}}") == 1


def test_it_holds_the_weights_of_its_jobs_and_their_figures(tmp_path):
    runs = jobs(tmp_path / "jobs", (3, 5))
    lines = leave_challenge(runs, tmp_path / "out")
    size = sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert f"2 replicates, {size / 1e6:.1f} MB" in lines[0]

    found = read_challenge(tmp_path / "out")
    by_name = {run.folder.name: run for run in runs}
    for replicate in found.facts.replicates:
        for kind in ("original", "retrain"):
            weights = by_name[f"{kind}-{replicate.seed}"].folder / WEIGHTS
            given = tmp_path / "out" / kind / replicate.file
            assert checksum(given) == checksum(weights)

    ours = {rating.name: rating for rating in found.facts.ours}
    assert (ours["original"].word, ours["original"].unchanged) == ("exceeded", (1, 2))
    assert ours["retrain"].copied == (1, 2)
    assert ours["wf"].mean == pytest.approx(0.01 + 0.004)
    assert (ours["wf"].seconds, ours["wf"].passes) == (4.0, 150.0)


def test_a_method_that_lacks_a_seed_is_left_out(tmp_path):
    runs = jobs(tmp_path / "jobs")
    leave_challenge(runs[:-1], tmp_path / "out")
    names = {rating.name for rating in read_challenge(tmp_path / "out").facts.ours}
    assert names == {"original", "retrain"}


WRONG = {
    "no Retrain": (lambda runs, _: runs[:1], "seed 1 has no method=retrain"),
    "nothing": (lambda *_: [], "no job has results"),
    "seeds that share people": (
        lambda _, place: jobs(place, (1, 2), ("original", "retrain"), "dataset.seed=7"),
        "seeds share their people",
    ),
    "a seed apart": (
        lambda _, place: jobs(place, (1, 2), ("original", "retrain"), "train_seed=7"),
        "seed decides all that is drawn",
    ),
    "no readers": (
        lambda _, place: jobs(place, (1,), ("original", "retrain"), "attack=mia"),
        "the verdict is that of attack=aia",
    ),
    "an insider": (
        lambda _, place: jobs(place, (1,), ("original", "retrain"), "attack.aia.insider=true"),
        "attack.aia.insider=false",
    ),
    "two sizes": (
        lambda runs, place: [*runs, job(place, "wp", 1, "dataset.images=300")],
        "its jobs differ in dataset.images",
    ),
    "no weights": (
        lambda runs, place: [*runs, job(place, "original", 8, weights=False)],
        "seed 8 has no method=original",
    ),
    "photographs": (
        lambda runs, _: [
            replace(run, results=replace(run.results, run=replace(run.results.run, dataset="csv")))
            for run in runs
        ],
        "dataset=faces",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_sweep_that_makes_none_says_why_and_writes_nothing(case, tmp_path):
    runs_of, says = WRONG[case]
    runs = runs_of(jobs(tmp_path / "jobs"), tmp_path / "others")
    (line,) = leave_challenge(runs, tmp_path / "out")
    assert line.startswith("no challenge is written: ")
    assert says in line
    assert not (tmp_path / "out").exists()


def test_one_that_is_too_large_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(challenge, "MOST_BYTES", 1_000_000)
    (line,) = leave_challenge(jobs(tmp_path / "jobs"), tmp_path / "out")
    assert "at most 1 are handed out: take a smaller backbone" in line
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_s_is_not_written_into_and_our_own_is_replaced(tmp_path):
    runs = jobs(tmp_path / "jobs")
    leave_challenge(runs, tmp_path / "out")
    better = job(tmp_path / "jobs", "wf", 2, metrics=metrics_of(excess=-0.5))
    leave_challenge([*runs, better], tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text("mine")
    with pytest.raises(UserError, match="files that mlu has not written"):
        leave_challenge(runs, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "mine"
