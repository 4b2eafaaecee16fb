import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from mlu.data.split import Batch
from mlu.methods.parts.losses import (
    FLAT,
    edited_loss,
    forgotten_loss,
    multiple_correlation,
    retained_loss,
    standardised,
    teacher_logits,
)
from mlu.models.tasks import ForgetRequest
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


@pytest.mark.parametrize("soft", [0.0, 0.3])
@pytest.mark.parametrize("decorrelation", [0.0, 0.7])
def test_tuning_minimises_the_sum_that_its_docstring_names(soft, decorrelation):
    problem = entangled_problem()
    batch = problem.train[torch.arange(32)]
    found = edited_loss(problem, soft, decorrelation, problem.net, batch)
    taught = problem.original(batch.images).sigmoid()[:, 1:]
    targets = (1 - soft) * batch.targets[:, 1:] + soft * taught
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        problem.net(batch.images)[:, 1:], targets
    )
    wanted = wanted + decorrelation * multiple_correlation(
        problem.net.features(batch.images), batch, problem
    )
    torch.testing.assert_close(found, wanted)


def test_the_teacher_is_the_original_and_learns_nothing():
    problem = entangled_problem()
    other = copy.deepcopy(problem.net)
    torch.nn.init.zeros_(other.head.weight)
    images = problem.train[torch.arange(8)].images
    problem = replace(problem, net=other, original=problem.original.requires_grad_(True))
    taught = teacher_logits(problem, images)
    assert not taught.requires_grad
    torch.testing.assert_close(taught, problem.original(images).detach())
