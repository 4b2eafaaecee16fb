import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from mlu.data.split import Batch
from mlu.methods.parts import (
    FLAT,
    both_sides,
    calibration,
    each_label,
    every_weight,
    forgotten_aurocs,
    forgotten_loss,
    frozen_rows,
    multiple_correlation,
    on_device,
    refuse_silence,
    repeated,
    retain_passes,
    retained_loss,
    share_of,
    silent_head,
    speaking,
    standardised,
    teacher_logits,
    tune_loss,
    tune_passes,
)
from mlu.models.tasks import ForgetRequest
from mlu.system.errors import UserError
from mlu.system.seeding import generator
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Pass
from tests.support.planted import entangled_problem, planted_problem


def sample(images=24, width=40, seed=0, targets=None):
    """Features and a batch of three labels whose first is to be forgotten."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(images, width, dtype=torch.float64, generator=random)
    if targets is None:
        targets = torch.randint(0, 2, (images, 3), generator=random).double()
    return features, Batch(
        torch.zeros(images, 3, 8, 8), targets, torch.ones(images, 3, dtype=torch.bool)
    )


@pytest.mark.parametrize(("images", "width"), [(24, 40), (40, 7)])
def test_multiple_correlation_is_what_a_ridge_regression_explains(images, width):
    features, batch = sample(images, width)
    inputs = StandardScaler().fit_transform(features.numpy())
    target = StandardScaler().fit_transform(batch.targets[:, :1].numpy())[:, 0]
    ridge = Ridge(alpha=images, fit_intercept=False).fit(inputs, target)
    explained = ridge.predict(inputs) @ target / images
    assert multiple_correlation(features, batch, planted_problem()).item() == pytest.approx(
        explained, rel=1e-9
    )


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), images=st.integers(2, 30), scale=st.floats(0.1, 10))
def test_multiple_correlation_is_a_share_that_knows_no_unit(seed, images, scale):
    features, batch = sample(images, 5, seed)
    # Two images may by chance look alike to a feature: what then is left of its variance counts as
    # rounding.
    assume(features.var(0, unbiased=False).min() * min(1, scale**2) > FLAT)
    share = multiple_correlation(features, batch, planted_problem())
    assert -1e-9 <= share <= 1
    again = multiple_correlation(scale * features + 3, batch, planted_problem())
    torch.testing.assert_close(again, share, rtol=1e-6, atol=1e-9)


def test_multiple_correlation_sees_a_combination_that_no_single_feature_shows():
    """Why not the mean of single correlations: an attacker adds features up."""
    random = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (4000, 3), generator=random).double()
    noise = torch.randn(4000, dtype=torch.float64, generator=random)
    features = torch.stack([noise + 0.2 * targets[:, 0], noise - 0.2 * targets[:, 0]], 1)
    _, batch = sample(4000, 2, targets=targets)
    alone = max(np.corrcoef(feature, targets[:, 0])[0, 1] ** 2 for feature in features.T.numpy())
    independent = multiple_correlation(
        torch.randn(4000, 2, generator=random).double(), batch, planted_problem()
    )
    assert alone < 0.02
    assert multiple_correlation(features, batch, planted_problem()) > independent + 0.005


def test_multiple_correlation_of_a_target_that_does_not_vary_is_zero():
    features, batch = sample()
    batch.targets[:, 0] = 1
    assert multiple_correlation(features, batch, planted_problem()) == 0
    batch.known[:, 0] = False
    assert multiple_correlation(features, batch, planted_problem()) == 0


@pytest.mark.parametrize("width", [1, 3])
def test_multiple_correlation_of_two_images_by_hand(width):
    """Standardised, all that there is are +1 and -1: K t = 2 width t, so the share is 2 width / (2
    width + 2)."""
    _, batch = sample(2, targets=torch.tensor([[1.0, 0, 0], [0, 0, 0]]).double())
    features = torch.tensor([[2.0], [-7.0]]).double().expand(2, width)
    torch.testing.assert_close(
        multiple_correlation(features, batch, planted_problem()),
        torch.tensor(width / (width + 1)).double(),
    )


def test_multiple_correlation_is_computed_as_precisely_as_targets_are():
    features, batch = sample()
    coarse = features.bfloat16()
    found = multiple_correlation(coarse, batch, planted_problem())
    assert found.dtype == torch.float64
    assert found == multiple_correlation(coarse.double(), batch, planted_problem())


@pytest.mark.parametrize("images", [0, 1])
def test_multiple_correlation_of_fewer_than_two_images_is_zero_and_teaches_nothing(images):
    features, batch = sample(4)
    batch.known[images:, 0] = False
    share = multiple_correlation(features.requires_grad_(), batch, planted_problem())
    share.backward()
    assert share == 0
    assert (features.grad == 0).all()


def test_multiple_correlation_of_several_labels_is_their_mean_on_the_images_where_all_are_known():
    problem, (features, batch) = planted_problem(), sample()
    batch.known[::5, 0], batch.known[1::7, 2], batch.known[:, 1] = False, False, False
    both = (batch.known[:, 0] & batch.known[:, 2]).nonzero().squeeze(1)
    fewer = Batch(
        batch.images[both], batch.targets[both], torch.ones(len(both), 3, dtype=torch.bool)
    )
    assert 2 < len(both) < len(features)
    single = [
        multiple_correlation(
            features[both], fewer, replace(problem, request=ForgetRequest((column,), (1,)))
        )
        for column in (0, 2)
    ]
    found = multiple_correlation(
        features, batch, replace(problem, request=ForgetRequest((0, 2), (1,)))
    )
    torch.testing.assert_close(found, torch.stack(single).mean())


def test_standardised_columns_have_mean_0_and_variance_1_or_do_not_vary():
    columns = sample(30, 4)[0] * torch.tensor([1.0, 1e3, 1e-6, 0.0]) + 5
    found = standardised(columns).numpy()
    np.testing.assert_allclose(
        found[:, :2], StandardScaler().fit_transform(columns[:, :2].numpy()), atol=1e-9
    )
    # Below FLAT a variance is divided by FLAT, so that rounding is not blown up to a signal.
    np.testing.assert_allclose(found[:, 2].var(), columns[:, 2].numpy().var() / FLAT, rtol=1e-6)
    assert (found[:, 3] == 0).all()


def test_its_gradient_is_that_of_finite_differences():
    features, batch = sample(8, 5)
    assert torch.autograd.gradcheck(
        lambda values: multiple_correlation(values, batch, planted_problem()),
        features.requires_grad_(),
    )


def test_the_retained_loss_reads_no_forgotten_target():
    problem = planted_problem()
    batch = problem.train[torch.arange(16)]
    logits = problem.net(batch.images)
    loss = retained_loss(logits, batch, problem)
    flipped = batch.targets.clone()
    flipped[:, 0] = 1 - flipped[:, 0]
    assert torch.equal(
        retained_loss(logits, Batch(batch.images, flipped, batch.known), problem), loss
    )
    flipped[:, 1] = 1 - flipped[:, 1]
    assert not torch.equal(
        retained_loss(logits, Batch(batch.images, flipped, batch.known), problem), loss
    )


@pytest.mark.parametrize("forgotten", [(0,), (2, 0)])
def test_both_losses_are_means_over_known_targets_of_their_labels(forgotten):
    retained = tuple({0, 1, 2} - set(forgotten))
    problem = replace(entangled_problem(), request=ForgetRequest(forgotten, retained))
    batch = problem.train[torch.arange(16)]
    batch.known[::3] = torch.tensor([False, True, False])
    batch.known[1::4, 1] = False
    logits = problem.net(batch.images)
    for loss, columns in ((forgotten_loss, forgotten), (retained_loss, retained)):
        terms = [
            bce(logits[image, column], batch.targets[image, column])
            for image in range(16)
            for column in columns
            if batch.known[image, column]
        ]
        torch.testing.assert_close(loss(logits, batch, problem), torch.stack(terms).mean())


def test_plain_tuning_goes_through_what_may_be_retained_with_its_loss():
    problem = entangled_problem()
    passes = retain_passes(problem, Tuning(epochs=3))
    batch = problem.train[torch.arange(16)]
    assert len(passes) == 3
    for one in passes:
        assert one.images is problem.retain
        expected = retained_loss(problem.net(batch.images), batch, problem)
        torch.testing.assert_close(one.loss(problem.net, batch), expected, rtol=0, atol=0)


@pytest.mark.parametrize("decorrelation", [0.0, 0.7])
def test_tuning_after_an_edit_is_given_the_forgotten_targets_only_where_it_reads_them(
    decorrelation,
):
    problem = entangled_problem()
    passes = tune_passes(problem, Tuning(epochs=2), 0.3, decorrelation)
    batch = problem.train[torch.arange(16)]
    assert len(passes) == 2
    for one in passes:
        assert one.images is (problem.train if decorrelation else problem.retain)
        expected = tune_loss(problem, 0.3, decorrelation, problem.net, batch)
        torch.testing.assert_close(one.loss(problem.net, batch), expected, rtol=0, atol=0)


@pytest.mark.parametrize("soft", [0.0, 0.3])
@pytest.mark.parametrize("decorrelation", [0.0, 0.7])
def test_tuning_minimises_the_sum_that_its_docstring_names(soft, decorrelation):
    problem = entangled_problem()
    batch = problem.train[torch.arange(32)]
    found = tune_loss(problem, soft, decorrelation, problem.net, batch)
    taught = problem.original(batch.images).sigmoid()[:, 1:]
    targets = (1 - soft) * batch.targets[:, 1:] + soft * taught
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        problem.net(batch.images)[:, 1:], targets
    )
    wanted = wanted + decorrelation * multiple_correlation(
        problem.net.features(batch.images), batch, problem
    )
    torch.testing.assert_close(found, wanted)


def test_a_pass_is_repeated_until_epochs_or_steps_are_done():
    one = Pass(
        images=planted_problem(64).train, loss=lambda net, batch: torch.zeros(()), batch_size=16
    )
    for epochs, steps, wanted in (
        (3, None, 3),
        (None, 4, 1),
        (None, 5, 2),
        (1, 9, 1),
        (9, 5, 2),
        (0, 5, 0),
        (None, 0, 0),
    ):
        assert len(repeated(Tuning(epochs=epochs, steps=steps), one)) == wanted
    # A rest of one image makes no step.
    odd = Pass(images=planted_problem(65).train, loss=one.loss, batch_size=16)
    assert len(repeated(Tuning(steps=8), odd)) == 2


def test_a_share_of_a_split_is_seeded_and_never_empty():
    train = planted_problem(64).train
    assert len(share_of(train, 0.25, generator(0))) == 16
    assert len(share_of(train, 1e-9, generator(0))) == 1
    assert np.array_equal(
        share_of(train, 0.5, generator(1)).rows, share_of(train, 0.5, generator(1)).rows
    )
    assert not np.array_equal(
        share_of(train, 0.5, generator(1)).rows, share_of(train, 0.5, generator(2)).rows
    )

    whole = share_of(train, 1.0, generator(0))
    assert np.array_equal(whole.rows, train.rows)
    assert (np.diff(share_of(train, 0.5, generator(0)).rows) > 0).all()


def test_calibration_is_balanced_in_the_forgotten_label():
    points = calibration(planted_problem(), 20)
    assert points.targets[:, 0].sum() == 10
    assert len(points) == 20
    assert np.array_equal(calibration(planted_problem(), 20).rows, points.rows)
    assert not np.array_equal(calibration(replace(planted_problem(), seed=1), 20).rows, points.rows)


def test_of_several_forgotten_labels_each_brings_its_share_of_known_targets():
    problem = planted_problem()
    problem = replace(problem, request=ForgetRequest((0, 2), (1,)))
    problem.train.targets[:, 0], problem.train.known[:, 0] = 0, False
    problem.train.targets[:5, 0], problem.train.known[:8, 0] = 1, True
    # Label 0: 5 with and 3 without. Label 2: 6 of either, those 8 not excluded.
    rows = calibration(problem, 24).rows
    first, rest = rows[rows < 8], problem.train.targets[torch.from_numpy(rows[rows >= 8]), 2]
    assert first.tolist() == list(range(8))
    within = problem.train.targets[:8, 2]
    assert 6 - within.sum() <= rest.sum() <= 6
    assert 6 - (1 - within).sum() <= (1 - rest).sum() <= 6
    assert len(np.unique(rows)) == len(rows)
    # No fewer than one of each, however few are asked for.
    assert 2 <= len(calibration(problem, 1)) <= 4


def test_a_silent_head_says_the_base_rate_of_known_targets_and_leaves_all_else():
    problem = replace(entangled_problem(), request=ForgetRequest((0, 2), (1,)))
    problem.train.known[::3, 0] = False
    before, images = copy.deepcopy(problem.net.state_dict()), problem.train[torch.arange(16)].images
    silent = copy.deepcopy(problem.net)
    weights = silent_head(problem)
    assert not silent.load_state_dict(weights, strict=False).unexpected_keys
    said, once = silent(images), problem.net(images)
    for column in (0, 2):
        rate = problem.train.targets[problem.train.known[:, column], column].mean()
        assert 0 < rate < 1
        torch.testing.assert_close(said[:, column].sigmoid(), rate.expand(16))
    assert torch.equal(said[:, 1], once[:, 1])
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)


def test_frozen_rows_are_the_forgotten_ones_of_the_head():
    problem = replace(planted_problem(), request=ForgetRequest((0, 2), (1,)))
    radius, head = frozen_rows(problem), problem.net.head
    assert radius["head.weight"].expand_as(head.weight).tolist() == [
        [0.0] * 4,
        [torch.inf] * 4,
        [0.0] * 4,
    ]
    assert radius["head.bias"].expand_as(head.bias).tolist() == [0.0, torch.inf, 0.0]
    assert len(radius) == 2


def test_a_network_is_scored_with_the_originals_forgotten_outputs_and_its_own_otherwise():
    problem = entangled_problem()
    later = copy.deepcopy(problem.net)
    for parameter in later.parameters():
        parameter.data += 0.1
    later.load_state_dict(silent_head(problem), strict=False)
    problem = replace(problem, net=later)
    before = copy.deepcopy(later.state_dict())
    found = speaking(problem)
    images = problem.train[torch.arange(8)].images
    features = later.features(images)
    torch.testing.assert_close(found(images)[:, :1], problem.original.head(features)[:, :1])
    torch.testing.assert_close(found(images)[:, 1:], later(images)[:, 1:])
    torch.testing.assert_close(later.state_dict(), before, rtol=0, atol=0)


def test_scores_that_are_all_zero_are_refused_and_others_are_given_back():
    nothing = {"one": torch.zeros(2, 2), "two": torch.zeros(3)}
    with pytest.raises(UserError, match="forgotten already"):
        refuse_silence(nothing)
    something = nothing | {"two": torch.tensor([0.0, 0.0, 1e-30])}
    assert refuse_silence(something) is something


def test_every_weight_is_each_parameter_without_a_graph():
    net = planted_problem().net.requires_grad_(True)
    found = every_weight(net)
    assert set(found) == {name for name, _ in net.named_parameters()}
    for name, value in found.items():
        assert torch.equal(value, net.get_parameter(name))
        assert not value.requires_grad


def test_the_teacher_is_the_original_and_learns_nothing():
    problem = entangled_problem()
    other = copy.deepcopy(problem.net)
    torch.nn.init.zeros_(other.head.weight)
    images = problem.train[torch.arange(8)].images
    problem = replace(problem, net=other, original=problem.original.requires_grad_(True))
    taught = teacher_logits(problem, images)
    assert not taught.requires_grad
    torch.testing.assert_close(taught, problem.original(images).detach())


def test_aurocs_are_of_the_forgotten_labels_that_occur_both_ways_among_known_targets():
    problem = replace(entangled_problem(), request=ForgetRequest((2, 1, 0), ()))
    images = problem.validation
    images.known[::3, 0] = False
    images.known[:, 1] = images.targets[:, 1] > 0
    odds = problem.net(images[torch.arange(len(images))].images)
    expected = [
        roc_auc_score(
            images.targets[images.known[:, column], column], odds[images.known[:, column], column]
        )
        for column in (2, 0)
    ]
    assert forgotten_aurocs(problem.net, problem, images) == pytest.approx(expected, abs=1e-6)


def test_columns_are_compared_by_side_or_each_for_itself():
    problem = replace(planted_problem(), request=ForgetRequest((2, 0), (1,)))
    assert both_sides(problem) == {"forgotten": (2, 0), "retained": (1,)}
    assert each_label(problem) == {"0": (0,), "1": (1,), "2": (2,)}


def test_points_come_in_order_in_batches_of_their_size():
    problem = planted_problem(20)
    batches = list(on_device(problem, problem.train, 8))
    assert [len(batch.targets) for batch in batches] == [8, 8, 4]
    assert torch.equal(torch.cat([batch.targets for batch in batches]), problem.train.targets)
    assert {batch.images.device for batch in batches} == {problem.device}
