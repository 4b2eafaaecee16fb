import copy
import sys
import warnings
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.func import jvp

from mlu.data.split import Split
from mlu.models.network import Network
from mlu.models.tasks import MultiLabel, SingleLabel
from mlu.models.timm_backbone import Timm
from mlu.scores import influence as machinery
from mlu.scores import inverse
from mlu.scores.gradients import all_weights
from mlu.scores.influence import Pool, influence
from mlu.scores.inverse import DRAWS
from mlu.system.errors import UserError
from mlu.system.seeding import generator
from tests.support import label_slopes
from tests.support.label_slopes import (
    COLUMN,
    IMAGES,
    LABELS,
    Slopes,
    pixels,
    points_of,
    slopes_of,
    smooth_net,
)
from tests.support.plain_vit import plain_logits, tiny_vit

assert IMAGES <= DRAWS, "so that the mean curvature, and with it the damping, is no estimate"
PERTURBATIONS = ("label_flip", "label_prior", "input_noise")
SOLVERS = ("head_exact", "cg", "kfac")

by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)
by_perturbation = pytest.mark.parametrize("perturbation", PERTURBATIONS)
by_solver = pytest.mark.parametrize("solver", SOLVERS)


@pytest.fixture
def net():
    return smooth_net()


@pytest.fixture
def linear():
    return linear_net(side=2)


@pytest.fixture
def solved_well(monkeypatch):
    monkeypatch.setattr(inverse, "TOLERANCE", 1e-8)
    monkeypatch.setattr(inverse, "ITERATIONS", 500)


def linear_net(side):
    """Nothing but a head on the pixels."""
    torch.manual_seed(0)
    return Network(OrderedDict(flat=nn.Flatten()), 3 * side**2, LABELS).double().eval()


def of(solver, net, task, points, perturbation="label_flip", damping=0.1, images=1000, seed=0):
    known = points.subset(points.known[:, COLUMN].nonzero().squeeze(1))
    rows = torch.randperm(len(known), generator=generator(seed))[:images]
    return influence(
        solver, net, task, points, COLUMN, perturbation, damping, known.subset(rows), seed
    )


def pool_of(net, task, points, perturbation="label_flip", seed=0):
    return Pool(net, task, points, COLUMN, perturbation, float(points.base_rates()[COLUMN]), seed)


def perturbed(net, task, points, perturbation, seed=0):
    """Images and the label's targets of all x'."""
    pool = pool_of(net, task, points, perturbation, seed)
    images, targets = zip(
        *[pool.perturbed(batch, number) for number, batch in enumerate(pool.batches())], strict=True
    )
    return torch.cat(images), torch.cat(targets)


class Twins(NamedTuple):
    """Points and what they become."""

    plain: Slopes
    targets: Tensor
    perturbed: Slopes
    perturbed_targets: Tensor


def twins_of(net, task, points, perturbation, seed=0):
    images, targets = perturbed(net, task, points, perturbation, seed)
    plain = slopes_of(net, task, pixels(points))
    return Twins(plain, points.targets[:, COLUMN].double(), slopes_of(net, task, images), targets)


def dense(twins, damping, matrix=None):
    """-v^T (G + d)^-1 g(x) with everything written out."""
    matrix = twins.plain.curvature() if matrix is None else matrix
    direction = twins.perturbed.of_loss(twins.perturbed_targets).mean(0)
    eye = torch.eye(len(matrix)).double()
    damped = matrix + damping * matrix.trace() / len(matrix) * eye
    return -twins.plain.of_loss(twins.targets) @ torch.linalg.solve(damped, direction)


