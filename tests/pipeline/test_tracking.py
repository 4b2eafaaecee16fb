"""W&B may be out of reach, die or have no room: a run goes on, and says so once."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb

from mlu.launch.build import made
from mlu.launch.compose import composed, values_of
from mlu.pipeline import run as pipeline
from mlu.pipeline import tracking
from mlu.pipeline.subject import Subject
from mlu.system.errors import UserError
from tests.support.killing import SAID, ended, launch, started
from tests.support.wandb_file import read_run

SMALL = (
    "method=original",
    "reference=none",
    "attack=none",
    "dataset.images=120",
    "dataset.image_size=32",
    "training.epochs=2",
    "training.batch_size=16",
    "trainer.accelerator=cpu",
)
NOBODY = "http://127.0.0.1:9"
"""Where nobody listens."""


def command(outputs):
    return outputs, (*SMALL, f"hydra.run.dir={outputs}/run")


def impatient(setting: str, concerned: Callable[[str], bool]) -> None:
    """W&B waits two seconds for one thing in the runs that are concerned, by their mode.

    Not in all runs: on a busy machine what goes well may take as long.
    """
    init = wandb.init

    def begun(*, mode, settings, **given):
        if concerned(mode):
            setattr(settings, setting, 2.0)
        return init(mode=mode, settings=settings, **given)

    wandb.init = begun


def out_of_reach(outputs: Path) -> None:
    os.environ |= {"WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": NOBODY}
    impatient("init_timeout", lambda mode: mode == "online")
    launch(*command(outputs))


def test_a_run_goes_on_where_wandb_cannot_be_reached_and_keeps_it_for_later(tmp_path):
    assert ended(started(out_of_reach, tmp_path)) == 0, (tmp_path / SAID).read_text()
    assert (tmp_path / "run" / "results.json").is_file()
    assert (tmp_path / SAID).read_text().count("W&B cannot be used online") == 1
    run = read_run(tmp_path / "run")
    assert run.exit_code == 0
    assert "unlearned/test/retained/accuracy" in run.history


def dying(outputs: Path) -> None:
    """W&B's own process dies as soon as it has begun, in the first of two jobs."""
    opened, jobs = tracking.Wandb.opened, []

    def shot(self, folder, *given):
        run = opened(self, folder, *given)
        for pid in [] if jobs else processes_named("wandb-core"):
            os.kill(pid, signal.SIGKILL)
        jobs.append(folder)
        return run

    tracking.Wandb.opened = shot
    impatient("finish_timeout", lambda mode: not jobs)
    launch(outputs, ("--multirun", *SMALL, "seed=0,1", f"hydra.sweep.dir={outputs}/sweep"))


def processes_named(name: str) -> list[int]:
    """Numbers of processes that this one has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, parent = (
                (folder / "cmdline").read_text(),
                (folder / "stat").read_text().rpartition(")")[2].split()[1],
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name in words and int(parent) == os.getpid():
            found.append(int(folder.name))

    assert found

    return found


def test_a_run_goes_on_where_wandb_dies_and_the_next_job_has_it_again(tmp_path):
    code, said = ended(started(dying, tmp_path)), (tmp_path / SAID).read_text()
    assert code == 0, said
    assert "Traceback" not in said
    assert said.count("W&B gets no more of this run") == 1
    for job in "01":
        assert (tmp_path / "sweep" / job / "results.json").is_file()
    run = read_run(tmp_path / "sweep" / "1")
    assert run.exit_code == 0
    assert "unlearned/test/retained/accuracy" in run.history


class Broken:
    """A run of W&B's that takes nothing from some call on."""

    def __init__(self, calls):
        self.calls, self.codes, self.config = (
            calls,
            [],
            SimpleNamespace(update=lambda *given, **named: None),
        )

    def log(self, *given, **named):
        self.calls -= 1
        if self.calls < 0:
            raise OSError(28, "No space left on device")

    def finish(self, exit_code=0):
        self.codes.append(exit_code)

    def define_metric(self, *given, **named):
        pass


