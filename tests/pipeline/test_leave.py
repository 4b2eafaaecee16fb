"""The files that a run leaves."""

import errno
import json
import logging

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from mlu.data.divided import ImageData
from mlu.models.outputs import respond
from mlu.pipeline import run as pipeline
from mlu.pipeline.leave import label_facts, show
from mlu.runs.read import read_run
from mlu.system.errors import UserError
from mlu.system.owned import Owned

MODELS, SPLITS = ("original", "retrain", "unlearned"), ("train", "validation", "test")


def test_a_run_leaves_what_it_promises(run, tmp_path, pictures_drawn):
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
    data = ImageData(setup.dataset.load(), setup.seeds.split, setup.training.batch_size)
    net = setup.backbone.build(len(data.labels))
    net.load_state_dict(load_file(folder / "unlearned.safetensors"))
    predicted, split = respond(net, data.splits["test"])[0] > 0, data.splits["test"]
    right = (predicted == (split.targets > 0)).double().mean(0)
    retained = [column for column, label in enumerate(data.labels) if label != "Male"]
    assert results["metrics"]["unlearned/test/retained/accuracy"] == pytest.approx(
        right[retained].mean().item()
    )


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def unspeakable(*_):
    raise UnicodeEncodeError("ascii", "–", 0, 1, "ordinal not in range(128)")


def unread(*_):
    raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def half_drawn(metrics, file):
    file.write_bytes(b"half")
    full()


AFTERWARDS = {
    "a picture on a full disk": ("distribution_picture", full),
    "a picture that breaks off": ("stage_picture", half_drawn),
    "a picture that cannot be drawn": ("recovery_picture", unspeakable),
    "a table that cannot be said": ("show_table", unspeakable),
    "a table that nobody reads": ("show_table", unread),
    "a table without memory": ("run_table", lambda *_: [][1]),
    "drafts that stay": ("Owned.drop_drafts", full),
    "a list on a full disk": ("Owned.settle", full),
}


@pytest.mark.parametrize("case", AFTERWARDS)
def test_what_fails_after_the_results_is_a_warning(case, finished, monkeypatch, caplog):
    folder = finished("method=wf", "method.tuning.steps=5")
    before = (folder / "results.json").read_bytes()
    run = read_run(folder)
    name, fails = AFTERWARDS[case]
    counts = {"original/test/entropy/histogram": (np.ones(3), np.arange(4.0))}
    Owned(folder).fresh_drafts()
    monkeypatch.setattr(f"mlu.pipeline.leave.{name}", fails)
    with caplog.at_level(logging.INFO):
        show(run, counts, {})
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings
    assert all("\n" not in line and "cannot" in line for line in warnings)
    assert caplog.records[-1].message == f"results in {folder}"
    assert (folder / "results.json").read_bytes() == before


def test_a_file_that_comes_into_the_folder_meanwhile_is_kept(experiment, tmp_path, monkeypatch):
    """While the models train."""

    def meanwhile(*given):
        (tmp_path / "labels.json").write_text("mine")
        return label_facts(*given)

    monkeypatch.setattr("mlu.pipeline.leave.label_facts", meanwhile)
    with pytest.raises(UserError, match=r"\(labels\.json\): .*hydra\.run\.dir="):
        pipeline.run(experiment("method=head", "reference=none", "attack=none"))
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["labels.json"]
    assert (tmp_path / "labels.json").read_text() == "mine"
