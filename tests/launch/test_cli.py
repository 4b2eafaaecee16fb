import json
import subprocess
import sys

import pytest
import torch
import yaml

import mlu
from mlu import certify
from mlu.launch import cli
from mlu.runs.layout import CONFIG, LABELS, LEFT, RESULTS, WEIGHTS
from mlu.system.owned import Owned
from tests.support.command_line import ROOT, launch

SMALL = [
    "dataset.images=300",
    "dataset.image_size=32",
    "training.epochs=1",
    "trainer.accelerator=cpu",
    "logger=none",
]


def test_help_is_useful_and_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "launch.py", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0
    for text in (
        "python launch.py -m method=",
        "method: boundary, cfk, decorrelate, finetune, head",
        "epsilon: 0.1",
        "# number >= 0, or inf: how far an edited weight may drift",
    ):
        assert text in done.stdout


def test_models_of_timm_are_unlearned_loaded_and_certified(tmp_path):
    """One of maps and one of tokens."""
    names = ("test_resnet", "test_vit")
    settings = (
        "-m",
        "backbone=timm",
        f"backbone.name={','.join(names)}",
        "method=wf",
        "method.tuning.steps=3",
    )
    done = launch(tmp_path, *settings, *SMALL, "attack.aia.hidden=4")
    assert done.returncode == 0, done.stderr
    runs = sorted(tmp_path.glob("sweeps/*/*/results.json"))
    assert len(runs) == 2
    for name, file in zip(names, runs, strict=True):
        results = json.loads(file.read_text())
        assert results["run"]["backbone"] == name
        assert results["metrics"]["unlearned/test/forgotten/balanced_accuracy"] == 0.5
        last = "layer4" if name == "test_resnet" else "pool"
        path = f"unlearned/attack/aia/features/{last}/balanced_accuracy"
        assert (
            results["metrics"][path]
            == results["metrics"]["unlearned/attack/aia/features/balanced_accuracy"]
        )
        model = mlu.load(file.parent)
        images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        assert model.predict(images)["Male"].std() < 1e-6 < model.predict(images)["Bald"].std()
        with pytest.raises(SystemExit) as end:
            certify.main([str(file.parent)])
        assert end.value.code == 0
        assert json.loads((file.parent / "certificate.json").read_text())["model"] == name


def test_a_run_leaves_nothing_of_the_one_that_was_there_before(tmp_path):
    run = ("method=head", *SMALL, "attack=none", "reference=none", f"hydra.run.dir={tmp_path}/run")
    place = Owned(tmp_path / "run")
    for name in LEFT:
        place.write(name, "of an earlier run")
    assert launch(tmp_path, *run).returncode == 0
    kept = {name for name in LEFT if (tmp_path / "run" / name).exists()}
    assert kept == {*(RESULTS, CONFIG, LABELS, WEIGHTS), "distributions.npz", "distributions.png"}
    assert b"earlier" not in b"".join((tmp_path / "run" / name).read_bytes() for name in kept)


def test_a_search_outlives_a_failed_trial_and_goes_on_with_the_same_command(tmp_path):
    search = [
        "hydra/sweeper=optuna",
        f"hydra.sweeper.storage=sqlite:///{tmp_path}/o.db",
        "hydra.sweeper.direction=maximize",
        "hydra.sweeper.n_trials=2",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.sampler.seed=0",
        "objective=unlearned/validation/retained/accuracy",
    ]
    command = ("-m", *SMALL, *search, "attack=none", "method=wf", "phi=choice(0.0, 0.3, 2.0)")
    first, second = (launch(tmp_path, *command, "method.tuning.steps=1") for _ in range(2))
    assert sorted((first.returncode, second.returncode)) == [0, 1]
    assert "2 trials are there" in second.stdout
    (_, best) = sorted(tmp_path.glob("sweeps/*/optimization_results.yaml"))
    found = [json.loads(file.read_text()) for file in tmp_path.glob("sweeps/*/*/results.json")]
    values = [results["metrics"]["unlearned/validation/retained/accuracy"] for results in found]
    assert yaml.safe_load(best.read_text())["best_value"] == max(values)
    assert len(values) + len(list(tmp_path.glob("sweeps/*/*/failure.json"))) == 3


@pytest.mark.parametrize("code", [0, None, 3, "enough"])
def test_a_part_of_a_run_ends_its_job_and_not_the_sweep(code, monkeypatch, tmp_path):
    def leave(*args):
        sys.exit(code)

    monkeypatch.setattr(cli, "build", leave)
    with pytest.raises(RuntimeError, match=r"called sys\.exit\("):
        cli.carried_out({"objective": None}, tmp_path, "sweep")


def test_a_path_that_is_no_figure_is_named_with_the_nearest(tmp_path):
    done = launch(
        tmp_path,
        *SMALL,
        "method=head",
        "attack=none",
        "reference=none",
        "objective=unlearned/test/retained/acuracy",
    )
    assert done.returncode == 2
    assert "did you mean 'unlearned/test/retained/accuracy'?" in done.stderr
