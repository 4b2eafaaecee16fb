"""One run, all its files, and what W&B keeps of it."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from mlu.data.divided import ImageData
from mlu.models.outputs import respond
from mlu.pipeline import run as pipeline
from mlu.pipeline.context import context_of
from mlu.pipeline.outcome import identity
from mlu.pipeline.trained import original_model
from mlu.runs.results import Results
from tests.support.celeba_folder import write_celeba
from tests.support.command_line import ROOT
from tests.support.wandb_file import read_run

MODELS, SPLITS = ("original", "retrain", "unlearned"), ("train", "validation", "test")


@pytest.fixture
def run(experiment, tmp_path):
    """Runs the pipeline on small data; returns its results."""

    def from_overrides(
        *overrides: str, dataset: str = "faces", folder: str = "run", group: str | None = None
    ):
        (tmp_path / folder).mkdir()
        built = experiment(*overrides, dataset=dataset, folder=tmp_path / folder, group=group)
        return pipeline.run(built).to_json()

    return from_overrides


@pytest.fixture
def results_of(finished):
    """The results of a run that nothing but its results is wanted of: each is carried out once."""

    def from_overrides(*overrides: str, dataset: str = "faces"):
        folder = finished(*overrides, dataset=dataset)
        return json.loads((folder / "results.json").read_text())

    return from_overrides


def described() -> list[str]:
    """Patterns of the paths that docs/figures.md explains."""
    text = (ROOT / "docs" / "figures.md").read_text().partition("| Path |")[2].partition("\n\n")[0]
    paths = [
        path for row in text.splitlines()[2:] for path in re.findall("`([^`]+)`", row.split("|")[1])
    ]
    return [
        re.sub("<metric>", "[a-z_0-9]+", re.sub("<(Label|Class)>", "[^/]+", path)) for path in paths
    ]


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_every_figure_is_described(results_of, dataset):
    metrics, patterns = (
        results_of("method=head", "attack=none", dataset=dataset)["metrics"],
        described(),
    )
    met = set()
    for path in metrics:
        model, split, rest = path.removesuffix("/low").removesuffix("/high").split("/", 2)
        assert model in MODELS
        assert split in SPLITS
        matching = {pattern for pattern in patterns if re.fullmatch(pattern, rest)}
        assert matching, path
        met |= matching
    assert met == set(patterns)


def test_a_run_leaves_what_it_promises(run, tmp_path):
    results = run("method=wp", "method.tuning.steps=5")
    folder = tmp_path / "run"
    assert json.loads((folder / "results.json").read_text()) == results
    assert {
        "schema",
        "run",
        "seconds",
        "speedup",
        "work",
        "work_ratio",
        "metrics",
        "missing",
    } <= set(results)
    assert results["run"]["forget_label"] == ["Male"]
    assert results["run"]["method"] == "wp"
    for model in MODELS:
        for split in SPLITS:
            for metric in ("accuracy", "balanced_accuracy", "auroc", "f1", "average_precision"):
                for path in (f"retained/{metric}", f"forgotten/{metric}", f"label/Young/{metric}"):
                    assert f"{model}/{split}/{path}" in results["metrics"]
            for path in (
                "forgotten/mutual_information",
                "forgotten/positive_rate",
                "entropy/mean",
                "entropy/ks",
            ):
                assert results["metrics"][f"{model}/{split}/{path}"] is not None
    for path, value in results["metrics"].items():
        assert (value is None) == (path in results["missing"]), path
        if path.endswith("/low"):
            assert (
                value
                <= results["metrics"][path.removesuffix("/low")]
                <= results["metrics"][path[:-3] + "high"]
            )
    seconds = results["seconds"]
    assert seconds["unlearn"] >= seconds["score"] + seconds["edit"] + seconds["finetune"] > 0
    assert results["speedup"] == pytest.approx(seconds["retrain"] / seconds["unlearn"])
    with Image.open(folder / "distributions.png") as picture:
        assert picture.width > 600
    arrays = np.load(folder / "distributions.npz")
    test_images = arrays["unlearned/test/entropy/histogram/counts"].sum()
    assert test_images == arrays["retrain/test/entropy/histogram/counts"].sum() > 0
    assert (folder / "config.yaml").is_file()


def test_stages_of_no_more_images_are_kept_than_allowed(run, experiment, monkeypatch):
    monkeypatch.setattr("mlu.pipeline.outputs.EXPOSED_IMAGES", 60)
    settings = ("method=head", "seed=77", "attack=[aia,mia]", "training.epochs=2")
    first, again = (run(*settings, folder=folder) for folder in ("one", "two"))
    assert again["metrics"] == first["metrics"]
    assert again["measured"]["original"]["cached"]
    assert first["metrics"]["original/attack/aia/features/balanced_accuracy"] is not None
    context = context_of(experiment(*settings))
    said = original_model(context).outputs["validation"]
    assert {len(means) for means in said.stages.values()} == {60}
    assert len(said) == len(context.data.splits["validation"]) > 60


def test_work_is_counted_by_hand(run, experiment):
    overrides = [
        "method.tuning.steps=3",
        "method.tuning.recalibrate=100",
        "method.images=40",
        "method.soft=0.5",
    ]
    overrides += ["method.tuning.batch_size=64"]
    results = run("method=wf", *overrides)
    setup = experiment()
    train = ImageData(setup.dataset.load(), setup.seed, setup.training.batch_size).splits["train"]
    tuned = 3 * 64
    # 20 images with the label and 20 without; two score maps; a teacher at each step; statistics
    # renewed once.
    assert results["work"]["unlearn"] == {
        "forward": 40 + 2 * tuned + 100,
        "backward": 2 * 40 + tuned,
    }
    seen = setup.training.epochs * (len(train) - (len(train) % setup.training.batch_size == 1))
    assert results["work"]["retrain"] == {"forward": seen, "backward": seen}
    assert results["work_ratio"] == 2 * seen / sum(results["work"]["unlearn"].values())


def test_the_saved_weights_are_the_model_that_was_measured(finished, experiment):
    folder = finished("method=wf", "method.tuning.steps=5")
    results = json.loads((folder / "results.json").read_text())
    setup = experiment("method=wf")
    data = ImageData(setup.dataset.load(), setup.seed, setup.training.batch_size)
    net = setup.backbone.build(len(data.labels))
    net.load_state_dict(load_file(folder / "unlearned.safetensors"))
    predicted, split = respond(net, data.splits["test"])[0] > 0, data.splits["test"]
    right = (predicted == (split.targets > 0)).double().mean(0)
    retained = [column for column, label in enumerate(data.labels) if label != "Male"]
    assert results["metrics"]["unlearned/test/retained/accuracy"] == pytest.approx(
        right[retained].mean().item()
    )


def test_a_second_run_trains_nothing_and_says_the_same(results_of, run, monkeypatch):
    first = results_of("method=wf", "method.tuning.steps=5")
    monkeypatch.setattr("mlu.pipeline.trained.from_scratch", None)
    again = run("method=wf", "method.tuning.steps=5", folder="two")
    assert again["metrics"] == first["metrics"]
    assert again["seconds"]["retrain"] == first["seconds"]["retrain"]
    assert again["measured"]["retrain"]["cached"]


def test_where_files_lie_does_not_change_the_hash_of_a_configuration(experiment, tmp_path):
    first, moved, other = (
        identity(experiment(*overrides).config)
        for overrides in (
            [],
            [f"outputs={tmp_path}", "logger=wandb", "trainer.workers=2"],
            ["seed=1"],
        )
    )
    assert first == moved != other


def test_without_a_reference_its_figures_are_missing_with_the_reason(run):
    results = run("method=head", "reference=none")
    assert results["seconds"]["retrain"] is None
    assert results["speedup"] is None
    paths = (
        "retrain/test/retained/accuracy",
        "unlearned/test/entropy/jensen_shannon",
        "speedup",
        "seconds/retrain",
    )
    for path in paths:
        assert "reference=none" in results["missing"][path]
    assert results["metrics"]["retrain/test/retained/accuracy"] is None


def test_a_model_of_the_users_is_unlearned(results_of, run, experiment, tmp_path):
    plain = results_of("method=head")
    context = context_of(experiment("method=head"))
    torch.save(original_model(context).net.state_dict(), tmp_path / "mine.pt")
    mine = run("method=head", f"original.weights={tmp_path / 'mine.pt'}", folder="mine")
    assert mine["metrics"] == plain["metrics"]
    assert mine["seconds"]["original"] is None
    assert "original.weights" in mine["missing"]["seconds/original"]


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
    results = run("logger=wandb", "method=wf", "method.tuning.steps=5")
    kept = read_run(tmp_path / "run")
    assert kept.project == "mlu"
    assert kept.name == "wf phi=0.02 epsilon=0.1: Male, faces, tiny, seed 42"
    assert kept.exit_code == 0
    assert kept.config["method"]["phi"] == 0.02
    for path, value in Results.from_json(results).figures().items():
        if value is not None:
            assert kept.history[path] == pytest.approx(value), path
    assert {"speedup", "work_ratio", "seconds/unlearn", "work/unlearn/forward"} <= set(kept.history)
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


def test_a_damaged_model_in_the_cache_is_trained_again(run, outputs, caplog, tmp_path):
    own = ("method=head", "reference=none", f"outputs={tmp_path / 'own'}")
    first = run(*own, folder="one")
    (weights,) = (tmp_path / "own").glob("cache/original/*/weights.safetensors")
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    again = run(*own, folder="two")
    assert "damaged" in caplog.text
    assert again["metrics"] == first["metrics"]


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


def test_a_class_that_is_gone_goes_to_others(run):
    metrics = run("method=wp", "method.tuning.steps=3", dataset="digits")["metrics"]
    before, after = (
        [metrics[f"{model}/test/reassigned/{digit}"] for digit in "012456789"]
        for model in ("original", "unlearned")
    )
    recall = metrics["original/test/forgotten/recall"]
    assert recall > 0
    assert sum(before) == pytest.approx(1 - recall)
    assert sum(after) == pytest.approx(1)
    for model, shares in (("original", before), ("unlearned", after)):
        assert 0 <= metrics[f"{model}/test/reassigned/neighbour"] <= sum(shares) + 1e-6


def test_a_multi_label_task_says_why_nothing_is_reassigned(results_of):
    assert (
        "multi-label" in results_of("method=head")["missing"]["unlearned/test/reassigned/neighbour"]
    )


def test_a_network_with_an_added_layer_can_be_unlearnt_again(run, tmp_path):
    first = run("method=leace", folder="one")
    second = run(
        "method=original",
        f"original.weights={tmp_path / 'one' / 'unlearned.safetensors'}",
        folder="two",
    )
    for path in ("retained/accuracy", "label/Young/auroc"):
        assert (
            second["metrics"][f"original/test/{path}"] == first["metrics"][f"unlearned/test/{path}"]
        )


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
