"""Retrain never sees the forgotten target: the definition of the reference."""

import dataclasses

import numpy as np
import pytest
import torch

from mlu.methods.retrain import Retrain
from mlu.pipeline.context import Context, context_of
from mlu.pipeline.shadows import halves, shadow, shadow_pool
from mlu.pipeline.trained import from_scratch, original_model, random_model, retrained_model
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


@pytest.fixture
def begun(monkeypatch):
    """Weights before, and images of, the first two steps of each training that is made."""
    seen = []
    original_step = Classifier.training_step

    def spy(self, batch, batch_idx):
        if batch_idx == 0:
            seen.append([])
        if batch_idx < 2:
            weights = {name: value.clone() for name, value in self.net.state_dict().items()}
            seen[-1].append((weights, batch.images.clone()))
        return original_step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", spy)
    return seen


ONCE = ("training.epochs=1", "dataset.images=200", "dataset.image_size=16")


@pytest.mark.parametrize("more", [(), ("canaries.withheld=0.3",), ("training.batch_size=16",)])
def test_it_starts_where_the_original_started_and_sees_the_same_images_in_the_same_order(
    more, experiment, begun, tmp_path
):
    """As a run makes both, with nothing cached."""
    context = context_of(experiment(*ONCE, *more, f"outputs={tmp_path}"))
    original_model(context), retrained_model(context)
    first, second = begun
    torch.testing.assert_close(second[0], first[0], rtol=0, atol=0)
    torch.testing.assert_close(second[1][1], first[1][1], rtol=0, atol=0)
    # What they learn of them differs.
    assert not torch.equal(*(weights["head.weight"] for (_, (weights, _)) in begun))


def test_so_does_a_shadow_model_that_stands_for_it(experiment, begun, tmp_path):
    settings = ("attack=lira", "attack.lira.shadows=6", "attack.lira.jobs=1")
    context = context_of(experiment(*ONCE, *settings, f"outputs={tmp_path}"))
    pool = shadow_pool(context)
    inside = halves(pool.identities, 6, context.experiment.seeds.seed)
    for treatment in (None, Retrain(name="retrain")):
        shadow(context, treatment, pool, inside, 0)
    first, second = begun
    torch.testing.assert_close(second[0], first[0], rtol=0, atol=0)


def test_another_seed_starts_elsewhere_with_other_images(experiment, begun, tmp_path):
    for seed in (1, 2):
        original_model(context_of(experiment(*ONCE, f"outputs={tmp_path}", f"seed={seed}")))
    (first, images), (second, others) = (steps[0] for steps in begun)
    assert not torch.equal(first["head.weight"], second["head.weight"])
    assert not torch.equal(images, others)


@pytest.mark.parametrize(
    "other",
    [
        *("seed=43", "train_seed=1", "dataset.seed=1"),
        *("training.lr=0.01", "training.epochs=2", "canaries.withheld=0.3"),
    ],
)
def test_in_one_cache_whatever_decides_trains_another_original(other, experiment, tmp_path):
    """Not one that is taken for it: the weights are those of a cache of its own."""
    shared, alone = f"outputs={tmp_path / 'shared'}", f"outputs={tmp_path / 'alone'}"
    first = original_model(context_of(experiment(*ONCE, shared)))
    second = original_model(context_of(experiment(*ONCE, shared, other)))
    assert not first.cost.cached
    assert not second.cost.cached
    expected = original_model(context_of(experiment(*ONCE, alone, other))).net.state_dict()
    torch.testing.assert_close(dict(second.net.state_dict()), dict(expected), rtol=0, atol=0)
    assert not torch.equal(first.net.head.weight, second.net.head.weight)


@pytest.mark.parametrize("made", [original_model, retrained_model, random_model])
def test_another_seed_makes_another_even_where_what_is_kept_would_fit(made, experiment, tmp_path):
    """Splits of other sizes would show that an entry is another's; here they are alike."""
    alike = (*ONCE, "dataset.images_per_identity=1", f"outputs={tmp_path}")
    contexts = [context_of(experiment(*alike, f"seed={seed}")) for seed in (42, 43)]
    sizes = [{name: len(one) for name, one in of.data.splits.items()} for of in contexts]
    assert sizes[0] == sizes[1]
    first, second = map(made, contexts)
    assert not second.cost.cached
    assert not torch.equal(first.net.head.weight, second.net.head.weight)


@pytest.mark.parametrize("other", ["seed=43", "forget_label.names=[Bald]", "training.lr=0.01"])
def test_and_another_retrain(other, experiment, tmp_path):
    first, second = (
        retrained_model(context_of(experiment(*ONCE, f"outputs={tmp_path}", *more)))
        for more in ((), (other,))
    )
    assert not first.cost.cached
    assert not second.cost.cached


def test_whether_the_original_was_trained_decides_nothing(experiment, tmp_path):
    """Another method takes the same from the cache."""
    first, second = (
        original_model(context_of(experiment(*ONCE, f"outputs={tmp_path}", f"method={name}")))
        for name in ("wf", "head")
    )
    assert not first.cost.cached
    assert second.cost.cached


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_its_forgotten_output_is_constant(experiment, dataset):
    context = context_of(experiment(dataset=dataset))
    retrain = retrained_model(context)
    probs = context.task.probs(retrain.outputs["test"].logits)[:, context.request.forgotten]
    wanted = (
        context.train.base_rates()[list(context.request.forgotten)] if dataset == "faces" else 0.0
    )
    torch.testing.assert_close(probs, torch.as_tensor(wanted).expand_as(probs), atol=1e-6, rtol=0)
