import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from planted import entangled_problem, planted_problem
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from mlu.contracts import Pass
from mlu.data.split import Batch
from mlu.methods.parts import FLAT, calibration, multiple_correlation, repeated, retained_loss, share_of, tune_loss
from mlu.optimise import Tuning
from mlu.seeding import generator


def sample(images=24, width=40, seed=0, targets=None):
    """Features and a batch of three labels whose first is to be forgotten."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(images, width, dtype=torch.float64, generator=random)
    if targets is None:
        targets = torch.randint(0, 2, (images, 3), generator=random).double()
    return features, Batch(torch.zeros(images, 3, 8, 8), targets, torch.ones(images, 3, dtype=torch.bool))


@pytest.mark.parametrize(("images", "width"), [(24, 40), (40, 7)])
def test_multiple_correlation_is_what_a_ridge_regression_explains(images, width):
    features, batch = sample(images, width)
    inputs = StandardScaler().fit_transform(features.numpy())
    target = StandardScaler().fit_transform(batch.targets[:, :1].numpy())[:, 0]
    ridge = Ridge(alpha=images, fit_intercept=False).fit(inputs, target)
    explained = ridge.predict(inputs) @ target / images
    assert multiple_correlation(features, batch, planted_problem()).item() == pytest.approx(explained, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), images=st.integers(2, 30), scale=st.floats(0.1, 10))
def test_multiple_correlation_is_a_share_that_knows_no_unit(seed, images, scale):
    features, batch = sample(images, 5, seed)
    # Two images may by chance look alike to a feature: what then is left of its variance counts as rounding.
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
    independent = multiple_correlation(torch.randn(4000, 2, generator=random).double(), batch, planted_problem())
    assert alone < 0.02
    assert multiple_correlation(features, batch, planted_problem()) > independent + 0.005


def test_multiple_correlation_of_a_target_that_does_not_vary_is_zero():
    features, batch = sample()
    batch.targets[:, 0] = 1
    assert multiple_correlation(features, batch, planted_problem()) == 0
    batch.known[:, 0] = False
    assert multiple_correlation(features, batch, planted_problem()) == 0


def test_its_gradient_is_that_of_finite_differences():
    features, batch = sample(8, 5)
    assert torch.autograd.gradcheck(
        lambda values: multiple_correlation(values, batch, planted_problem()), features.requires_grad_()
    )


def test_the_retained_loss_reads_no_forgotten_target():
    problem = planted_problem()
    batch = problem.train[torch.arange(16)]
    logits = problem.net(batch.images)
    loss = retained_loss(logits, batch, problem)
    flipped = batch.targets.clone()
    flipped[:, 0] = 1 - flipped[:, 0]
    assert torch.equal(retained_loss(logits, Batch(batch.images, flipped, batch.known), problem), loss)
    flipped[:, 1] = 1 - flipped[:, 1]
    assert not torch.equal(retained_loss(logits, Batch(batch.images, flipped, batch.known), problem), loss)


@pytest.mark.parametrize("soft", [0.0, 0.3])
@pytest.mark.parametrize("decorrelation", [0.0, 0.7])
def test_tuning_minimises_the_sum_that_its_docstring_names(soft, decorrelation):
    problem = entangled_problem()
    batch = problem.train[torch.arange(32)]
    found = tune_loss(problem, soft, decorrelation, problem.net, batch)
    taught = problem.original(batch.images).sigmoid()[:, 1:]
    targets = (1 - soft) * batch.targets[:, 1:] + soft * taught
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(problem.net(batch.images)[:, 1:], targets)
    wanted = wanted + decorrelation * multiple_correlation(problem.net.features(batch.images), batch, problem)
    torch.testing.assert_close(found, wanted)


def test_a_pass_is_repeated_until_epochs_or_steps_are_done():
    one = Pass(images=planted_problem(64).train, loss=lambda net, batch: torch.zeros(()), batch_size=16)
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
    assert np.array_equal(share_of(train, 0.5, generator(1)).rows, share_of(train, 0.5, generator(1)).rows)
    assert not np.array_equal(share_of(train, 0.5, generator(1)).rows, share_of(train, 0.5, generator(2)).rows)


def test_calibration_is_balanced_in_the_forgotten_label():
    points = calibration(planted_problem(), 20)
    assert points.targets[:, 0].sum() == 10
    assert len(points) == 20