@by_task
@by_perturbation
def test_the_head_alone_is_solved_exactly(net, task, perturbation, monkeypatch):
    monkeypatch.setattr(machinery, "BATCH", 9)
    points, damping = points_of(task), 0.01
    images, (perturbed_images, _) = pixels(points), perturbed(net, task, points, perturbation)
    rate = points.base_rates()[COLUMN].item()

    def with_one(images):
        return torch.cat([net.features(images), torch.ones(len(images), 1).double()], 1).detach()

    def probs(images):
        return task.probs(net(images))[:, COLUMN].detach()

    h, twin, p, twin_p = (
        with_one(images),
        with_one(perturbed_images),
        probs(images),
        probs(perturbed_images),
    )
    matrix = torch.zeros(3, 3).double()
    for row, prob in zip(h, p, strict=True):
        matrix += prob * (1 - prob) * torch.outer(row, row) / IMAGES
    matrix += damping * matrix.trace() / 3 * torch.eye(3).double()
    expected = []
    for row in range(IMAGES):
        y = points.targets[row, COLUMN].item()
        twin_y = {"label_flip": 1 - y, "label_prior": rate, "input_noise": y}[perturbation]
        leverage = h[row] @ torch.linalg.solve(matrix, twin[row])
        expected.append(-(twin_p[row] - twin_y) * (p[row] - y) * leverage)
    found = of("head_exact", net, task, points, perturbation, damping)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-9, atol=1e-12)


@by_task
def test_no_point_speaks_for_the_opposite_of_its_own_label(net, task):
    """p - y and p - (1 - y) have opposite signs: what is left is p (1 - p) times the leverage, >=
    0."""
    points = points_of(task)
    found = of("head_exact", net, task, points)
    assert (found > 0).all()
    lies = Split(points.images, points.rows, 1 - points.targets, points.known, points.identities)
    torch.testing.assert_close(of("head_exact", net, task, lies), found)
    # Without a change of label the residuals are equal, and the point helps itself.
    assert (of("head_exact", net, task, points, "input_noise").median() < 0).all()


@by_task
@pytest.mark.parametrize(
    ("perturbation", "batch"), [("label_flip", IMAGES), ("label_prior", IMAGES), ("input_noise", 9)]
)
def test_conjugate_gradients_solve_the_dense_system(
    net, task, perturbation, batch, solved_well, monkeypatch
):
    monkeypatch.setattr(machinery, "BATCH", batch)
    points = points_of(task)
    twins = twins_of(net, task, points, perturbation)
    expected = dense(twins, damping=0.1)
    found = of("cg", net, task, points, perturbation)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())
    # Control: what the slopes alone would say is far from it.
    flat = dense(twins, damping=1e9)
    assert (flat / flat.norm() - expected / expected.norm()).norm() > 0.01


def test_conjugate_gradients_solve_the_dense_system_of_attention(solved_well, monkeypatch):
    """Its derivatives, in both directions, are those of what it computes written out."""
    task, net = MultiLabel(), tiny_vit(LABELS)
    points = points_of(task, side=16)
    found = of("cg", net, task, points)
    monkeypatch.setattr(label_slopes, "functional_call", plain_logits)
    expected = dense(twins_of(net, task, points, "label_flip"), damping=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())
    assert torch.backends.mha.get_fastpath_enabled()


def test_attention_whose_matrices_cannot_be_factored_is_refused_in_one_line():
    with pytest.raises(
        UserError, match=r"method.influence=kfac .* use cg or head_exact$"
    ) as caught:
        of("kfac", tiny_vit(LABELS), MultiLabel(), points_of(MultiLabel(), side=16))
    assert "\n" not in str(caught.value)


def test_attention_of_linear_layers_is_factored():
    """timm's, with weights that do not depend on how it draws them; as they outnumber the points,
    with much damping."""
    net, task = Timm(name="test_vit", image_size=16).build(LABELS).double().eval(), MultiLabel()
    torch.manual_seed(0)
    with torch.no_grad():
        for value in net.parameters():
            drawn = 0.2 * torch.randn_like(value)
            value.copy_(drawn if value.dim() > 1 else value + drawn)
    points = points_of(task, side=16)
    factored, whole = (of(solver, net, task, points, damping=100) for solver in ("kfac", "cg"))
    # Control: the slopes alone do not say it.
    flat = of("cg", net, task, points, damping=1e9)
    assert spearmanr(flat, whole).statistic < 0.8 < spearmanr(factored, whole).statistic


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_conjugate_gradients_keep_their_tolerance(net, tolerance, monkeypatch):
    """A residual r leaves an error of at most |r| |g| / (least eigenvalue) in the inner product
    with g."""
    monkeypatch.setattr(inverse, "TOLERANCE", tolerance)
    task, points = MultiLabel(), points_of(MultiLabel())
    twins = twins_of(net, task, points, "label_flip")
    matrix = twins.plain.curvature()
    least = 0.1 * matrix.trace() / len(matrix)
    residual = tolerance * twins.perturbed.of_loss(twins.perturbed_targets).mean(0).norm()
    allowed = residual * twins.plain.of_loss(twins.targets).norm(dim=1) / least
    expected = dense(twins, damping=0.1)
    assert ((of("cg", net, task, points) - expected).abs() <= allowed).all()


