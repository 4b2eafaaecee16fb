"""The road from one end to the other, on small data."""

import numpy as np
import pytest
from torch import nn

from mlu.runs.results import Results
from tests.support.celeba_folder import write_celeba
from tests.support.wandb_file import read_run

MODELS, SPLITS = ("original", "retrain", "unlearned"), ("train", "validation", "test")


def test_a_second_run_trains_nothing_and_says_the_same(results_of, run, monkeypatch):
    first = results_of("method=wf", "method.tuning.steps=5")
    monkeypatch.setattr("mlu.pipeline.trained.from_scratch", None)
    again = run("method=wf", "method.tuning.steps=5", folder="two")
    assert again["metrics"] == first["metrics"]
    assert again["seconds"]["retrain"] == first["seconds"]["retrain"]
    assert again["measured"]["retrain"]["cached"]


@pytest.mark.parametrize("method", ["wf", "wp"])
def test_celebas_own_files_are_enough(method, run, tmp_path):
    root = write_celeba(tmp_path / "data", images=120, identities=30)
    results = run(
        f"dataset.root={root}", f"method={method}", "method.tuning.steps=3", dataset="celeba"
    )
    assert results["run"]["dataset"] == "celeba"
    assert results["metrics"]["unlearned/train/forgotten/balanced_accuracy"] == 0.5
    assert results["metrics"]["unlearned/train/retained/accuracy"] > 0.5


def test_wandb_holds_the_metrics_and_the_histograms(run, tmp_path):
    results = run(
        "logger=wandb", "method=wf", "method.tuning.steps=5", "method.share=null", "trace=2"
    )
    kept = read_run(tmp_path / "run")
    assert kept.project == "mlu"
    assert kept.name == "wf phi=0.02 epsilon=0.1: Male, faces, tiny, seed 42"
    assert kept.exit_code == 0
    assert kept.config["method"]["phi"] == 0.02
    for path, value in Results.from_json(results).figures().items():
        if value is not None:
            assert kept.history[path] == pytest.approx(value), path
    assert {"speedup", "work_ratio", "seconds/unlearn", "work/unlearn/forward"} <= set(kept.history)
    # Every look is a point of a curve, by its step.
    looks = [row for row in kept.rows if "trace/linear" in row]
    assert [row["trainer/global_step"] for row in looks] == [0, 2, 4, 5]
    seen = [point for point in results["trace"] if point["model"] == "unlearned"]
    for of in ("output", "linear", "kernel"):
        told = [point["labels"]["Male"][of] for point in seen]
        assert [row[f"trace/{of}"] for row in looks] == pytest.approx(told)
    retained = [point["retained"] for point in seen]
    assert [row["trace/retained"] for row in looks] == pytest.approx(retained)
    for table, rows in (("models", 3), ("labels", 10)):
        assert kept.history[f"tables/{table}/_type"] == "table-file"
        assert kept.history[f"tables/{table}/nrows"] == rows
    arrays = np.load(tmp_path / "run" / "distributions.npz")
    for model in MODELS:
        for split in SPLITS:
            path = f"{model}/{split}/entropy/histogram"
            assert kept.history[f"{path}/_type"] == "histogram"
            assert kept.history[f"{path}/values"] == arrays[f"{path}/counts"].tolist()
            assert kept.history[f"{path}/bins"] == pytest.approx(arrays[f"{path}/edges"])


def test_two_jobs_of_one_process_are_two_wandb_runs(run, tmp_path):
    for name in ("one", "two"):
        run("logger=wandb", "method=head", folder=name, group="the sweep")
        kept = read_run(tmp_path / name)
        assert kept.exit_code == 0
        assert kept.group == "the sweep"


def test_the_attack_is_run_on_all_three_models(results_of):
    results = results_of("method=head")
    metrics = results["metrics"]
    for model in MODELS:
        for view in ("output", "outputs", "retained_outputs", "features"):
            path = f"{model}/attack/aia/{view}/balanced_accuracy"
            assert metrics[f"{path}/low"] <= metrics[path] <= metrics[f"{path}/high"]
            assert f"{model}/attack/aia/{view}/auroc" in metrics
    # Resetting the head hides the output, and nothing of the features.
    assert metrics["unlearned/attack/aia/output/balanced_accuracy"] == 0.5
    paths = [
        f"{model}/attack/aia/features/balanced_accuracy" for model in ("original", "unlearned")
    ]
    assert metrics[paths[0]] == metrics[paths[1]] > 0.6
    assert results["seconds"]["attack"] > 0


def test_without_an_attack_there_are_no_figures_of_one(results_of):
    results = results_of("method=head", "attack=none")
    assert not [path for path in results["metrics"] if "/attack/" in path]
    assert results["seconds"]["attack"] == 0


@pytest.mark.parametrize("method", ["wf", "wp", "scrub"])
def test_mixed_precision_runs_and_forgets(method, run):
    metrics = run(f"method={method}", "method.tuning.steps=3", "trainer.precision=bf16-mixed")[
        "metrics"
    ]
    assert metrics["unlearned/test/retained/accuracy"] > 0.6
    assert metrics["unlearned/test/forgotten/balanced_accuracy"] is not None


# Torch's compiler, of tensors that it looks at itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_stages_learn_the_same(run, monkeypatch):
    compiled, compile_ = [], nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **how: compiled.append(how) or compile_(self, **how)
    )
    plain = run("method=wp", "method.tuning.steps=3", folder="plain")
    assert compiled == []
    found = run(
        "method=wp", "method.tuning.steps=3", "trainer.compile=aot_eager", folder="compiled"
    )
    assert compiled == [{"backend": "aot_eager"}] * len(compiled)
    assert compiled
    assert found["work"] == plain["work"]
    for path in ("retained/accuracy", "forgotten/balanced_accuracy", "label/Young/auroc"):
        assert found["metrics"][f"unlearned/test/{path}"] == pytest.approx(
            plain["metrics"][f"unlearned/test/{path}"], abs=0.05
        )
