"""What stands in the folder of a run or a sweep, and what Hydra may write there."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from mlu.launch.compose import register_resolvers
from mlu.launch.options import CONF
from mlu.launch.workplace import close_sweep, look_at_jobs, open_run, open_sweep, put_back
from mlu.runs.layout import LEFT
from mlu.system.errors import UserError
from mlu.system.owned import Owned
from tests.support.command_line import launch

HYDRAS = (".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "app.log")
SMALL = (
    "method=head",
    "dataset.images=100",
    "dataset.image_size=16",
    "training.epochs=1",
    "attack=none",
    "reference=none",
    "logger=none",
    "trainer.accelerator=cpu",
)
LOST = ("dataset=csv", "dataset.root=/nowhere", "forget_label.names=[a]")


@pytest.fixture
def opened(tmp_path):
    """Hydra's own configuration of a command whose folders are below one."""
    register_resolvers()

    def from_overrides(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", list(overrides), return_hydra_config=True)
        with open_dict(config):
            config.hydra.job.name = "app"
        HydraConfig.instance().set_config(config)
        return config

    return from_overrides


def content_below(folder):
    """Every file and every folder, with what is in it."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def own(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"my own {name}")


@pytest.mark.parametrize("name", [*LEFT, *HYDRAS])
def test_a_run_where_a_file_is_somebody_s_is_refused_before_anything_is_written(
    name, opened, tmp_path
):
    own(tmp_path, name, "photo.jpg")
    before = content_below(tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path} has files .*{name}.*hydra\.run\.dir="):
        open_run(opened(f"hydra.run.dir={tmp_path}"))
    assert content_below(tmp_path) == before


ELSEWHERE = {
    "another subfolder": (["hydra.output_subdir=.mine"], ".hydra/config.yaml", ".mine/hydra.yaml"),
    "no subfolder": (["hydra.output_subdir=null"], ".hydra/config.yaml", "labels.json"),
    "no log": (["hydra/job_logging=none"], "app.log", "roc.png"),
    "another log": (
        ["hydra.job_logging.handlers.file.filename=${hydra.runtime.output_dir}/logs/mine.log"],
        "app.log",
        "logs/mine.log",
    ),
    "a log elsewhere": (
        ["hydra.job_logging.handlers.file.filename=/nowhere/a"],
        "app.log",
        "results.json",
    ),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_only_what_would_be_written_is_refused(case, opened, tmp_path):
    overrides, free, taken = ELSEWHERE[case]
    own(tmp_path, free)
    before = content_below(tmp_path)
    open_run(opened(*overrides, f"hydra.run.dir={tmp_path}"))
    put_back()
    assert content_below(tmp_path) == before
    own(tmp_path, taken)
    with pytest.raises(UserError, match=taken):
        open_run(opened(*overrides, f"hydra.run.dir={tmp_path}"))


def test_folders_that_were_made_for_a_run_go_with_it(opened, tmp_path):
    open_run(opened(f"hydra.run.dir={tmp_path}/a/b"))
    own(tmp_path / "a" / "b", *HYDRAS)
    put_back()
    assert content_below(tmp_path) == {}


REFUSED = {
    "no table": LOST,
    "no such value": ("phi=2",),
    "no such label": ("forget_label.names=[Blad]",),
    "no weights": ("original.weights=/nowhere.pt",),
    "weights that are none": ("original.weights={folder}/model.pt",),
    "no such key": ("phhi=1",),
    "no such option": ("method=wpp",),
    "no such option in a sweep": ("-m", "method=head,wpp", "hydra.sweep.dir={folder}/s"),
    "two commands": ("--cfg", "job", "--info"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_command_changes_no_byte_and_leaves_no_file(case, tmp_path):
    folder = tmp_path / "mine"
    own(folder, "photos/a.jpg", "notes.txt", "model.pt")
    before = content_below(folder)
    words = [word.format(folder=folder) for word in REFUSED[case]]
    done = launch(tmp_path / "out", *SMALL, *words, f"hydra.run.dir={folder}")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert content_below(folder) == before


def test_results_stay_until_there_are_new_ones(tmp_path):
    folder, run = tmp_path / "run", (*SMALL, f"hydra.run.dir={tmp_path}/run")
    assert launch(tmp_path / "out", *run).returncode == 0
    before = content_below(folder)
    assert launch(tmp_path / "out", *run, *LOST).returncode == 2
    assert content_below(folder) == before

    # What fails in the middle says so beside them.
    diverged = launch(tmp_path / "out", *run, "training.lr=1e30", "seed=2")
    assert diverged.returncode == 2
    after = content_below(folder)
    assert "not finite" in after.pop("failure.json").decode()
    log = next(name for name in before if name.endswith(".log"))
    ignored = {".mlu/files.json", log}
    assert {name: after[name] for name in after if name not in ignored} == {
        name: before[name] for name in before if name not in ignored
    }
    assert after[log].startswith(before[log])

    assert launch(tmp_path / "out", *run, "seed=3").returncode == 0
    assert not (folder / "failure.json").exists()
    assert (folder / "results.json").read_bytes() != before["results.json"]

    (folder / "labels.json").write_text("edited")
    edited = content_below(folder)
    assert launch(tmp_path / "out", *run).returncode == 2
    assert content_below(folder) == edited


def test_a_run_that_fails_at_work_leaves_what_is_somebody_s_and_may_be_tried_again(tmp_path):
    """What it has written stays, to see why: its configuration and its log, listed as its own."""
    folder = tmp_path / "mine"
    own(folder, "photos/a.jpg", "notes.txt", "model.pt", ".mine/config.yaml")
    mine, run = content_below(folder), (*SMALL, f"hydra.run.dir={folder}", "hydra.job.name=app")

    for _ in range(2):
        diverged = launch(tmp_path / "out", *run, "training.lr=1e30")
        assert diverged.returncode == 2
        assert "training diverged" in diverged.stderr.splitlines()[-1]
        after = content_below(folder)
        assert {name: after[name] for name in mine} == mine
        came = {name for name in after.keys() - mine.keys() if (folder / name).is_file()}
        came -= {name for name in came if name.startswith(".mlu/")}
        assert came == {*HYDRAS}
        assert came <= Owned(folder).known().keys()
        assert Owned(folder).foreign(came) == []
        assert not Owned(folder).drafts.exists()

    assert launch(tmp_path / "out", *run).returncode == 0
    after = content_below(folder)
    assert (folder / "results.json").is_file()
    assert {name: after[name] for name in mine} == mine


TAKEN = {
    "the sweep's own file": ("${hydra.job.num}", "multirun.yaml"),
    "a job's results": ("${hydra.job.num}", "1/results.json"),
    "a job's configuration": ("${hydra.job.num}", "0/config.yaml"),
    "a job's file of Hydra's": ("${hydra.job.num}", "1/.hydra/overrides.yaml"),
    "a job's log": ("job-${hydra.job.num}", "job-0/app.log"),
    "a folder by what is asked": ("seed-${seed}", "seed-2/labels.json"),
    "a folder in a folder": ("a/${hydra.job.num}/b", "a/1/b/roc.png"),
    "a folder elsewhere": ("../elsewhere/${hydra.job.num}", "../elsewhere/0/failure.json"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_a_sweep_of_which_a_job_would_write_over_a_file_is_refused(case, tmp_path):
    subdir, name = TAKEN[case]
    own(tmp_path / "s", name, "7/config.yaml", "config.yaml")
    before = content_below(tmp_path)
    sweep = (f"hydra.sweep.dir={tmp_path}/s", f"hydra.sweep.subdir='{subdir}'")
    done = launch(tmp_path / "out", "-m", *SMALL, "seed=1,2", "hydra.job.name=app", *sweep)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert Path(name).name in line
    assert "hydra.sweep.dir=" in line
    assert content_below(tmp_path) == before


def test_what_a_killed_sweep_had_not_noted_is_no_hindrance(opened, tmp_path):
    search = "hydra/sweeper=optuna"
    config = opened(search, f"hydra.sweep.dir={tmp_path}/s", "hydra.sweep.subdir=.")

    def begin():
        open_sweep(config)
        look_at_jobs(config, [[]])

    begin()
    own(tmp_path / "s", *HYDRAS, "multirun.yaml")
    begin()
    close_sweep(config)
    with pytest.raises(UserError, match=r"\.hydra/config\.yaml"):
        begin()
    Owned(tmp_path / "s").seal(HYDRAS)
    begin()


def test_a_sweep_may_be_repeated_where_it_was(tmp_path):
    """With another number of jobs, and results of others in its folders."""
    sweep = ("-m", *SMALL, f"hydra.sweep.dir={tmp_path}/s")
    for seeds in ("seed=1", "seed=1,2", "seed=3"):
        done = launch(tmp_path / "out", *sweep, seeds)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "s").glob("*/results.json"))) == 2
