"""The paper's network and training, cut short: ResNet-50 from weights of a file, at Section 6's
rates."""

import json
import math
import resource

import pytest
import torch
import torchvision
from safetensors.torch import load_file

from tests.support.killing import ended, launch, started

EPOCHS, LABELS = 3, 10
WORDS = (
    *(
        "dataset=faces",
        "dataset.images=40",
        "dataset.images_per_identity=1",
        "dataset.image_size=32",
        "backbone=resnet50",
    ),
    *("budget=paper", f"training.epochs={EPOCHS}", "method=wp", "attack=none", "logger=none"),
    *("trainer.accelerator=cpu", "method.images=20", "method.tuning.steps=4"),
)
MOST_MEMORY = 12e9
"""Bytes."""


def launch_and_weigh(outputs, words):
    """In a child: a run, and how much memory it took at most, in bytes."""
    try:
        launch(outputs, words)
    finally:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (outputs / "peak").write_text(str(peak))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What the run left, and `theirs.pth`: a state dict of a thousand classes, as torchvision has
    it."""
    outputs = tmp_path_factory.mktemp("resnet50")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet50().state_dict(), outputs / "theirs.pth")
    words = [*WORDS, f"backbone.weights={outputs / 'theirs.pth'}", f"hydra.run.dir={outputs}/run"]
    assert ended(started(launch_and_weigh, outputs, words)) == 0, (outputs / "said").read_text()
    return outputs


def test_its_figures_are_whole_and_its_memory_is_that_of_a_desk(outputs):
    metrics = json.loads((outputs / "run" / "results.json").read_text())["metrics"]
    for model in ("original", "retrain", "unlearned"):
        kept = metrics[f"{model}/test/retained/accuracy"]
        assert 0 < kept <= 1, model
        assert math.isfinite(metrics[f"{model}/test/loss/mean"]), model
    assert metrics["unlearned/test/forgotten/balanced_accuracy"] == 0.5
    assert 1e8 < float((outputs / "peak").read_text()) < MOST_MEMORY


def test_training_starts_from_the_file_and_has_a_head_of_its_own(outputs):
    theirs = torch.load(outputs / "theirs.pth", weights_only=True)["conv1.weight"].flatten()
    (file,) = outputs.glob("cache/original/*/weights.safetensors")
    ours = load_file(file)
    (stem,) = [value for value in ours.values() if value.shape == (64, 3, 7, 7)]
    torch.manual_seed(1)
    other = torchvision.models.resnet50().conv1.weight.detach().flatten()

    def likeness(start):
        return torch.corrcoef(torch.stack([start, stem.flatten()]))[0, 1]

    assert likeness(theirs) > 0.4
    assert abs(likeness(other)) < 0.1
    assert ours["head.weight"].shape == (LABELS, 2048)
