import copy
import functools
import itertools
from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.func import functional_call, hessian, jacrev

from mlu.data.split import Batch
from mlu.models.network import Network
from mlu.models.tasks import MultiLabel, SingleLabel, task_of
from mlu.scores import curvature, gradients
from mlu.scores.curvature import diagonal
from mlu.scores.gradients import all_weights
from mlu.system.seeding import generator
from tests.support.plain_vit import plain_logits, tiny_vit

IMAGES, LABELS, BATCH, DRAWS = 10, 3, 5, 80
COLUMNS = {"forgotten": (1,), "retained": (0, 2)}
FALSE_ALARM = 1e-3
"""Chance that a check of a right estimator over all weights, and their sum, fails."""

by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)
by_estimator = pytest.mark.parametrize("estimator", ["fisher", "ggn", "hutchinson"])


@pytest.fixture
def net():
    return tiny_net()


def tiny_net():
    torch.manual_seed(0)
    first = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3, stride=2), bn=nn.BatchNorm2d(4), act=nn.Tanh())
    )
    pool = nn.AvgPool2d(2)
    last = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(4, 2, 1), act=nn.Tanh(), pool=pool, flat=nn.Flatten())
    )
    net = Network(OrderedDict(first=first, last=last), 2, LABELS).double()
    first.bn.running_mean.normal_()
    first.bn.running_var.uniform_(0.5, 2)
    nn.init.normal_(net.head.weight)
    return net.eval()


def whole(task, known=0.8):
    """All images at once; some targets unknown."""
    random = torch.Generator().manual_seed(1)
    images = torch.rand(IMAGES, 3, 6, 6, dtype=torch.float64, generator=random)
    targets = torch.randint(0, 2, (IMAGES, LABELS), generator=random).double()
    if task.name == "singlelabel":
        targets = nn.functional.one_hot(
            torch.randint(0, LABELS, (IMAGES,), generator=random), LABELS
        ).double()
    return Batch(images, targets, torch.rand(IMAGES, LABELS, generator=random) < known)


def batches(batch, size):
    for rows in torch.arange(len(batch)).split(size):
        yield Batch(batch.images[rows], batch.targets[rows], batch.known[rows])


def flat(weights):
    return torch.cat([value.flatten() for value in weights.values()])


def estimate(estimator, net, task, batch, size, weights=None, seed=0):
    weights = all_weights(net) if weights is None else weights
    found = diagonal(estimator, net, task, batches(batch, size), COLUMNS, weights, generator(seed))
    return {name: flat(scores) for name, scores in found.items()}


def dense(estimator, net, task, batch, columns, weights):
    """The whole matrix whose diagonal is meant, of the loss summed over a batch."""
    scope, vector = task.scope(batch.targets, batch.known, columns), flat(weights)
    sizes = [value.numel() for value in weights.values()]

    def logits(vector):
        parts = [
            part.view_as(value)
            for part, value in zip(vector.split(sizes), weights.values(), strict=True)
        ]
        return functional_call(net, dict(zip(weights, parts, strict=True)), batch.images)

    def terms(logits):
        return task.terms(logits, batch.targets)

    if estimator == "fisher":
        each = jacrev(lambda vector: terms(logits(vector)))(vector)[scope]
        return each.T @ each
    if estimator == "ggn":
        jacobian = jacrev(logits)(vector).flatten(0, 1)
        bend = hessian(lambda flat: (terms(flat.view(-1, LABELS)) * scope).sum())(
            logits(vector).flatten()
        )
        return jacobian.T @ bend @ jacobian
    return hessian(lambda vector: (terms(logits(vector)) * scope).sum())(vector)


class Truth(NamedTuple):
    """Diagonal of the mean loss's matrix, and how far an estimate of it, and of its sum, spreads at
    most."""

    value: torch.Tensor
    spread: torch.Tensor
    spread_of_sum: torch.Tensor


def truth(estimator, net, task, batch, size, columns, weights):
    parts = [dense(estimator, net, task, part, columns, weights) for part in batches(batch, size)]
    terms = task.scope(batch.targets, batch.known, columns).sum()
    if estimator == "hutchinson":
        # Var of v_i (H v)_i: the squared rest of the row.
        variance = sum(matrix.square().sum(1) - matrix.diagonal().square() for matrix in parts)
    else:
        # Var of (sum s g)^2 is 2 ((sum g^2)^2 - sum g^4); without the last term it holds for all g
        # of this sum.
        variance = sum(2 * matrix.diagonal().square() for matrix in parts)
    # Var of v^T A v = 2 sum of a_ij^2 over i != j; A and the Gram matrix of its roots have the same
    # norm.
    variance_of_sum = sum(2 * matrix.square().sum() for matrix in parts)
    return Truth(
        sum(matrix.diagonal() for matrix in parts) / terms,
        variance.sqrt() / terms,
        variance_of_sum.sqrt() / terms,
    )