@pytest.mark.parametrize("scale", [1e-3, 1e-6])
def test_small_curvature_is_solved_like_any_other(linear, scale):
    """Pixels that hardly change the odds: the matrix shrinks by the square of `scale`, the
    influence not at all."""
    task, points = MultiLabel(), points_of(MultiLabel(), side=2)
    linear.body.add_module("shrink", Shrink(scale))
    expected = dense(twins_of(linear, task, points, "label_flip"), damping=0.1)
    found = of("cg", linear, task, points)
    assert (found - expected).norm() < 0.01 * expected.norm()


class Shrink(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, features):
        return self.scale * features


@by_task
@pytest.mark.parametrize("solver", ["cg", "kfac"])
def test_one_image_of_a_linear_net_gives_the_exact_curvature(linear, task, solver, solved_well):
    """Where a single image's curvature is a Kronecker product, h h^T with that of its outputs."""
    points = points_of(task, images=6, side=2)
    twins = twins_of(linear, task, points, "label_prior")
    expected = []
    for row in range(len(points)):
        one = Slopes(twins.plain.jacobian[[row]], twins.plain.prob[[row]])
        expected.append(dense(twins, 0.1, one.curvature()))
    found = of(solver, linear, task, points, "label_prior", images=1)
    matches = [
        torch.allclose(found, one, rtol=1e-7, atol=1e-7 * one.abs().max().item())
        for one in expected
    ]
    assert sum(matches) == 1


@by_task
@by_perturbation
def test_kronecker_factors_are_exact_where_all_points_are_as_sure(linear, task, perturbation):
    nn.init.zeros_(linear.head.weight)
    points = points_of(task, side=2)
    expected = dense(twins_of(linear, task, points, perturbation), damping=0.1)
    found = of("kfac", linear, task, points, perturbation)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())
    # Control: they are not where points differ.
    nn.init.normal_(linear.head.weight, std=0.3, generator=generator(0))
    expected = dense(twins_of(linear, task, points, perturbation), damping=0.1)
    assert (
        of("kfac", linear, task, points, perturbation) - expected
    ).norm() > 0.01 * expected.norm()


@by_task
def test_kronecker_factors_rank_points_much_as_the_whole_matrix_does(net, task):
    points = points_of(task, images=60)
    exact, factored = (of(solver, net, task, points, damping=1) for solver in ("cg", "kfac"))
    assert spearmanr(exact, factored, alternative="greater").pvalue < 1e-6


@by_task
def test_inner_products_are_those_with_each_point_s_gradient(net, task, monkeypatch):
    monkeypatch.setattr(machinery, "BATCH", 9)
    points, random = points_of(task), generator(0)
    direction = {
        name: torch.randn(value.shape, generator=random).to(value)
        for name, value in all_weights(net).items()
    }
    parameters, expected = [net.get_parameter(name) for name in direction], []
    for row in range(IMAGES):
        batch = points[[row]]
        prob = task.probs(net(batch.images))[0, COLUMN]
        loss = -(prob if batch.targets[0, COLUMN] else 1 - prob).log()
        slopes = torch.autograd.grad(loss, parameters)
        expected.append(
            sum((slope * one).sum() for slope, one in zip(slopes, direction.values(), strict=True))
        )
    found = pool_of(net, task, points).inner_products(direction)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-10, atol=1e-12)


