import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import KernelCenterer, StandardScaler

from mlu.data.split import Batch
from mlu.methods.parts.decorrelation import (
    FLAT,
    OFF,
    beyond_noise,
    explained_share,
    gaussian_kernel,
    linear_kernel,
    residual_of,
    stage_means,
    standardised,
)
from mlu.models.outputs import respond_by_stage
from mlu.models.tasks import ForgetRequest, SingleLabel
from tests.support.planted import entangled_problem, planted_problem

LINEAR = replace(OFF, linear=1.0)
GAUSSIAN = replace(OFF, gaussian=1.0)
PLAIN = replace(LINEAR, conditional=False)

KERNELS = {"linear": LINEAR, "gaussian": GAUSSIAN}


def sample(images=24, width=40, seed=0, targets=None):
    """Features and a batch of three labels whose first is to be forgotten."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(images, width, dtype=torch.float64, generator=random)
    if targets is None:
        targets = torch.randint(0, 2, (images, 3), generator=random).double()
    known = torch.ones(images, 3, dtype=torch.bool)
    return features, Batch(torch.zeros(images, 3, 8, 8), targets, known)


def penalty(settings, features, batch, problem=None):
    """The penalty at one stage, with a residual fitted on the problem's own images."""
    problem = problem or planted_problem()
    residual = residual_of(problem, settings.conditional)
    return settings.penalty([features], batch, residual)


def fitted_on(batch, forgotten=(0,)):
    """A problem whose training targets are those of a batch."""
    problem = planted_problem(len(batch))
    train = replace(problem.train, targets=batch.targets, known=batch.known)
    retained = tuple(sorted({0, 1, 2} - set(forgotten)))
    return replace(problem, train=train, request=ForgetRequest(forgotten, retained))


# What ridge regression explains


@pytest.mark.parametrize(("images", "width"), [(24, 40), (40, 7)])
def test_the_linear_share_is_what_a_ridge_regression_explains(images, width):
    features, batch = sample(images, width)
    inputs = StandardScaler().fit_transform(features.numpy())
    target = StandardScaler().fit_transform(batch.targets[:, :1].numpy())[:, 0]

    ridge = Ridge(alpha=0.7 * images, fit_intercept=False).fit(inputs, target)
    explained = ridge.predict(inputs) @ target / images

    found = penalty(replace(PLAIN, linear_ridge=0.7), features, batch)
    assert found.item() == pytest.approx(explained, rel=1e-9)


@pytest.mark.parametrize("ridge", [0.01, 0.3])
def test_the_gaussian_share_is_what_kernel_ridge_regression_explains(ridge):
    """By scikit-learn: its kernel, its centring, its regression."""
    features, batch = sample(30, 6)
    inputs = StandardScaler().fit_transform(features.numpy())
    distances = ((inputs[:, None] - inputs) ** 2).sum(2)
    # torch takes the lower one of two middle values.
    width = np.sort(distances[~np.eye(30, dtype=bool)])[(30 * 29 - 1) // 2]
    products = KernelCenterer().fit_transform(rbf_kernel(inputs, gamma=1 / width))
    target = batch.targets[:, 0].numpy() - batch.targets[:, 0].numpy().mean()

    regression = KernelRidge(alpha=30 * ridge, kernel="precomputed").fit(products, target)
    explained = regression.predict(products) @ target / (target @ target)

    settings_ = replace(GAUSSIAN, conditional=False, gaussian_ridge=ridge)
    assert penalty(settings_, features, batch).item() == pytest.approx(explained, rel=1e-9)


@pytest.mark.parametrize("width", [1, 3])
def test_of_two_images_the_linear_share_is_known_by_hand(width):
    """Standardised, all that there is are +1 and -1: K t = 2 width t, so the share is 2 width / (2
    width + 2)."""
    _, batch = sample(2, targets=torch.tensor([[1.0, 0, 0], [0, 0, 0]]).double())
    features = torch.tensor([[2.0], [-7.0]]).double().expand(2, width)
    torch.testing.assert_close(
        penalty(PLAIN, features, batch), torch.tensor(width / (width + 1)).double()
    )


def test_of_two_images_the_gaussian_share_is_known_by_hand():
    """The kernel is 1 and 1/e, whatever the distance: centred, K t = (1 - 1/e) t."""
    _, batch = sample(2, targets=torch.tensor([[1.0, 0, 0], [0, 0, 0]]).double())
    features = torch.tensor([[2.0], [-7.0]]).double()
    eigenvalue = 1 - np.exp(-1)
    wanted = eigenvalue / (eigenvalue + 2 * OFF.gaussian_ridge)
    assert penalty(GAUSSIAN, features, batch, fitted_on(batch)).item() == pytest.approx(wanted)


@settings(max_examples=50, deadline=None)
@given(
    kernel=st.sampled_from(sorted(KERNELS)),
    seed=st.integers(0, 999),
    images=st.integers(2, 30),
    scale=st.floats(0.1, 10),
)
def test_it_is_a_share_that_knows_no_unit(kernel, seed, images, scale):
    features, batch = sample(images, 5, seed)
    # Two images may by chance look alike to a feature: what then is left of its variance counts as
    # rounding.
    assume(features.var(0, unbiased=False).min() * min(1, scale**2) > FLAT)
    share = penalty(KERNELS[kernel], features, batch)
    assert -1e-9 <= share <= 1

    again = penalty(KERNELS[kernel], scale * features + 3, batch)
    torch.testing.assert_close(again, share, rtol=1e-6, atol=1e-9)


def test_both_kernels_add_up_with_their_weights():
    features, batch = sample()
    both = replace(OFF, linear=0.3, gaussian=2.0)
    wanted = 0.3 * penalty(LINEAR, features, batch) + 2 * penalty(GAUSSIAN, features, batch)
    torch.testing.assert_close(penalty(both, features, batch), wanted)


def test_the_linear_share_sees_a_combination_that_no_single_feature_shows():
    """Why not the mean of single correlations: an attacker adds features up."""
    random = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (1500, 3), generator=random).double()
    noise = torch.randn(1500, dtype=torch.float64, generator=random)
    features = torch.stack([noise + 0.2 * targets[:, 0], noise - 0.2 * targets[:, 0]], 1)
    _, batch = sample(1500, 2, targets=targets)
    alone = max(np.corrcoef(feature, targets[:, 0])[0, 1] ** 2 for feature in features.T.numpy())
    independent = penalty(PLAIN, torch.randn(1500, 2, generator=random).double(), batch)

    assert alone < 0.02
    assert penalty(PLAIN, features, batch) > independent + 0.005


