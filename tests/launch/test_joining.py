"""One Python file and one yaml make a method, an attack, a data set or a backbone part of the
program, also from a folder of the user's."""

import importlib
import json
import re
import sys

import pytest
import torch

import mlu
from mlu import certify
from mlu.launch.check import check_config
from mlu.launch.compose import composed, explain, values_of
from mlu.launch.options import CONF
from mlu.report.__main__ import main as report_command
from mlu.system.errors import UserError
from tests.support.command_line import launch
from tests.support.own_parts import where_python_finds, write_own_parts

OWN = ["method=noise", "attack=guess", "dataset=stripes", "backbone=shallow"]
BRIEF = ["training.epochs=2", "training.batch_size=16", "trainer.accelerator=cpu", "logger=none"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder of a user who has one of each kind."""
    folder = tmp_path_factory.mktemp("user")
    write_own_parts(folder)
    return folder


@pytest.fixture(scope="module")
def told(home):
    """What `--help` says with the user's folder; the module need not even be found for it."""
    done = launch(home / "outputs", "--help", "--config-dir", str(home / "conf"), *OWN)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("group", "name", "key"),
    [
        ("method", "noise", "strength: 3.0 # number >= 0: of the noise on the head"),
        ("attack", "guess", "threshold: 0.0 # number in [-5, 5]: logits above say yes"),
        ("dataset", "stripes", "images: 120 # whole number in [20, 9999]: how many"),
        ("backbone", "shallow", "width: 4 # even whole number >= 2: channels"),
    ],
)
def test_help_names_it_and_its_keys(group, name, key, told):
    (options,) = re.findall(rf"^{group}: (.*)$", told, re.MULTILINE)
    assert name in options.split(", ")
    assert key in re.sub(" +", " ", told)
    # What several files share is said of it as well.
    assert "image_size: 16 # whole number >= 16: height and width" in re.sub(" +", " ", told)


def refusal(home, *words):
    """Why a configuration with the user's parts is refused; None where it is not."""
    folders = (home / "conf", CONF)
    try:
        check_config(values_of(composed([*OWN, *words], folders[:1]), folders), folders)
    except UserError as fault:
        return str(fault)
    except Exception as fault:
        return explain(fault, folders)
    return None


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("method.strength=-1", "method.strength must be a number >= 0, got -1"),
        ("method.strenght=1", "no key 'method.strenght', did you mean 'method.strength'?"),
        ("+method.sigma=1", "there is no key 'method.sigma' of method=noise"),
        ("~method.strength", "method.strength is missing: it must be a number >= 0, as in "),
        ("method=nois", "method=nois does not exist, did you mean 'noise'?"),
        ("method=[noise]", "method must be one of boundary, "),
        ("attack.guess.threshold=7", "attack.guess.threshold must be a number in [-5, 5], got 7"),
        ("attack.guess.treshold=1", "did you mean 'attack.guess.threshold'?"),
        ("attack=[aia,gues]", "attack=gues does not exist, did you mean 'guess'?"),
        ("dataset.images=19", "dataset.images must be a whole number in [20, 9999], got 19"),
        ("dataset.image_size=8", "dataset.image_size must be a whole number >= 16, got 8"),
        ("dataset.labels=[uper]", "stripes has no label 'uper', did you mean 'upper'?"),
        ("forget_label.names=[midle]", "stripes has no label 'midle'"),
        ("backbone.width=3", "backbone.width must be an even whole number >= 2, got 3"),
        ("backbone.weights=gone", "backbone.weights=gone does not exist"),
    ],
)
def test_what_is_wrong_with_it_is_told_as_of_ours(word, says, home):
    assert refusal(home) is None
    found = refusal(home, word)
    assert says in found
    assert "\n" not in found


def test_a_wrong_value_is_told_before_the_module_is_imported(home):
    """Python does not find it."""
    words = ["--config-dir", str(home / "conf"), *OWN, "method.strength=much"]
    done = launch(home / "outputs", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("method.strength must be a number >= 0, got 'much'")


@pytest.fixture(scope="module")
def done(home):
    """A run of all four, and its folder."""
    words = ["--config-dir", str(home / "conf"), *OWN, *BRIEF, f"hydra.run.dir={home / 'run'}"]
    done = launch(home / "outputs", *words, env=where_python_finds(home))
    assert done.returncode == 0, done.stderr
    return done


def test_a_run_of_all_four_has_their_figures(done, home):
    results = json.loads((home / "run" / "results.json").read_text())
    named = {key: results["run"][key] for key in ("method", "dataset", "backbone", "forget_label")}
    assert named == {
        "method": "noise",
        "dataset": "stripes",
        "backbone": "shallow",
        "forget_label": ["upper"],
    }
    for model in ("original", "retrain", "unlearned"):
        assert 0 <= results["metrics"][f"{model}/attack/guess/hits"] <= 1


def test_the_terminal_s_tables_have_a_column_and_a_row_for_it(done):
    column, row = [line for line in done.stdout.splitlines() if "guessed from the sign" in line]
    assert "retained accuracy" in column
    assert len(re.findall(r"\d\.\d", row)) >= 3


def test_the_report_has_a_column_for_it(done, home):
    report = home / "report"
    assert report_command([str(home / "run"), "--out", str(report)]) == 0
    written = "\n".join(
        file.read_text() for file in report.rglob("*") if file.suffix in (".html", ".md", ".csv")
    )
    for text in ("noise", "stripes", "shallow", "guessed", "how often the sign is right"):
        assert text in written, text


def test_a_run_is_loaded_with_the_user_s_backbone_where_the_caller_names_it(
    done, home, monkeypatch
):
    with pytest.raises(UserError, match=r"mlu.load\(run, backbones=\[Shallow\]\)$"):
        mlu.load(home / "run")
    assert "own_parts_of_a_user" not in sys.modules

    monkeypatch.syspath_prepend(home)
    own = importlib.import_module("own_parts_of_a_user")
    model = mlu.load(home / "run", backbones=[own.Shallow])
    assert set(model.predict(torch.rand(2, 3, 16, 16))) == {"upper", "lower"}


def test_a_run_is_certified(done, home):
    with pytest.raises(SystemExit) as end:
        certify.main([str(home / "run")])
    assert end.value.code == 0
    stated = json.loads((home / "run" / "certificate.json").read_text())
    assert stated["method"]["settings"] == {"strength": 3.0}
    assert (stated["method"]["name"], stated["model"]) == ("noise", "shallow")
    assert stated["data"]["name"] == "stripes"
    (row,) = [row for row in stated["figures"] if row["question"] == "guessed from the sign"]
    assert row["path"] == "attack/guess/hits"
    assert row["unlearned"]["value"] is not None