@by_task
def test_points_are_perturbed_as_asked(net, task):
    points = points_of(task, images=120, known=0.7)
    points = points.subset(points.known[:, COLUMN].nonzero().squeeze(1))
    images, targets = pixels(points), points.targets[:, COLUMN].double()
    found = {}
    for name in PERTURBATIONS:
        pool = pool_of(net, task, points, name)
        (batch,) = pool.batches()
        torch.testing.assert_close(batch.images, images, rtol=0, atol=0)
        found[name] = pool.perturbed(batch, 0)
        assert torch.equal(pool.perturbed(batch, 0)[0], found[name][0])
    assert torch.equal(found["label_flip"][0], images)
    assert torch.equal(found["label_flip"][1], 1 - targets)
    assert torch.equal(found["label_prior"][0], images)
    torch.testing.assert_close(
        found["label_prior"][1], targets.mean().expand(len(points)), rtol=1e-6, atol=0
    )
    assert torch.equal(found["input_noise"][1], targets)
    noise = (found["input_noise"][0] - images) / machinery.NOISE
    assert abs(noise.mean().item()) < 5 / noise.numel() ** 0.5
    assert abs(noise.var().item() - 1) < 5 * (2 / noise.numel()) ** 0.5
    assert not torch.equal(pool.perturbed(batch, 1)[0], found["input_noise"][0])
    assert not torch.equal(
        pool_of(net, task, points, "input_noise", seed=1).perturbed(batch, 0)[0],
        pool.perturbed(batch, 0)[0],
    )


@by_task
@by_solver
@by_perturbation
def test_without_curvature_influence_is_the_product_of_slopes(net, task, solver, perturbation):
    points, damping = points_of(task), 1e8
    twins = twins_of(net, task, points, perturbation)
    if solver == "head_exact":
        images = pixels(points)
        h = torch.cat([net.features(images), torch.ones(IMAGES, 1)], 1).detach()
        variance = twins.plain.prob * (1 - twins.plain.prob)
        size = (variance * h.square().sum(1)).mean() / h.shape[1]
        noisy, _ = perturbed(net, task, points, perturbation)
        twin = torch.cat([net.features(noisy), torch.ones(IMAGES, 1)], 1).detach()
        own = (twins.perturbed.prob - twins.perturbed_targets) * (twins.plain.prob - twins.targets)
        expected = -own * (h * twin).sum(1) / (damping * size)
    else:
        size = twins.plain.curvature().diagonal().mean()
        direction = twins.perturbed.of_loss(twins.perturbed_targets).mean(0)
        expected = -twins.plain.of_loss(twins.targets) @ direction / (damping * size)
    # The curvature that is left out is at most its trace, a share of weights / damping.
    share = 200 / damping
    found = of(solver, net, task, points, perturbation, damping)
    torch.testing.assert_close(
        found, expected, rtol=share, atol=share * expected.abs().max().item()
    )


RIDGE, MANY = 0.02, 120


class Regression(NamedTuple):
    """One label's row of a linear net, trained to the optimum of mean loss + RIDGE / 2 |row|^2; the
    rest stays."""

    net: Network
    task: object
    points: Split
    features: Tensor
    offset: Tensor
    targets: Tensor

    def retrained(self, counts):
        """The row for each way of counting points, shape (ways, points): Newton's method until
        nothing moves."""
        rows = torch.zeros(len(counts), self.features.shape[1]).double()
        for _ in range(30):
            prob = (rows @ self.features.T + self.offset).sigmoid()
            slope = counts * (prob - self.targets) @ self.features / MANY + RIDGE * rows
            bend = torch.einsum(
                "wn,nf,ng->wfg", counts * prob * (1 - prob) / MANY, self.features, self.features
            )
            rows = rows - torch.linalg.solve(
                bend + RIDGE * torch.eye(rows.shape[1]).double(), slope
            )
        assert slope.abs().max() < 1e-13
        return rows

    def losses(self, rows, images, targets):
        """Of images under each row, shape (rows, images)."""
        features, offset = inputs(self.net, self.task, images, self.features.shape[1])
        return F.binary_cross_entropy_with_logits(
            rows @ features.T + offset, targets.expand(len(rows), -1), reduction="none"
        )

    def perturbed(self, perturbation):
        return perturbed(self.net, self.task, self.points, perturbation)

    def without_each(self):
        return 1 - torch.eye(MANY).double()

    def curvature(self):
        prob = (self.features @ self.trained() + self.offset).sigmoid()
        return (prob * (1 - prob) * self.features.T) @ self.features / MANY

    def trained(self):
        return self.retrained(torch.ones(1, MANY).double())[0]