def test_the_gaussian_share_sees_what_no_linear_map_does():
    """A ring around the other class."""
    random = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (300, 3), generator=random).double()
    angle = 2 * np.pi * torch.rand(300, generator=random).double()
    radius = 1 + 2 * targets[:, :1]
    features = radius * torch.stack([angle.cos(), angle.sin()], 1)
    _, batch = sample(300, 2, targets=targets)

    assert penalty(PLAIN, features, batch) < 0.05
    assert penalty(replace(GAUSSIAN, conditional=False), features, batch) > 0.8


def test_a_kernel_whose_images_all_look_alike_explains_nothing_and_has_a_gradient():
    _, batch = sample()
    features = torch.full((24, 3), 2.0, dtype=torch.float64, requires_grad=True)
    found = penalty(GAUSSIAN, features, batch)
    found.backward()
    assert found == 0
    assert features.grad.isfinite().all()


# What of the label counts


def test_the_residual_is_that_of_a_linear_regression_on_the_retained_labels():
    """An unknown retained label enters at its base rate, an unknown forgotten one not at all."""
    _, batch = sample(200, 4, seed=3)
    batch.targets[:, 0] = ((batch.targets.sum(1) + torch.arange(200) % 2) >= 2).double()
    batch.known[::7, 1], batch.known[::9, 2], batch.known[::5, 0] = False, False, False
    known = batch.known.numpy()
    targets = batch.targets.numpy()
    inputs = np.stack(
        [
            np.where(known[:, one], targets[:, one], targets[known[:, one], one].mean())
            for one in (1, 2)
        ],
        1,
    )

    model = LinearRegression().fit(inputs[known[:, 0]], targets[known[:, 0], 0])
    wanted = targets[:, 0] - inputs @ model.coef_

    found = residual_of(fitted_on(batch), conditional=True)(batch)
    np.testing.assert_allclose(found.numpy()[known[:, 0], 0], wanted[known[:, 0]], atol=1e-6)


def test_several_forgotten_labels_have_a_residual_each_free_of_the_others():
    """The other forgotten label may not be looked at: it is to be forgotten as well."""
    _, batch = sample(200, 4, seed=3)
    batch.targets[:, 2] = batch.targets[:, 0]
    found = residual_of(fitted_on(batch, forgotten=(0, 2)), conditional=True)(batch)
    assert found.shape == (200, 2)
    assert found[:, 0].var() > 0.2
    single = residual_of(fitted_on(batch, forgotten=(0,)), conditional=True)(batch)
    assert single.var() < 1e-6