def truths(estimator, net, task, batch, size=BATCH):
    weights = all_weights(net)
    return {
        name: truth(estimator, net, task, batch, size, columns, weights)
        for name, columns in COLUMNS.items()
    }


def agrees(found, truths):
    """Whether the means over `found` are within the interval around the truth; Bonferroni over all
    that is compared."""
    compared = sum(len(truth.value) + 1 for truth in truths.values())
    quantile = norm.isf(FALSE_ALARM / 2 / compared) / len(found) ** 0.5
    ok = True
    for name, (value, spread, spread_of_sum) in truths.items():
        error = torch.stack([one[name] for one in found]).mean(0) - value
        ok &= bool(
            (error.abs() <= quantile * spread + 1e-14).all()
            and error.sum().abs() <= quantile * spread_of_sum
        )
    return ok


def draws(estimator, net, task, batch, size=BATCH):
    return [estimate(estimator, net, task, batch, size, seed=seed) for seed in range(DRAWS)]


@functools.cache
def drawn(estimator, task_name):
    """The draws that several tests look at."""
    task = task_of(task_name)
    return draws(estimator, tiny_net(), task, whole(task))


def all_signs(monkeypatch, numbers, run):
    """Mean of `run` over every vector of signs: the expectation itself."""
    total = 0
    for signs in itertools.product([-1.0, 1.0], repeat=numbers):
        left = iter(signs)

        def chosen(like, _, left=left):
            return torch.tensor([next(left) for _ in range(like.numel())]).view(like.shape).to(like)

        monkeypatch.setattr(gradients, "random_signs", chosen)
        monkeypatch.setattr(curvature, "random_signs", chosen)
        total = total + run() / 2**numbers
    return total


@by_task
@by_estimator
def test_every_estimator_is_unbiased(net, task, estimator):
    expected, found = truths(estimator, net, task, whole(task)), drawn(estimator, task.name)
    assert agrees(found, expected)
    assert not agrees(
        [{"forgotten": one["retained"], "retained": one["forgotten"]} for one in found], expected
    )


@by_task
@by_estimator
def test_without_signs_no_estimator_passes(net, task, estimator, monkeypatch):
    # With all signs 1 it squares the batch's summed gradient, or sums a row of the Hessian: the
    # classic slips.
    batch = whole(task)
    for module in (gradients, curvature):
        monkeypatch.setattr(module, "random_signs", lambda like, _: torch.ones_like(like))
    # Every draw is the same.
    found = [estimate(estimator, net, task, batch, IMAGES)] * DRAWS
    assert not agrees(found, truths(estimator, net, task, batch, IMAGES))


@by_task
def test_each_estimator_fails_as_any_other(net, task):
    for name, other in itertools.permutations(("fisher", "ggn", "hutchinson"), 2):
        assert not agrees(drawn(name, task.name), truths(other, net, task, whole(task))), (
            name,
            other,
        )


def test_wrong_roots_of_the_output_hessian_fail(net):
    class MultiWithoutRoot(MultiLabel):
        def curvature_roots(self, logits):
            probs = self.probs(logits).detach()
            return probs * (1 - probs) * logits

    class SingleWithoutRoot(SingleLabel):
        def curvature_roots(self, logits):
            probs = self.probs(logits).detach()
            return probs * (logits - (probs * logits).sum(1, keepdim=True))

    class SingleUncentred(SingleLabel):
        def curvature_roots(self, logits):
            return self.probs(logits).detach().sqrt() * logits

    for task in (MultiWithoutRoot(), SingleWithoutRoot(), SingleUncentred()):
        batch = whole(task)
        assert not agrees(
            draws("ggn", net, task, batch, IMAGES), truths("ggn", net, task, batch, IMAGES)
        )


@by_task
@by_estimator
def test_the_mean_over_all_signs_is_exact(net, task, estimator, monkeypatch):
    """For one image; by the eight weights of a layer, so that there are few signs."""
    weights = {"body.last.conv.weight": all_weights(net)["body.last.conv.weight"]}
    batch = next(batches(whole(task, known=1), 1))
    numbers = {
        "hutchinson": 8,
        "ggn": LABELS,
        "fisher": 1 if task.name == "singlelabel" else LABELS,
    }[estimator]

    def run():
        scores = estimate(estimator, net, task, batch, 1, weights)
        return torch.stack([scores[name] for name in COLUMNS])

    found = all_signs(monkeypatch, numbers, run)
    for mean, columns in zip(found, COLUMNS.values(), strict=True):
        matrix = dense(estimator, net, task, batch, columns, weights)
        terms = task.scope(batch.targets, batch.known, columns).sum().clamp(min=1)
        torch.testing.assert_close(mean, matrix.diagonal() / terms, rtol=1e-10, atol=1e-16)
    assert (found != 0).any()


