import json

import pytest
import yaml

from mlu.runs.notes import Note, leave_mark
from mlu.runs.read import collect
from mlu.runs.seeds import Seeds
from mlu.system.errors import UserError
from tests.support.made_runs import composed, config_of, fail, leave, metrics_of, written

SEVEN = Seeds(7, 7, 7, 7)


def test_runs_are_found_wherever_they_lie_and_each_once(tmp_path):
    folders = [leave(tmp_path / name) for name in ("run", "sweep/9", "sweep/10", "deep/er/sweep/0")]
    found = collect([tmp_path, tmp_path / "sweep", tmp_path / "run" / "results.json"])
    assert {run.folder for run in found.runs} == set(folders)
    assert len(found.runs) == len(folders)
    assert [run.folder.name for run in collect([tmp_path / "sweep"]).runs] == ["9", "10"]


def test_jobs_without_results_say_why(tmp_path):
    leave(tmp_path / "0")
    fail(tmp_path / "1", error="UserError: phi is 3", command="python launch.py phi=3", seed=7)
    written(tmp_path / "2" / ".hydra" / "overrides.yaml", "[seed=3]")
    written(tmp_path / "3" / "results.json", '{"schema": 1, "run"')
    written(tmp_path / "4" / "results.json", '{"schema": 3, "run": {}}')
    written(tmp_path / "5" / "results.json", "[]")
    written(tmp_path / "6" / "failure.json", "{")
    gaps = {gap.folder.name: gap for gap in collect([tmp_path]).gaps}
    assert (gaps["1"].reason, gaps["1"].command, gaps["1"].seeds) == (
        "UserError: phi is 3",
        "python launch.py phi=3",
        SEVEN,
    )
    assert gaps["2"].reason == "no results.json: still running, or ended from outside"
    assert gaps["3"].reason.startswith("results.json cannot be used: ")
    assert "schema is 3" in gaps["4"].reason
    assert "does not describe a run" in gaps["5"].reason
    assert "failure.json cannot be read" in gaps["6"].reason
    assert set(gaps) == set("123456")


def test_a_job_without_results_is_found_without_hydras_files(tmp_path):
    words = ("method=wf", "seed=7")
    note = Note("sweep", 3, tmp_path / "deep" / "3", words, command="python launch.py method=wf")
    leave_mark(note, yaml.safe_dump(config_of(seed=7) | {"epsilon": float("inf")}))
    (gap,) = collect([tmp_path]).gaps
    assert gap.reason == "no results.json: still running, or ended from outside"
    assert (gap.command, gap.seeds, gap.method) == (note.command, SEVEN, "wf")


@pytest.mark.parametrize("file", [".mlu/job.json", ".mlu/config.yaml"])
@pytest.mark.parametrize("content", ["", "[", "[]", '{"command": {}, "number": []}'])
def test_a_note_that_cannot_be_read_is_no_crash(file, content, tmp_path):
    leave_mark(Note("sweep", 3, tmp_path / "0"), "seed: 7")
    written(tmp_path / "0" / file, content)
    (gap,) = collect([tmp_path]).gaps
    assert gap.command is None
    assert gap.seeds == (SEVEN if file.endswith("json") else None)


@pytest.mark.parametrize(
    "change",
    [
        {"work": 3}, {"work": {"retrain": 5}}, {"metrics": None}, {"run": {"seed": "x"}},
        {"missing": ["a"], "metrics": {}}, {"measured": {"retrain": "x"}},
    ],
)  # fmt: skip
def test_results_of_another_shape_are_gaps_or_runs_but_never_a_crash(tmp_path, change):
    folder = leave(tmp_path / "0")
    results = json.loads((folder / "results.json").read_text()) | change
    (folder / "results.json").write_text(json.dumps(results))
    found = collect([tmp_path])
    for run in found.runs:
        assert run.figure("unlearned/test/retained/accuracy").value is None
    assert len(found.runs) + len(found.gaps) == 1


def test_trials_of_a_search_count_only_where_there_is_nothing_else(tmp_path):
    leave(tmp_path / "search" / "0", run={"experiment": "tune"})
    fail(tmp_path / "search" / "1")
    composed(tmp_path / "search" / "1", config_of() | {"experiment": "tune"})
    alone = collect([tmp_path])
    assert (len(alone.runs), len(alone.gaps), alone.trials) == (1, 1, 0)
    leave(tmp_path / "run")
    together = collect([tmp_path])
    assert [run.folder.name for run in together.runs] == ["run"]
    assert (together.gaps, together.trials) == ((), 2)


def test_nothing_found_and_a_wrong_path_are_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no results\.json in or below .*: give the folder"):
        collect([tmp_path])
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        collect([tmp_path / "nowhere"])


def test_a_null_carries_its_reason_and_what_was_not_asked_says_so(tmp_path):
    metrics = metrics_of() | {
        "speedup": None,
        "unlearned/test/retained/auroc": None,
        "x/nan": float("nan"),
    }
    missing = {"unlearned/test/retained/auroc": "one class only"}
    (run,) = collect([leave(tmp_path, metrics, missing)]).runs
    assert run.figure("unlearned/test/retained/auroc").reason == "one class only"
    assert run.figure("unlearned/attack/rmia/auroc").reason == "attack=lira was not run"
    assert run.figure("unlearned/test/nonsense").reason == "not measured"
    assert run.figure("x/nan").value is None
    known = run.figure("unlearned/test/retained/accuracy")
    assert (known.value, known.low, known.high) == (0.9, 0.88, 0.92)


def test_relearning_knows_where_it_was_cut_off(tmp_path):
    path = "unlearned/attack/relearn/512"
    (run,) = collect([leave(tmp_path, {f"{path}/steps": 200.0, f"{path}/censored": 1.0})]).runs
    assert run.figure(f"{path}/steps").censored


def test_a_job_that_has_failed_where_another_has_results_is_told_beside_them(tmp_path):
    leave(tmp_path / "0")
    fail(tmp_path / "0", error="UserError: diverged", command="python launch.py training.lr=9")
    found = collect([tmp_path])
    assert [run.folder.name for run in found.runs] == ["0"]
    (gap,) = found.gaps
    assert gap.reason == "UserError: diverged (results.json there is another job's)"
    assert gap.command == "python launch.py training.lr=9"