def test_what_the_retained_labels_tell_may_be_seen():
    """The plain term would take it away, and with it the retained label."""
    random = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (1500, 3), generator=random).double()
    follows = torch.rand(1500, generator=random) < 0.8
    targets[:, 0] = torch.where(follows, targets[:, 1], targets[:, 0])
    _, batch = sample(1500, 2, targets=targets)
    noise = 0.1 * torch.randn(1500, 1, generator=random).double()
    features, problem = targets[:, 1:2] + noise, fitted_on(batch)

    # Of one feature a ridge of 1 leaves half of the squared correlation.
    told = np.corrcoef(features[:, 0], targets[:, 0])[0, 1] ** 2 / 2
    assert penalty(PLAIN, features, batch, problem).item() == pytest.approx(told)
    assert told > 0.25
    assert penalty(LINEAR, features, batch, problem) < 2e-3
    assert penalty(GAUSSIAN, features, batch, problem) < 0.02

    # What is beyond it may not.
    beyond = targets[:, :1] - 0.8 * targets[:, 1:2] + noise
    assert penalty(LINEAR, beyond, batch, problem) > told


def test_a_class_is_held_against_itself():
    """The retained classes tell it for certain: a residual would be zero everywhere."""
    targets = torch.eye(3).double().repeat(8, 1)
    features, batch = sample(24, targets=targets)
    problem = replace(fitted_on(batch), task=SingleLabel())
    assert penalty(LINEAR, features, batch, problem) == penalty(PLAIN, features, batch, problem)
    assert penalty(LINEAR, features, batch, problem) > 0.1


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("shown", ["one way", "unknown", "once", "never"])
def test_a_batch_that_does_not_show_the_label_both_ways_teaches_nothing(kernel, shown):
    """Its residual is what the retained labels say: to hide that would attack these."""
    features, batch = sample()
    problem = fitted_on(batch)
    features.requires_grad_()
    batch = Batch(batch.images, batch.targets.clone(), batch.known.clone())
    batch.targets[:, 0] = 1
    batch.known[{"one way": 24, "unknown": 12, "once": 1, "never": 0}[shown] :, 0] = False

    found = penalty(KERNELS[kernel], features, batch, problem)
    found.backward()

    assert found == 0
    assert (features.grad == 0).all()


def test_of_several_labels_it_is_the_mean_each_on_the_images_where_it_is_known():
    features, batch = sample(60, 8)
    batch.known[::5, 0], batch.known[1::7, 2], batch.known[::2, 1] = False, False, False
    problem = fitted_on(batch, forgotten=(0, 2))
    # Of one label alone the other would be retained.
    residual = residual_of(problem, conditional=True)
    single = []
    for number, column in enumerate((0, 2)):
        known = batch.known[:, column]
        target = residual(batch)[known, number]
        products = linear_kernel(standardised(features[known]))
        single.append(explained_share(products, target - target.mean(), 1.0))

    found = penalty(LINEAR, features, batch, problem)
    torch.testing.assert_close(found, torch.stack(single).mean())


# Noise


@pytest.mark.parametrize("kernel", [linear_kernel, gaussian_kernel])
def test_noise_is_explained_as_far_as_the_docstring_says(kernel):
    """Exact: the mean over all orders in which a target may meet the images."""
    features, _ = sample(6, 3)
    products, ridge = kernel(standardised(features)), 0.2
    target = torch.tensor([1.0, 0, 0, 1, 0, 0]).double() - 1 / 3
    shares = torch.stack(
        [
            explained_share(products, target[list(order)], ridge)
            for order in itertools.permutations(range(6))
        ]
    )

    eigenvalues = torch.linalg.eigvalsh(products)
    wanted = (eigenvalues / (eigenvalues + 6 * ridge)).sum() / 5

    torch.testing.assert_close(shares.mean(), wanted)
    torch.testing.assert_close(
        beyond_noise(shares[0], products, ridge),
        ((shares[0] - wanted) / (1 - wanted)).clamp(min=0),
    )


def test_the_correction_stops_where_noise_is_and_presses_no_features_together():
    features, batch = sample(60, 8)
    corrected = replace(GAUSSIAN, corrected=True)
    shuffled = features.clone().requires_grad_()
    found = penalty(corrected, shuffled, batch)
    assert found < penalty(GAUSSIAN, features, batch) / 3

    telling = (features + 3 * batch.targets[:, :1]).requires_grad_()
    products = gaussian_kernel(standardised(telling.detach()))
    noise = beyond_noise(torch.tensor(0.0).double(), products, OFF.gaussian_ridge)
    assert noise == 0
    plain = torch.autograd.grad(penalty(GAUSSIAN, telling, batch), telling)[0]
    with_it = torch.autograd.grad(penalty(corrected, telling, batch), telling)[0]
    ratio = (with_it.norm() / plain.norm()).item()
    assert ratio > 1
    torch.testing.assert_close(with_it, ratio * plain)