def inputs(net, task, images, width):
    """What the label's odds are linear in, and what is added to that."""
    features = net.features(images).detach()
    logits = net.head(features).detach()
    rest = torch.cat([logits[:, :COLUMN], logits[:, COLUMN + 1 :]], 1).logsumexp(1)
    offset = -rest if task.name == "singlelabel" else torch.zeros(len(images)).double()
    if width > features.shape[1]:
        return torch.cat([features, torch.ones(len(images), 1)], 1), offset
    return features, offset + net.head.bias[COLUMN].detach()


def regression(task, bias):
    """Pixels that go along with the image's brightness, some of them hardly and some strongly on
    their own."""
    net, random = linear_net(side=2), np.random.default_rng(2)
    own = random.normal(size=(MANY, 12)) * np.geomspace(3, 45, 12)
    pixels = (128 + 30 * random.normal(size=(MANY, 1)) + own).clip(0, 255).astype(np.uint8)
    images = torch.from_numpy(pixels.reshape(MANY, 3, 2, 2)).double() / 255
    features, offset = inputs(net, task, images, 12 + bias)
    odds = features[:, :12] @ torch.linspace(-2, 2, 12).double() + offset
    targets = torch.zeros(MANY, LABELS)
    targets[:, COLUMN] = torch.from_numpy(random.random(MANY) < odds.sigmoid().numpy())
    if task.name == "singlelabel":
        targets[:, 0] = 1 - targets[:, COLUMN]
    known = torch.ones(MANY, LABELS, dtype=torch.bool)
    points = Split(pixels.reshape(MANY, 3, 2, 2), np.arange(MANY), targets, known, np.arange(MANY))
    problem = Regression(net, task, points, features, offset, targets[:, COLUMN].double())
    row = problem.trained()
    with torch.no_grad():
        net.head.weight[COLUMN] = row[:12]
        if bias:
            net.head.bias[COLUMN] = row[12]
    return problem


def ridge_as_damping(problem, weights):
    """The share of its mean that makes RIDGE of a matrix with so many weights."""
    return (RIDGE * weights / problem.curvature().trace()).item()


@pytest.fixture(scope="module", params=["multilabel", "singlelabel"])
def trained_head(request):
    return regression(
        {"multilabel": MultiLabel(), "singlelabel": SingleLabel()}[request.param], bias=True
    )


@by_perturbation
def test_influence_is_the_derivative_of_retraining(trained_head, perturbation):
    """I(x) / n is how fast the loss at x' moves as x counts for more: central differences, whose
    error is epsilon^2."""
    problem, epsilon = trained_head, 1e-3
    found = of(
        "head_exact",
        problem.net,
        problem.task,
        problem.points,
        perturbation,
        ridge_as_damping(problem, 13),
    )
    more, less = (
        problem.losses(
            problem.retrained(1 + sign * epsilon * torch.eye(MANY).double()),
            *problem.perturbed(perturbation),
        ).diagonal()
        for sign in (1, -1)
    )
    torch.testing.assert_close(found / MANY, (more - less) / (2 * epsilon), rtol=1e-4, atol=1e-8)


@by_perturbation
def test_influence_foretells_retraining_without_a_point(trained_head, perturbation):
    problem = trained_head
    predicted = -of(
        "head_exact",
        problem.net,
        problem.task,
        problem.points,
        perturbation,
        ridge_as_damping(problem, 13),
    )
    images, targets = problem.perturbed(perturbation)
    rows = problem.retrained(torch.cat([torch.ones(1, MANY).double(), problem.without_each()]))
    losses = problem.losses(rows, images, targets)
    actual = losses[1:].diagonal() - losses[0]
    assert correlation(predicted, actual) > 0.99
    # Controls: another point's influence, and no curvature.
    flat = -of("head_exact", problem.net, problem.task, problem.points, perturbation, 1e9)
    assert abs(correlation(predicted.roll(1), actual)) < 0.5
    assert 1 - correlation(flat, actual) > 5 * (1 - correlation(predicted, actual))


