import json
import subprocess
import sys

import pytest
import torch
import yaml
from celeba_folder import write_celeba
from command_line import ROOT, launch

import mlu
from mlu import certify

SMALL = ["dataset.images=300", "dataset.image_size=32", "training.epochs=1", "trainer.accelerator=cpu", "logger=none"]


WRONG = {
    "label": (["forget_label.names=[Blad]"], "faces has no label 'Blad', did you mean 'Bald'?"),
    "label of another data set": (["dataset=digits", "forget_label=gender"], "digits has no label 'Male'"),
    "label option": (["forget_label=gendr"], "forget_label=gendr does not exist, did you mean 'gender'?"),
    "dataset": (["dataset=celebs"], "dataset=celebs does not exist, did you mean 'celeba'?"),
    "method": (["method=wpp"], "method=wpp does not exist, did you mean 'wp'?"),
    "trainer": (["trainer=fsdp"], "trainer=fsdp is refused: it cuts weights up"),
    "key": (["epsilonn=1"], "there is no key 'epsilonn', did you mean 'epsilon'?"),
    "key of a method": (["method.phy=1"], "there is no key 'method.phy', did you mean 'method.phi'?"),
    "nothing to forget": (["forget_label.names=[]"], "forget_label.names is empty"),
    "everything to forget": (["forget_label.names=${dataset.labels}"], "names all 10 labels of faces"),
    "images": (["dataset.images=10"], "dataset.images must be a whole number >= 20, or null, got 10"),
    "correlation": (["dataset.correlation=2"], "dataset.correlation must be a number in [-1, 1], got 2"),
    "seed": (["seed=4294967296"], "seed must be a whole number in [0, 4294967295], got 4294967296"),
    "phi": (["phi=1.5"], "phi must be a number in [0, 1], or null, got 1.5"),
    "phi that is no number": (["phi=much"], "phi must be a number in [0, 1], or null, got 'much'"),
    "epsilon": (["epsilon=-0.1"], "epsilon must be a number >= 0, or inf, got -0.1"),
    "epsilon that is no number": (["epsilon=nan"], "epsilon must be a number >= 0, or inf, got nan"),
    "weights": (["original.weights=/nowhere/model.pt"], "original.weights=/nowhere/model.pt does not exist"),
    "model of timm": (["backbone=timm"], "backbone.name must be a name, such as convnext_atto, got None"),
    "size of images": (
        ["backbone=vit_b_16", "backbone.image_size=32"],
        "backbone.image_size=32: images have the size of",
    ),
    "backbone weights": (["backbone.weights=nowhere.pt"], "backbone.weights=nowhere.pt does not exist"),
    "reference": (["reference=no"], "reference must be 'retrain' or 'none', got 'no'"),
    "method in a sweep": (["-m", "method=wf,wpp"], "method=wpp does not exist, did you mean 'wp'?"),
    "launcher": (["hydra/launcher=jobli"], "hydra/launcher=jobli does not exist, did you mean 'joblib'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_fault_of_the_configuration_is_one_line(case, tmp_path):
    overrides, expected = WRONG[case]
    done = launch(tmp_path, *overrides)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not list(tmp_path.rglob("results.json"))


def test_a_fault_of_the_configuration_is_found_without_torch():
    code = (
        "import sys; sys.argv = ['launch.py', 'phi=2']; from mlu.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2\n"
        "assert not {'torch', 'lightning', 'wandb'} & set(sys.modules), 'something heavy was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_help_is_useful_and_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "launch.py", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    for text in ("python launch.py -m method=", "method: boundary, cfk, finetune, head", "epsilon: 0.1"):
        assert text in done.stdout


def test_a_missing_or_small_data_folder_is_one_line(tmp_path):
    done = launch(tmp_path, "dataset=celeba", f"dataset.root={tmp_path / 'nowhere'}", "logger=none")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "list_attr_celeba" in done.stderr
    assert "dataset.root" in done.stderr
    root = write_celeba(tmp_path / "small", images=12, identities=12)
    done = launch(tmp_path, "dataset=celeba", f"dataset.root={root}", "logger=none")
    assert done.returncode == 2
    assert done.stderr.strip() == "celeba has 12 images: at least 20 are needed to train and to test"


def test_models_of_timm_are_unlearned_loaded_and_certified(tmp_path):
    """One of maps and one of tokens."""
    names = ("test_resnet", "test_vit")
    settings = ("-m", "backbone=timm", f"backbone.name={','.join(names)}", "method=wf", "method.tuning.steps=3")
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
        assert results["metrics"][path] == results["metrics"]["unlearned/attack/aia/features/balanced_accuracy"]
        model = mlu.load(file.parent)
        images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        assert model.predict(images)["Male"].std() < 1e-6 < model.predict(images)["Bald"].std()
        with pytest.raises(SystemExit) as end:
            certify.main([str(file.parent)])
        assert end.value.code == 0
        assert json.loads((file.parent / "certificate.json").read_text())["model"] == name


def test_a_sweep_goes_on_after_a_failed_job_and_says_how_to_repeat_it(tmp_path):
    done = launch(tmp_path, "-m", "method=head", "phi=2,0.1", *SMALL)
    assert done.returncode == 1
    assert "job 0 failed: UserError: phi must be a number in [0, 1], or null, got 2" in done.stdout
    assert "repeat it: python launch.py" in done.stdout
    (job,) = tmp_path.glob("sweeps/*/1")
    assert (job / "results.json").is_file()
    assert not (job.parent / "0" / "results.json").exists()
    assert json.loads((job.parent / "0" / "failure.json").read_text())["command"].startswith("python launch.py")


@pytest.mark.parametrize("override", ["trainer.accelerator=gpu", "+method.foo=1"])
def test_what_shows_only_when_objects_are_built_is_one_line_too(override, tmp_path):
    done = launch(tmp_path, *SMALL, override)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert override.lstrip("+").split("=")[0].split(".")[-1] in done.stderr


def test_optuna_optimises_the_objective_and_outlives_a_failed_trial(tmp_path):
    search = [
        "hydra/sweeper=optuna",
        "hydra.sweeper.direction=maximize",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.sampler.seed=0",
        "objective=unlearned/validation/retained/accuracy",
    ]
    done = launch(tmp_path, "-m", *SMALL, *search, "method=wf", "phi=choice(0.0, 0.3, 2.0)", "method.tuning.steps=1")
    (best,) = tmp_path.glob("sweeps/*/optimization_results.yaml")
    found = [json.loads(file.read_text()) for file in tmp_path.glob("sweeps/*/*/results.json")]
    values = [results["metrics"]["unlearned/validation/retained/accuracy"] for results in found]
    assert yaml.safe_load(best.read_text())["best_value"] == max(values), done.stderr
    assert len(values) + len(list(tmp_path.glob("sweeps/*/*/failure.json"))) == 3


def test_a_path_that_is_no_figure_is_named_with_the_nearest(tmp_path):
    done = launch(tmp_path, *SMALL, "method=head", "reference=none", "objective=unlearned/test/retained/acuracy")
    assert done.returncode == 2
    assert "did you mean 'unlearned/test/retained/accuracy'?" in done.stderr
