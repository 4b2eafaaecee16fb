"""Ctrl-C and SIGTERM at work: one line, no traceback, and the same command goes on."""

import json
import os
import signal
import sys
from functools import partial

import pytest

from mlu.runs.layout import RESULTS
from tests.support import killing
from tests.support.forked import carry_out
from tests.support.killing import SAID, code_of, ended, hear_ctrl_c, started, until
from tests.support.photo_folder import write_lines, write_photos
from tests.support.wandb_file import read_run

TINY = (
    "dataset.images=200",
    "dataset.image_size=16",
    "training.epochs=1",
    "trainer.accelerator=cpu",
    "logger=none",
)
SETTINGS = tuple(word for word in TINY if "epochs" not in word)
LONG = (*SETTINGS, "training.epochs=100000")
LIRA = ("attack=lira", "attack.lira.shadows=6", "attack.lira.jobs=2", "reference=none")


def as_of_a_terminal(outputs, words):
    """In a child: a run in a group of processes of its own, which a terminal's Ctrl-C reaches."""
    os.setsid()
    hear_ctrl_c()
    killing.launch(outputs, words)


def said(outputs):
    file = outputs / SAID
    return file.read_text() if file.is_file() else ""


def interrupted(outputs, words, when, number=signal.SIGINT):
    """Exit code of a run of which all processes get a signal, and what it has said."""
    process = started(as_of_a_terminal, outputs, words)
    until(lambda: when(outputs) or code_of(process) is not None)
    assert code_of(process) is None, said(outputs)
    os.killpg(process.pid, number)
    try:
        return ended(process), said(outputs)
    except AssertionError as stuck:
        raise AssertionError(said(outputs)) from stuck


def says(text, outputs):
    return text in said(outputs)


def exists(pattern, outputs):
    return any(outputs.glob(pattern))


MOMENTS = {
    "training": (LONG, partial(exists, "cache/original/*/progress"), "original: epoch"),
    "loading": (
        (*LONG, "trainer.workers=2"),
        partial(exists, "cache/original/*/progress"),
        "original: epoch",
    ),
    "unlearning": (
        (*TINY, "method=finetune", "method.tuning.epochs=100000"),
        partial(says, "unlearning Male by finetune"),
        "",
    ),
    "shadow models": (
        # On slow steps: else all of them are made in a second, which a busy machine misses.
        (*SETTINGS, "training.epochs=2", *LIRA, "training.batch_size=2"),
        partial(exists, "cache/shadow/*.lock"),
        "shadow models",
    ),
}
"""What is under way: the run, how one sees it, and the words for it."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_is_one_line(moment, tmp_path):
    words, when, during = MOMENTS[moment]
    code, text = interrupted(tmp_path, words, when)
    assert code == 130, text
    assert "Traceback" not in text
    last = text.splitlines()[-1]
    assert last.startswith("ended by Ctrl-C")
    assert during in last
    assert f"to go on: python launch.py {words[0]}" in last
    assert not exists("runs/*/results.json", tmp_path)


def test_sigterm_is_told_and_the_same_command_goes_on(tmp_path):
    run = (*LONG, "attack=none", "reference=none", "method=head")
    when = partial(exists, "cache/original/*/progress")
    code, text = interrupted(tmp_path, run, when, signal.SIGTERM)
    assert code == 143, text
    assert text.splitlines()[-1].startswith("ended by SIGTERM at 'original: epoch")
    assert "Traceback" not in text
    code, text = interrupted(tmp_path, run, partial(says, "going on after epoch"))
    assert code == 130
    assert "original: going on after epoch" in text


def cleared_up_wrongly(outputs, words):
    """A run of which something else fails while it is ended by Ctrl-C."""
    from mlu.launch import cli

    def carried_out(*arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise ValueError("cleared up wrongly")

    cli.carried_out = carried_out
    hear_ctrl_c()
    killing.launch(outputs, words)


@pytest.mark.parametrize("sweep", [(), ("-m", "seed=1,2")])
def test_a_fault_of_clearing_up_takes_no_place_of_ctrl_c(sweep, tmp_path):
    assert ended(started(cleared_up_wrongly, tmp_path, (*sweep, *TINY))) == 130, said(tmp_path)
    assert "cleared up wrongly" not in said(tmp_path)
    assert said(tmp_path).splitlines()[-1].startswith("ended by Ctrl-C")


def test_the_run_that_wandb_has_of_it_was_killed(tmp_path):
    words = (*(word for word in LONG if "logger" not in word), f"hydra.run.dir={tmp_path}/run")
    code, text = interrupted(tmp_path, words, partial(exists, "cache/original/*/progress"))
    assert code == 130, text
    assert read_run(tmp_path / "run").exit_code == 255


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_shows_what_is_done(launcher, tmp_path):
    words = (
        "-m", *TINY, "attack=none", "reference=none", "method=finetune",
        "method.tuning.epochs=1,100000", f"hydra/launcher={launcher}",
    )  # fmt: skip

    def second_job_runs(outputs):
        first = exists(f"sweeps/*/0/{RESULTS}", outputs)
        return first and exists("sweeps/*/1/.mlu/config.yaml", outputs)

    code, text = interrupted(tmp_path, words, second_job_runs)
    assert code == 130, text
    assert "Traceback" not in text
    assert "after forgetting, test split" in text
    assert "job 1 has no results" in text
    assert "repeat it: python launch.py " in text
    assert text.splitlines()[-1].startswith("ended by Ctrl-C")


def of_a_module(module, words, folder, picture):
    """In a child: a command of a module, in a group of processes of its own.

    It leaves `seen` in the folder when it opens a picture again: first only its beginning is read.
    """
    opened = []

    def hook(event, arguments):
        if event == "open" and str(arguments[0]).endswith(f"/{picture}"):
            opened.append(picture)
            if len(opened) == 2:
                (folder / "seen").touch()

    os.setsid()
    hear_ctrl_c()
    sys.addaudithook(hook)
    carry_out(module, words, folder)


@pytest.mark.parametrize(
    ("module", "sign", "during"),
    [("mlu.prepare", "out/cache/prepared/*/*.npy", "decoding"), ("mlu.doctor", "seen", "looking")],
)
def test_commands_about_images_end_so_too(module, sign, during, tmp_path):
    paths = [f"{number}.png" for number in range(1000)]
    write_photos(tmp_path, paths)
    rows = [f"{path},{number % 2},{number % 3 // 2}" for number, path in enumerate(paths)]
    write_lines(tmp_path / "labels.csv", "image,Bald,Young", *rows)
    words = ["dataset=csv", f"dataset.root={tmp_path}", "dataset.image_size=1500"]
    words.append(f"outputs={tmp_path}/out")
    process = started(of_a_module, module, words, tmp_path, paths[50])
    until(lambda: exists(sign, tmp_path))
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == 130
    text = (tmp_path / "stderr").read_text()
    assert "Traceback" not in text
    line = text.splitlines()[-1]
    assert line.startswith(f"ended by Ctrl-C at {during!r}")
    assert f"to go on: python -m {module} dataset=csv" in line
    for record in tmp_path.glob("out/cache/prepared/*/*.json"):
        assert json.loads(record.read_text())["bytes"] == record.with_suffix(".npy").stat().st_size
