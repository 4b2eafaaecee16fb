"""Nothing that a run leaves holds a secret of whoever started it."""

import os
import secrets

import pytest

from mlu.certify import issue
from mlu.report.__main__ import main as report
from tests.support.command_line import launch
from tests.support.wandb_file import records

SMALL = (
    "dataset.images=100",
    "dataset.image_size=16",
    "training.epochs=1",
    "trainer.accelerator=cpu",
    "reference=none",
    "method=head",
    "attack=none",
    "logger=wandb",
)
MOST = 2**24


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A folder in which a run left all it leaves, its report and its certificate; and the secrets
    around it."""
    outputs, home = tmp_path_factory.mktemp("outputs"), tmp_path_factory.mktemp("home")
    hidden = {
        name: f"secret{secrets.token_hex(8)}"
        for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "LOGNAME", "USER")
    }
    hidden["WANDB_API_KEY"], password = secrets.token_hex(20), secrets.token_hex(20)
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {password}\n")
    (home / ".netrc").chmod(0o600)
    given = {"HOME": str(home), "NETRC": str(home / ".netrc"), "WANDB_MODE": "offline", **hidden}
    done = launch(outputs, *SMALL, env={**os.environ, **given})
    assert done.returncode == 0, done.stderr
    (run,) = (outputs / "runs").iterdir()
    issue(run, run)
    assert report([str(run), "--out", str(outputs / "report")]) == 0
    (outputs / "said.txt").write_text(done.stdout + done.stderr)
    return outputs, {**hidden, "netrc": password}


def holding(folder, text):
    """Files below a folder that hold a text."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size < MOST]
    return [str(file.relative_to(folder)) for file in files if text.encode() in file.read_bytes()]


def test_no_file_holds_a_key_a_password_or_any_variable_of_the_environment(left):
    outputs, hidden = left
    for name, secret in hidden.items():
        assert holding(outputs, secret) == [], name


def test_all_that_a_run_leaves_was_looked_at(left):
    """The control: what is meant to be there is found in every kind of file."""
    outputs, _ = left
    found = " ".join(holding(outputs, "tiny"))
    for name in (
        "results.json",
        "/config.yaml",
        ".hydra/config.yaml",
        ".wandb",
        "report.html",
        "certificate.json",
    ):
        assert name in found
    assert "said.txt" in " ".join(holding(outputs, "results in"))


def test_wandb_is_told_no_machine_no_person_no_command_and_no_code(left):
    outputs, _ = left
    names = {file.name for file in outputs.rglob("*") if file.is_file()}
    assert not names & {"wandb-metadata.json", "code", "diff.patch"}
    (file,) = outputs.glob("runs/*/wandb/offline-run-*/run-*.wandb")
    kinds, run = set(), None
    for record in records(file):
        kinds.add(record.WhichOneof("record_type"))
        run = record.run if record.WhichOneof("record_type") == "run" and run is None else run
    assert "environment" not in kinds
    assert "history" in kinds
    assert run.host == ""
    assert run.git.remote_url == ""
