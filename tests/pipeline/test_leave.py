"""The files that a run leaves."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from mlu.data.divided import ImageData
from mlu.models.outputs import respond

MODELS, SPLITS = ("original", "retrain", "unlearned"), ("train", "validation", "test")


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