def test_the_change_without_a_point_is_as_large_as_foretold(trained_head):
    """With inverted labels, where the theory bounds it.

    Let no log-odds move by more than m, and a be the point's leverage. Then p (1 - p) stays within
    factors e^-m and e^m on the way, so the point's own log-odds move by -I / n times a factor in
    e^-m / (1 - a) .. e^m / (1 - a) (Sherman-Morrison), and the slope of its loss, p or 1 - p, stays
    within another e^-m .. e^m.
    """
    problem = trained_head
    predicted = -of(
        "head_exact",
        problem.net,
        problem.task,
        problem.points,
        damping=ridge_as_damping(problem, 13),
    )
    rows = problem.retrained(torch.cat([torch.ones(1, MANY).double(), problem.without_each()]))
    losses = problem.losses(rows, *problem.perturbed("label_flip"))
    actual = losses[1:].diagonal() - losses[0]
    moved = ((rows[1:] - rows[0]) @ problem.features.T).abs().amax(1)
    prob = (problem.features @ rows[0] + problem.offset).sigmoid()
    inverse = torch.linalg.inv(problem.curvature() + RIDGE * torch.eye(13).double())
    leverage = prob * (1 - prob) * ((problem.features @ inverse) * problem.features).sum(1) / MANY
    ratio = actual / (predicted / MANY) * (1 - leverage)
    assert (ratio.log().abs() <= 2 * moved).all()
    assert moved.median() < 0.2
    # Control: half of it is not foretold.
    assert not ((ratio.log() - torch.tensor(2.0).log()).abs() <= 2 * moved).all()


def test_influence_by_all_weights_foretells_retraining(solved_well, monkeypatch):
    """Of the weights without the bias; what changes is the mean loss over all perturbed points."""
    monkeypatch.setattr(inverse, "DRAWS", MANY)
    task = MultiLabel()
    problem = regression(task, bias=False)
    damping = ridge_as_damping(problem, problem.net.head.weight.numel())
    images, targets = problem.perturbed("label_prior")
    rows = problem.retrained(torch.cat([torch.ones(1, MANY).double(), problem.without_each()]))
    losses = problem.losses(rows, images, targets).mean(1)
    actual = losses[1:] - losses[0]
    found = {
        name: correlation(
            -of(solver, problem.net, task, problem.points, "label_prior", share), actual
        )
        for name, solver, share in (
            ("cg", "cg", damping),
            ("kfac", "kfac", damping),
            ("flat", "cg", 1e9),
        )
    }
    assert found["cg"] > 0.99
    assert found["cg"] > found["kfac"] > found["flat"]
    epsilon = 1e-3
    more, less = (
        problem.losses(
            problem.retrained(1 + sign * epsilon * torch.eye(MANY).double()), images, targets
        ).mean(1)
        for sign in (1, -1)
    )
    expected = of("cg", problem.net, task, problem.points, "label_prior", damping) / MANY
    torch.testing.assert_close(expected, (more - less) / (2 * epsilon), rtol=1e-4, atol=1e-8)


def correlation(first, second):
    return np.corrcoef(first, second)[0, 1]


@by_task
@by_solver
def test_points_whose_label_is_unknown_have_no_influence(net, task, solver):
    points = points_of(task, known=0.6)
    known = points.known[:, COLUMN]
    assert known.any()
    assert not known.all()
    found = of(solver, net, task, points)
    assert (found[~known] == 0).all()
    assert (found[known] != 0).all()
    alone = of(solver, net, task, points.subset(known.nonzero().squeeze(1)))
    assert torch.equal(found[known], alone)
    lies = torch.where(points.known, points.targets, 1 - points.targets)
    lied = Split(points.images, points.rows, lies, points.known, points.identities)
    assert torch.equal(of(solver, net, task, lied), found)


