from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from mlu.attacks.contract import Canaries
from mlu.data.base import LabelledImages
from mlu.data.split import Split, partition
from mlu.models.tasks import ForgetRequest
from mlu.pipeline import run as pipeline
from mlu.pipeline import trained
from mlu.pipeline.canaries import CanaryShares, canaries_of, planted
from mlu.pipeline.context import context_of
from mlu.pipeline.trained import from_scratch, original_model
from mlu.system.errors import UserError

REQUEST = ForgetRequest((0, 2), (1, 3))
law = settings(deadline=None, derandomize=True, max_examples=40)


def split_of(images, seed=0, rows=None):
    """Random targets, one in five unknown."""
    random = np.random.default_rng(seed)
    targets = torch.from_numpy(random.random((images, 4)) < 0.4).float()
    known = torch.from_numpy(random.random((images, 4)) < 0.8)
    rows = np.arange(images) if rows is None else rows
    return Split(
        np.zeros((rows.max() + 1, 3, 1, 1), np.uint8), rows, targets * known, known, rows // 4
    )


def shares(withheld, flipped):
    return CanaryShares(withheld=withheld, flipped=flipped)


def assert_share(chosen, share):
    """Chance gives it, but for one experiment in a million."""
    low, high = binom.ppf([5e-7, 1 - 5e-7], len(chosen), share)
    assert low <= chosen.sum() <= high


@pytest.mark.parametrize(("withheld", "flipped"), [(0.5, 0.1), (0.1, 0.5), (0.9, 0.0), (0.3, 1.0)])
def test_shares_are_as_configured_and_sides_are_flipped_alike(withheld, flipped):
    found = canaries_of(split_of(20_000), shares(withheld, flipped))
    assert_share(~found.supervised, withheld)
    for side in (found.supervised, ~found.supervised):
        assert_share(found.flipped[side], flipped)


def test_without_withheld_targets_there_are_no_canaries():
    split = split_of(50)
    assert canaries_of(split, shares(0.0, 0.5)) is None
    assert planted(split, REQUEST, None) is split


@law
@given(st.integers(0, 999), st.integers(0, 999))
def test_an_image_has_the_same_role_in_every_partition(first, second):
    images = 60 + first % 7
    labels = np.random.default_rng(first).integers(0, 2, (images, 3)).astype(np.uint8)
    data = LabelledImages(
        "toy", "multilabel", np.zeros((images, 3, 1, 1), np.uint8), labels, ("a", "b", "c"), "0"
    )
    roles = []
    for seed in (first, second):
        train = partition(data, seed)["train"]
        found = canaries_of(train, shares(0.4, 0.3))
        assert found.supervised.shape == found.flipped.shape == (len(train),)
        roles.append(
            dict(zip(train.rows, zip(found.supervised, found.flipped, strict=True), strict=True))
        )

    both = roles[0].keys() & roles[1].keys()
    assert both
    assert all(roles[0][row] == roles[1][row] for row in both)


def test_more_canaries_are_the_same_and_others():
    split = split_of(500)
    few, many = canaries_of(split, shares(0.2, 0.1)), canaries_of(split, shares(0.6, 0.4))
    assert (few.supervised >= many.supervised).all()
    assert (few.flipped <= many.flipped).all()


@law
@given(st.integers(0, 999), st.sampled_from([0.0, 0.3, 1.0]))
def test_withheld_targets_are_unknown_flipped_ones_turned_where_learnt_and_all_else_is_untouched(
    seed, flipped
):
    split = split_of(60, seed)
    before = replace(split, targets=split.targets.clone(), known=split.known.clone())
    canaries = canaries_of(split, shares(0.4, flipped))
    found = planted(split, REQUEST, canaries)
    for row in range(60):
        for column in range(4):
            target, known = split.targets[row, column], split.known[row, column]
            if column in REQUEST.forgotten and not canaries.supervised[row]:
                target, known = 0, False
            elif column in REQUEST.forgotten and canaries.flipped[row] and known:
                target = 1 - target
            assert found.known[row, column] == known
            if known:
                assert found.targets[row, column] == target

    assert found.images is split.images
    np.testing.assert_array_equal(found.rows, split.rows)
    np.testing.assert_array_equal(found.identities, split.identities)
    assert torch.equal(split.targets, before.targets)
    assert torch.equal(split.known, before.known)


def test_withheld_targets_read_zero_even_where_they_are_flipped():
    split = split_of(4)
    split.known[:] = True
    canaries = Canaries(np.array([True, True, False, False]), np.array([True, False, True, False]))
    found = planted(split, ForgetRequest((1,), (0, 2, 3)), canaries)
    assert found.targets[:, 1].tolist() == [1 - split.targets[0, 1], split.targets[1, 1], 0, 0]
    assert found.known[:, 1].tolist() == [True, True, False, False]


def test_classes_cannot_be_withheld_which_the_pipeline_says_in_one_line(experiment):
    with pytest.raises(
        UserError, match=r"canaries need labels that .*: set canaries\.withheld=0$"
    ) as fault:
        pipeline.run(experiment("canaries.withheld=0.5", dataset="digits"))
    assert len(str(fault.value).splitlines()) == 1
    context_of(experiment(dataset="digits"))
    with pytest.raises(
        UserError, match=r"^canaries\.flipped=0\.5 is of no use .*: set canaries\.withheld above 0$"
    ):
        experiment("canaries.flipped=0.5", dataset="digits")


SMALL = ["dataset.images=60", "training.epochs=1", "canaries.withheld=0.5", "canaries.flipped=0.3"]


def test_the_original_learns_the_planted_targets_and_is_judged_by_the_true_ones(
    experiment, monkeypatch, tmp_path
):
    context, learnt = context_of(experiment(*SMALL, f"outputs={tmp_path}")), []
    plain = context.data.splits["train"]

    def watched(*given):
        learnt.append(given[2])
        return from_scratch(*given)

    monkeypatch.setattr(trained, "from_scratch", watched)
    original = original_model(context)
    (train,) = learnt
    assert torch.equal(train.targets, planted(plain, context.request, context.canaries).targets)
    assert not torch.equal(train.targets, plain.targets)
    assert torch.equal(original.outputs["train"].targets, plain.targets)
    assert original.outputs["train"].known.all()


def test_canaries_of_another_label_are_another_original(experiment, tmp_path):
    first, second = (
        original_model(
            context_of(experiment(*SMALL, f"outputs={tmp_path}", f"forget_label.names=[{name}]"))
        )
        for name in ("Male", "Young")
    )
    assert not second.cost.cached
    assert not torch.equal(first.outputs["test"].logits, second.outputs["test"].logits)