@pytest.mark.parametrize("estimator", ["fisher", "ggn"])
def test_one_number_per_batch_needs_no_luck(net, estimator):
    task, batch = MultiLabel(), whole(MultiLabel())
    for seed in range(3):
        found = estimate(estimator, net, task, batch, 1, seed=seed)["forgotten"]
        exact = truth(estimator, net, task, batch, 1, COLUMNS["forgotten"], all_weights(net)).value
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-16)


def test_fisher_needs_no_luck_with_one_image_of_one_class(net):
    task, batch = SingleLabel(), whole(SingleLabel())
    for name, columns in COLUMNS.items():
        exact = truth("fisher", net, task, batch, 1, columns, all_weights(net)).value
        torch.testing.assert_close(
            estimate("fisher", net, task, batch, 1)[name], exact, rtol=1e-10, atol=1e-16
        )


def test_hutchinson_needs_no_luck_where_the_hessian_is_diagonal():
    """Labels do not mix under MultiLabel, nor do the weights of a row where every image shows one
    feature."""
    torch.manual_seed(0)
    net = Network(OrderedDict(flat=nn.Flatten()), 12, LABELS).double()
    task, batch = MultiLabel(), whole(MultiLabel())
    shown = torch.eye(12).double()[torch.arange(IMAGES) % 12].view(IMAGES, 3, 2, 2)
    batch = Batch(net.denormalised(shown), batch.targets, batch.known)
    for name, columns in COLUMNS.items():
        matrix = dense("hutchinson", net, task, batch, columns, all_weights(net))
        assert (matrix - matrix.diag().diag()).abs().max() < 1e-12 < matrix.diag().max()
        exact = matrix.diag() / task.scope(batch.targets, batch.known, columns).sum()
        torch.testing.assert_close(
            estimate("hutchinson", net, task, batch, 3)[name], exact, rtol=1e-10, atol=1e-13
        )


