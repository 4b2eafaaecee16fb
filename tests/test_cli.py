"""The command line as a user meets it: every command in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SMALL = ["dataset.images=300", "dataset.image_size=32", "training.epochs=1", "trainer.accelerator=cpu", "logger=none"]


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "launch.py"), *arguments, f"outputs={folder}"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=300)


WRONG = {
    "label": (["forget_label.names=[Blad]"], "faces has no label 'Blad', did you mean 'Bald'?"),
    "label of another data set": (["dataset=digits", "forget_label=gender"], "digits has no label 'Male'"),
    "label option": (["forget_label=gendr"], "forget_label=gendr does not exist, did you mean 'gender'?"),
    "dataset": (["dataset=celebs"], "dataset=celebs does not exist, did you mean 'celeba'?"),
    "method": (["method=wpp"], "method=wpp does not exist, did you mean 'wp'?"),
    "key": (["epsilonn=1"], "there is no key 'epsilonn', did you mean 'epsilon'?"),
    "key of a method": (["method.phy=1"], "there is no key 'method.phy', did you mean 'method.phi'?"),
    "nothing to forget": (["forget_label.names=[]"], "forget_label.names is empty"),
    "everything to forget": (["forget_label.names=${dataset.labels}"], "names all 10 labels of faces"),
    "phi": (["phi=1.5"], "phi must be a number in [0, 1], or null, got 1.5"),
    "phi that is no number": (["phi=much"], "phi must be a number in [0, 1], or null, got 'much'"),
    "epsilon": (["epsilon=-0.1"], "epsilon must be a number >= 0, or inf, got -0.1"),
    "epsilon that is no number": (["epsilon=nan"], "epsilon must be a number >= 0, or inf, got nan"),
    "weights": (["original.weights=/nowhere/model.pt"], "original.weights=/nowhere/model.pt does not exist"),
    "backbone weights": (["backbone.weights=nowhere.pt"], "backbone.weights=nowhere.pt does not exist"),
    "reference": (["reference=no"], "reference must be 'retrain' or 'none', got 'no'"),
    "method in a sweep": (["-m", "method=wf,wpp"], "method=wpp does not exist, did you mean 'wp'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_fault_of_the_configuration_is_one_line_within_seconds(case, tmp_path):
    overrides, expected = WRONG[case]
    start = time.monotonic()
    done = launch(tmp_path, *overrides)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not list(tmp_path.rglob("results.json"))
    # Torch and Lightning alone take longer to import on two cores.
    assert time.monotonic() - start < 20


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
    for text in ("python launch.py -m method=", "method: head, original, retrain, wf, wp", "epsilon: 0.1"):
        assert text in done.stdout


def test_a_missing_or_small_data_folder_is_one_line(tmp_path):
    done = launch(tmp_path, "dataset=celeba", f"dataset.root={tmp_path / 'nowhere'}", "logger=none")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "list_attr_celeba" in done.stderr
    assert "dataset.root" in done.stderr
    done = launch(tmp_path, "dataset.images=10", "logger=none")
    assert done.returncode == 2
    assert "faces has 10 images: at least 20 are needed" in done.stderr.strip().splitlines()[-1]


def test_a_sweep_goes_on_after_a_failed_job_and_says_how_to_repeat_it(tmp_path):
    done = launch(tmp_path, "-m", "method=head", "phi=2,0.1", *SMALL)
    assert done.returncode == 1
    assert "job 0 failed: UserError: phi must be a number in [0, 1], or null, got 2" in done.stdout
    assert "repeat it: python launch.py" in done.stdout
    (job,) = tmp_path.glob("sweeps/*/1")
    assert (job / "results.json").is_file()
    assert not (job.parent / "0" / "results.json").exists()
    assert json.loads((job.parent / "0" / "failure.json").read_text())["command"].startswith("python launch.py")


def test_jobs_side_by_side_share_what_they_train(tmp_path):
    done = launch(tmp_path, "-m", "method=original,head", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *SMALL)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("sweeps/*/*/results.json"))) == 2
    assert len(list(tmp_path.glob("cache/original/*/manifest.json"))) == 1
    assert len(list(tmp_path.glob("cache/retrain/*/manifest.json"))) == 1