# Gradients and precision


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_its_gradient_is_that_of_a_dense_formula(kernel):
    """By an inverse and sums over pairs, the median's value taken as a constant."""
    features, batch = sample(8, 5)
    problem = fitted_on(sample(50, 5, seed=1)[1])
    residual = residual_of(problem, conditional=True)(batch)[:, 0]

    def dense(values):
        rows = (values - values.mean(0)) / values.std(0, correction=0)
        pairs = range(8)
        squares = torch.stack([((rows[i] - rows[j]) ** 2).sum() for i in pairs for j in pairs])
        if kernel == "linear":
            products, ridge = torch.einsum("if,jf->ij", rows, rows), 1.0
        else:
            apart = squares.detach()[squares.detach() > 1e-12]
            products, ridge = torch.exp(-squares / apart.median()).view(8, 8), 0.01
        centring = torch.eye(8).double() - 1 / 8
        products = centring @ products @ centring
        target = centring @ residual
        smoother = products @ torch.linalg.inv(products + 8 * ridge * torch.eye(8).double())
        return target @ smoother @ target / (target @ target)

    wanted = torch.autograd.grad(dense(features.requires_grad_()), features)[0]
    found = torch.autograd.grad(penalty(KERNELS[kernel], features, batch, problem), features)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_the_linear_gradient_is_that_of_finite_differences():
    features, batch = sample(8, 5)
    assert torch.autograd.gradcheck(
        lambda values: penalty(LINEAR, values, batch), features.requires_grad_()
    )


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_computed_as_precisely_as_targets_are(kernel, dtype):
    """Under mixed precision too, whose products would have three digits."""
    features, batch = sample()
    batch = Batch(batch.images, batch.targets.to(dtype), batch.known)
    coarse = features.bfloat16()
    wanted = penalty(KERNELS[kernel], coarse.to(dtype), batch)
    exact = Batch(batch.images, batch.targets.double(), batch.known)
    precise = penalty(KERNELS[kernel], coarse.double(), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = penalty(KERNELS[kernel], coarse, batch)
    assert found.dtype == dtype
    assert found == wanted
    torch.testing.assert_close(found.double(), precise, rtol=1e-4, atol=1e-5)


def test_standardised_columns_have_mean_0_and_variance_1_or_do_not_vary():
    columns = sample(30, 4)[0] * torch.tensor([1.0, 1e3, 1e-6, 0.0]) + 5
    found = standardised(columns).numpy()
    np.testing.assert_allclose(
        found[:, :2], StandardScaler().fit_transform(columns[:, :2].numpy()), atol=1e-9
    )
    # Below FLAT a variance is divided by FLAT, so that rounding is not blown up to a signal.
    np.testing.assert_allclose(found[:, 2].var(), columns[:, 2].numpy().var() / FLAT, rtol=1e-6)
    assert (found[:, 3] == 0).all()


# Stages


@pytest.mark.parametrize("stages", [1, 2, 9])
def test_stages_are_the_last_ones_and_their_penalties_are_summed(stages):
    problem = entangled_problem()
    batch = problem.train[torch.arange(32)]
    said = respond_by_stage(problem.net, problem.train).stages
    names = list(said)[-stages:]

    seen, features = stage_means(problem.net, batch.images, stages)
    assert torch.equal(seen[-1], features)
    for means, name in zip(seen, names, strict=True):
        torch.testing.assert_close(means, said[name][:32], rtol=1e-4, atol=1e-5)

    residual = residual_of(problem, conditional=True)
    wanted = [LINEAR.penalty([means], batch, residual) for means in seen]
    torch.testing.assert_close(LINEAR.penalty(seen, batch, residual), torch.stack(wanted).sum())


def test_every_stage_that_is_seen_is_taught():
    problem = entangled_problem()
    net = problem.net.requires_grad_(True)
    batch = problem.train[torch.arange(32)]
    earliest, *_ = seen = stage_means(net, batch.images, 9)[0]
    residual = residual_of(problem, conditional=True)
    slopes = torch.autograd.grad(LINEAR.penalty(seen, batch, residual), seen)
    assert len(seen) > 1
    assert all(slope.abs().sum() > 0 for slope in slopes)
    assert earliest.requires_grad