@by_solver
def test_a_label_that_is_never_known_has_no_influential_points(net, solver):
    points = points_of(MultiLabel()).withhold([COLUMN])
    assert torch.equal(of(solver, net, MultiLabel(), points), torch.zeros(IMAGES).double())


@by_solver
def test_a_single_point_is_enough(net, solver):
    points = points_of(MultiLabel(), images=1)
    found = of(solver, net, MultiLabel(), points)
    assert found.shape == (1,)
    assert found.isfinite().all()


@pytest.mark.filterwarnings("error")
@by_solver
@pytest.mark.parametrize("seed", range(4))
def test_points_that_are_alike_are_damped_as_others(linear, solver, seed):
    """Their gradients, summed with random signs, are often 0."""
    points = points_of(MultiLabel(), images=4, side=2)
    points = points.subset(torch.tensor([0, 0, 0, 0]))
    found = of(solver, linear.float(), MultiLabel(), points, seed=seed)
    torch.testing.assert_close(found, found[:1].expand(4))
    expected = of(solver, linear, MultiLabel(), points.subset(torch.tensor([0])), seed=seed)
    torch.testing.assert_close(found[:1], expected, rtol=1e-3, atol=0)


@by_solver
def test_float32_gives_the_same(net, solver):
    points = points_of(MultiLabel())
    expected = of(solver, net, MultiLabel(), points, damping=1)
    found = of(solver, net.float(), MultiLabel(), points, damping=1)
    assert found.dtype == torch.float32
    assert expected.dtype == torch.float64
    torch.testing.assert_close(
        found.double(), expected, rtol=0, atol=5e-3 * expected.abs().max().item()
    )


@by_solver
def test_the_seed_decides_about_noise_and_curvature(net, solver):
    points = points_of(MultiLabel())
    found, again, other = (
        of(solver, net, MultiLabel(), points, "input_noise", images=5, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(found, again)
    assert not torch.equal(found, other)


@by_task
@by_solver
@by_perturbation
def test_influence_changes_nothing(net, task, solver, perturbation):
    net.requires_grad_(False)
    net.head.bias.requires_grad_(True).grad = torch.ones(LABELS).double()
    net.head.weight.requires_grad_(True)
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (not drawn from)
    points = points_of(task)
    kept = copy.deepcopy(points)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found = of(solver, net, task, points, perturbation)
            assert torch.is_grad_enabled() is grad
    assert not found.requires_grad
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(net.head.bias.grad, torch.ones(LABELS).double())
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["head.bias"]
    assert [name for name, p in net.named_parameters() if p.requires_grad] == [
        "head.weight",
        "head.bias",
    ]
    assert [module.training for module in net.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert np.array_equal(points.images, kept.images)
    assert torch.equal(points.targets, kept.targets)


def test_a_fault_leaves_the_network_as_it_was(net, monkeypatch):
    def broken(*_):
        raise ArithmeticError

    monkeypatch.setattr(machinery, "damped_inverse", broken)
    net.requires_grad_(False)
    with pytest.raises(ArithmeticError):
        of("cg", net, MultiLabel(), points_of(MultiLabel()))
    assert not any(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("solver", ["cg", "kfac"])
def test_users_see_no_warnings_of_libraries(net, solver, monkeypatch):
    def first_jvp(*arguments):
        warnings.warn(
            "as torch warns of itself in a process's first `jvp`", FutureWarning, stacklevel=1
        )
        return jvp(*arguments)

    monkeypatch.setattr(machinery, "jvp", first_jvp)
    for name in list(sys.modules):
        if name.split(".")[0] in ("curvlinops", "linear_operator"):
            monkeypatch.delitem(sys.modules, name)
    of(solver, net, MultiLabel(), points_of(MultiLabel()))


def test_users_see_where_conjugate_gradients_fall_short(net, monkeypatch):
    monkeypatch.setattr(inverse, "ITERATIONS", 2)
    with pytest.warns(RuntimeWarning, match="larger than the tolerance"):
        of("cg", net, MultiLabel(), points_of(MultiLabel()))
