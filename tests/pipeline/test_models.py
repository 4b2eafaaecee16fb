"""The models of a run, also where the original is the user's or training starts from weights."""

from dataclasses import replace

import pytest
import torch

from mlu.attacks.attribute import AttributeInference
from mlu.models.backbones import Tiny
from mlu.pipeline import trained
from mlu.pipeline.context import context_of
from mlu.pipeline.evidence import victim_of
from mlu.pipeline.models import models_of
from mlu.pipeline.trained import original_model

SMALL = ("dataset.images=200", "dataset.image_size=16", "training.epochs=1", "method=head")


def test_a_model_of_the_users_is_unlearned(results_of, run, experiment, tmp_path):
    plain = results_of("method=head")
    context = context_of(experiment("method=head"))
    torch.save(original_model(context).net.state_dict(), tmp_path / "mine.pt")
    mine = run("method=head", f"original.weights={tmp_path / 'mine.pt'}", folder="mine")
    assert mine["metrics"] == plain["metrics"]
    assert mine["seconds"]["original"] is None
    assert "original.weights" in mine["missing"]["seconds/original"]


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


@pytest.fixture
def weights(tmp_path):
    """A file of weights of `tiny`, as somebody trained it for three labels, of its widths."""
    torch.manual_seed(5)
    net = Tiny(name="tiny", widths=(4, 4, 4, 4, 4)).build(3)
    torch.save(net.state_dict(), tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


@pytest.fixture
def from_weights(experiment, weights, tmp_path):
    """The context of a small run whose training starts from that file, with a cache of its own."""

    def one(*overrides):
        setup = experiment(*SMALL, *overrides, f"outputs={tmp_path}")
        backbone = Tiny(name="tiny", widths=(4, 4, 4, 4, 4), weights=str(weights))
        return context_of(replace(setup, backbone=backbone))

    return one


def test_the_start_is_what_training_starts_from(from_weights, weights, monkeypatch):
    """Bit by bit: the file's body, and the head with which the first step of both began."""
    begun = []

    def classifier(net, *given):
        begun.append({name: value.clone() for name, value in net.state_dict().items()})
        return classifier_of(net, *given)

    classifier_of = trained.Classifier
    monkeypatch.setattr(trained, "Classifier", classifier)
    models = models_of(from_weights())
    start = dict(models.start.net.state_dict())

    assert len(begun) == 2
    for first in begun:
        torch.testing.assert_close(start, first, rtol=0, atol=0)
    for name, value in torch.load(weights, weights_only=True).items():
        if name.startswith("body."):
            assert torch.equal(start[name], value), name

    # Neither random weights nor what training made of it.
    for other in (models.random, models.original, models.retrain):
        assert not torch.equal(start["body.block1.conv.weight"], body_of(other))
    assert list(models.by_name()) == ["original", "retrain", "unlearned", "random", "start"]
    assert "start" not in models.judged()


def body_of(model):
    return model.net.state_dict()["body.block1.conv.weight"]


def test_the_start_is_attacked_as_it_is(from_weights):
    """Its evidence is that of a network that was made beside the pipeline, and no other model's."""
    context = from_weights("attack=aia")
    models, (attack,) = models_of(context), context.experiment.attacks
    assert isinstance(attack, AttributeInference)

    torch.manual_seed(0)
    beside = context.experiment.backbone.build(len(context.data.labels))
    beside.head.load_state_dict(models.start.net.head.state_dict())
    outputs = trained.outputs_by_split(context, beside.eval(), "")
    expected = attack.observe(
        replace(victim_of(context, models.start, models), net=beside, outputs=outputs)
    )

    found = attack.observe(victim_of(context, models.start, models))
    others = attack.observe(victim_of(context, models.random, models))
    assert scores_of(found) == scores_of(expected)
    assert scores_of(found) != scores_of(others)


def scores_of(evidence):
    """The scores of each trial, or why there are none."""
    return {
        path: found if isinstance(found, str) else found.scores.tolist()
        for path, found in evidence.items()
    }


def test_where_training_starts_at_random_there_is_no_start(run, tmp_path):
    results = run(*SMALL, "attack.aia.hidden=4", f"outputs={tmp_path}")
    assert not [*tmp_path.glob("cache/start")]
    assert [*tmp_path.glob("cache/random")]
    for part in ("metrics", "missing"):
        assert not [path for path in results[part] if path.startswith("start")]


@pytest.mark.parametrize(("reference", "there"), [("retrain", True), ("none", False)])
def test_beside_a_given_original_it_is_where_retrain_starts(
    reference, there, from_weights, tmp_path
):
    torch.save(original_model(from_weights()).net.state_dict(), tmp_path / "mine.pt")
    mine = f"original.weights={tmp_path / 'mine.pt'}"
    models = models_of(from_weights(mine, f"reference={reference}"))
    assert (models.start is not None) == there
