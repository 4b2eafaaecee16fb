"""Retrain never sees the forgotten target: the definition of the reference."""

import dataclasses

import numpy as np
import pytest
import torch

from mlu.pipeline.context import Context, context_of
from mlu.pipeline.trained import from_scratch, retrained_model
from mlu.training.classifier import Classifier


def weights_after(context: Context, train) -> dict:
    return dict(from_scratch(context, "retrain", train)[0].state_dict())


def test_permuting_the_forgotten_column_changes_no_bit(experiment, tmp_path):
    """As a user would see it: each Retrain is trained anew, with nothing cached."""
    plain, permuted = (
        context_of(experiment(f"outputs={tmp_path / name}")) for name in ("plain", "permuted")
    )
    train, (column,) = permuted.data.splits["train"], permuted.request.forgotten
    shuffled = train.targets.clone()
    shuffled[:, column] = shuffled[
        torch.randperm(len(train), generator=torch.Generator().manual_seed(0)), column
    ]
    assert not torch.equal(shuffled, train.targets)
    permuted = dataclasses.replace(permuted, train=dataclasses.replace(train, targets=shuffled))
    first, second = (
        dict(retrained_model(context).net.state_dict()) for context in (plain, permuted)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    # The negative control: a training that reads the column does change.
    seen = (weights_after(context, context.train) for context in (plain, permuted))
    assert not torch.equal(*(weights["body.block1.conv.weight"] for weights in seen))


def test_images_of_a_forgotten_class_change_no_bit(experiment, tmp_path):
    plain, painted = (
        context_of(experiment(f"outputs={tmp_path / name}", dataset="digits"))
        for name in ("plain", "painted")
    )
    train, (column,) = painted.data.splits["train"], painted.request.forgotten
    forgotten = train.targets[:, column] == 1
    images = np.array(train.images[np.arange(len(train.images))])
    images[train.rows[forgotten.numpy()]] = 255
    painted = dataclasses.replace(painted, train=dataclasses.replace(train, images=images))
    seen = painted.task.without(train, painted.request.forgotten)
    assert (seen.targets[:, column] == 0).all()
    assert len(seen) == (~forgotten).sum()
    first, second = (
        dict(retrained_model(context).net.state_dict()) for context in (plain, painted)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    both = (weights_after(context, context.train) for context in (plain, painted))
    assert not torch.equal(*(weights["body.block1.conv.weight"] for weights in both))


def test_it_starts_where_the_original_started_and_sees_the_same_images_in_the_same_order(
    experiment, monkeypatch
):
    context, seen = context_of(experiment("training.epochs=1")), []
    module = Classifier
    original_step = module.training_step

    def spy(self, batch, batch_idx):
        if batch_idx == 0:
            seen.append((batch.images.clone(), self.net.body.block1.conv.weight.detach().clone()))
        return original_step(self, batch, batch_idx)

    monkeypatch.setattr(module, "training_step", spy)
    train = context.train
    for split in (train, context.task.without(train, context.request.forgotten)):
        from_scratch(context, "any", split)
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_its_forgotten_output_is_constant(experiment, dataset):
    context = context_of(experiment(dataset=dataset))
    retrain = retrained_model(context)
    probs = context.task.probs(retrain.outputs["test"].logits)[:, context.request.forgotten]
    wanted = (
        context.train.base_rates()[list(context.request.forgotten)] if dataset == "faces" else 0.0
    )
    torch.testing.assert_close(probs, torch.as_tensor(wanted).expand_as(probs), atol=1e-6, rtol=0)