@pytest.fixture
def wandb_of(monkeypatch, experiment):
    """Runs the pipeline with a W&B of the test's making."""

    def run(init, *overrides):
        import wandb

        monkeypatch.setattr(wandb, "init", init)
        monkeypatch.setattr(tracking, "WandbLogger", lambda experiment: logger_of(experiment))
        return pipeline.run(experiment(*SMALL, "logger=wandb", *overrides))

    return run


def logger_of(run):
    return SimpleNamespace(
        name="toy", version="1", log_metrics=lambda metrics, step: run.log(metrics, step)
    )


@pytest.mark.parametrize("calls", [0, 1, 10_000])
def test_what_cannot_be_logged_ends_nothing_and_is_said_once(calls, wandb_of, caplog):
    run = Broken(calls)
    with caplog.at_level(logging.WARNING):
        results = wandb_of(lambda **named: run, f"seed={calls}")
    assert results.metrics["original/test/retained/accuracy"] is not None
    lost = "W&B gets no more of this run: [Errno 28] No space left on device"
    assert caplog.text.count(lost) == (calls < 10_000)
    assert run.codes == [0]


def test_no_wandb_at_all_is_no_reason_to_stop(wandb_of, caplog):
    asked = []

    def init(**named):
        asked.append(named["mode"])
        raise RuntimeError("out of order\nfor good")

    with caplog.at_level(logging.WARNING):
        results = wandb_of(init, "logger.mode=online")

    assert asked == ["online", "offline"]
    assert results.metrics["original/test/retained/accuracy"] is not None
    assert "W&B cannot be used online: out of order" in caplog.text
    assert "W&B cannot be used offline: out of order" in caplog.text


@pytest.mark.parametrize("content", [None, b"machine \xff\xfe", b"no netrc"])
def test_a_netrc_that_cannot_be_read_has_no_key(content, monkeypatch, tmp_path):
    file = tmp_path / "netrc"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(file))
    assert not tracking.logged_in()


def tracker_of(*overrides):
    return made(values_of(composed(["logger=wandb", *overrides])), "logger")


def test_the_environment_says_what_a_run_is_called(monkeypatch, tmp_path):
    """And the configuration stands before it."""
    asked = []

    def init(**named):
        asked.append(named)
        return Broken(10_000)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(tracking, "WandbLogger", lambda experiment: logger_of(experiment))
    variables = {"PROJECT": "theirs", "NAME": "mine", "TAGS": "a,,b", "DIR": f"{tmp_path}/files"}
    for name, value in variables.items():
        monkeypatch.setenv(f"WANDB_{name}", value)

    for words in ((), ("logger.project=ours",)):
        with tracker_of(*words).run(tmp_path, Subject("wf: Male", None, "wf", ("faces",)), {}):
            pass

    assert [one["project"] for one in asked] == ["theirs", "ours"]
    assert asked[0]["name"] == "mine"
    assert asked[0]["tags"] == ["faces", "a", "b"]
    assert os.environ["WANDB_TAGS"] == "a,b"
    assert (tmp_path / "files").is_dir()


def test_an_empty_variable_says_nothing(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "")
    assert tracker_of().project == "mlu"


@pytest.mark.parametrize("project", ["faces/2", "a%b", "x" * 129])
def test_a_project_that_wandb_does_not_take_is_refused_before_anything_is_trained(project):
    with pytest.raises(UserError, match="is no name of a project of W&B"):
        tracker_of(f"logger.project='{project}'")


def test_a_run_that_fails_is_told_to_have_failed(wandb_of):
    run = Broken(10_000)
    with pytest.raises(ValueError, match="the loss is"):
        wandb_of(lambda **named: run, "training.lr=1e30", "seed=7")
    assert run.codes == [1]