@by_task
def test_hutchinson_bends_attention_as_it_is_written_out(task, monkeypatch):
    """The Hessian times ones: torch's fused attention has no second derivative."""
    monkeypatch.setattr(curvature, "random_signs", lambda like, generator: torch.ones_like(like))
    net = tiny_vit(LABELS)
    images = torch.rand(
        IMAGES, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    batch, weights = replace(whole(task), images=images), all_weights(net)
    found = diagonal("hutchinson", net, task, [batch], COLUMNS, weights, generator(0))
    scope = task.scope(batch.targets, batch.known, COLUMNS["forgotten"])

    def loss(*values):
        terms = task.terms(
            plain_logits(net, dict(zip(weights, values, strict=True)), images), batch.targets
        )
        return (terms * scope).sum() / scope.sum()

    values = tuple(weights.values())
    expected = torch.autograd.functional.vhp(loss, values, tuple(map(torch.ones_like, values)))[1]
    for name, value in zip(weights, expected, strict=True):
        torch.testing.assert_close(
            found["forgotten"][name], value, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert torch.backends.mha.get_fastpath_enabled()


def test_gauss_newton_is_the_fisher_that_the_model_expects(net):
    task, one = MultiLabel(), next(batches(whole(MultiLabel(), known=1), 1))
    sure = net(one.images).sigmoid()[0, 1].item()
    found = {
        target: estimate(
            "fisher",
            net,
            task,
            Batch(one.images, torch.full_like(one.targets, target), one.known),
            1,
        )
        for target in (0, 1)
    }
    expected = sure * found[1]["forgotten"] + (1 - sure) * found[0]["forgotten"]
    torch.testing.assert_close(
        estimate("ggn", net, task, one, 1)["forgotten"], expected, rtol=1e-10, atol=1e-16
    )


def test_gauss_newton_does_not_read_targets(net):
    batch = whole(MultiLabel())
    lies = Batch(batch.images, 1 - batch.targets, batch.known)
    for name in COLUMNS:
        assert torch.equal(
            *(estimate("ggn", net, MultiLabel(), which, 3)[name] for which in (batch, lies))
        )
        assert not torch.equal(
            *(estimate("fisher", net, MultiLabel(), which, 3)[name] for which in (batch, lies))
        )


def test_gauss_newton_reads_no_more_of_classes_than_whom_they_select(net):
    task, batch = SingleLabel(), whole(SingleLabel(), known=1)
    lies = Batch(batch.images, batch.targets.roll(1, dims=1), batch.known)
    found = [
        flat(
            diagonal(
                "ggn",
                net,
                task,
                batches(which, 3),
                {"all": (0, 1, 2)},
                all_weights(net),
                generator(0),
            )["all"]
        )
        for which in (batch, lies)
    ]
    assert torch.equal(*found)


@by_task
def test_squares_are_never_negative_and_the_hessian_may_be(net, task):
    for estimator in ("fisher", "ggn"):
        assert all(
            (scores >= 0).all() for one in drawn(estimator, task.name) for scores in one.values()
        )
    exact = truths("hutchinson", net, task, whole(task))["forgotten"]
    clearest = (exact.value / exact.spread.clamp(min=1e-12)).argmin()
    assert exact.value[clearest] < 0
    assert (
        torch.stack([one["forgotten"] for one in drawn("hutchinson", task.name)]).mean(0)[clearest]
        < 0
    )


@by_estimator
def test_labels_have_no_curvature_in_the_rows_of_others(net, estimator):
    batch = whole(MultiLabel())
    found = diagonal(
        estimator, net, MultiLabel(), batches(batch, 3), COLUMNS, all_weights(net), generator(0)
    )
    assert (found["retained"]["head.weight"][1] == 0).all()
    assert (found["retained"]["head.weight"][[0, 2]] != 0).all()
    assert (found["forgotten"]["head.weight"][[0, 2]] == 0).all()
    assert (found["forgotten"]["head.weight"][1] != 0).all()


@by_estimator
def test_a_weight_that_no_output_depends_on_has_none_and_hinders_nothing(net, estimator):
    task, batch = MultiLabel(), whole(MultiLabel())
    net.idle = nn.Linear(2, 2, bias=False).double()
    used = {name: value for name, value in all_weights(net).items() if name != "idle.weight"}
    found, without = (
        estimate(estimator, net, task, batch, IMAGES, weights) for weights in (None, used)
    )
    for name in COLUMNS:
        assert torch.equal(found[name], torch.cat([without[name], torch.zeros(4).double()]))
        assert without[name].any()


@by_task
@by_estimator
def test_unknown_targets_do_not_count(net, task, estimator):
    batch = whole(task)
    hidden = batch.known.clone()
    hidden[-4:] = False
    shown = Batch(batch.images[:-4], batch.targets[:-4], batch.known[:-4])
    found, expected, full = (
        estimate(estimator, net, task, which, 1)
        for which in (Batch(batch.images, batch.targets, hidden), shown, batch)
    )
    nothing = estimate(
        estimator, net, task, Batch(batch.images, batch.targets, torch.zeros_like(hidden)), 3
    )
    for name in COLUMNS:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-16)
        assert not torch.allclose(found[name], full[name])
        assert (nothing[name] == 0).all()


@by_estimator
def test_the_targets_of_unknown_labels_are_not_read(net, estimator):
    batch = whole(MultiLabel())
    assert not batch.known.all()
    lies = torch.where(batch.known, batch.targets, 1 - batch.targets)
    for name in COLUMNS:
        found = estimate(estimator, net, MultiLabel(), Batch(batch.images, lies, batch.known), 3)
        assert torch.equal(found[name], estimate(estimator, net, MultiLabel(), batch, 3)[name])


@by_estimator
def test_the_seed_decides_and_nothing_else(net, estimator):
    task, batch = MultiLabel(), whole(MultiLabel())
    found = estimate(estimator, net, task, batch, 3)
    with torch.no_grad():
        again = estimate(estimator, net.requires_grad_(False), task, batch, 3)
    other = estimate(estimator, net, task, batch, 3, seed=1)
    for name in COLUMNS:
        assert torch.equal(found[name], again[name])
        assert not torch.equal(found[name], other[name])


@by_task
@by_estimator
def test_scoring_changes_nothing(net, task, estimator):
    net.requires_grad_(False)
    net.head.bias.requires_grad_(True).grad = torch.ones(LABELS).double()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (not drawn from)
    weights, batch = all_weights(net), whole(task)
    kept = copy.deepcopy(batch)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found = diagonal(
                estimator, net, task, batches(batch, 4), COLUMNS, weights, generator(0)
            )
            assert torch.is_grad_enabled() is grad
    for name, scores in found.items():
        assert list(scores) == list(weights), name
        assert all(scores[layer].shape == value.shape for layer, value in weights.items())
        assert not any(value.requires_grad for value in scores.values())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(net.head.bias.grad, torch.ones(LABELS).double())
    assert [
        name for name, p in net.named_parameters() if p.grad is not None or p.requires_grad
    ] == ["head.bias"]
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert not any(value.requires_grad for value in weights.values())
    assert torch.equal(batch.targets, kept.targets)
    assert torch.equal(batch.images, kept.images)
