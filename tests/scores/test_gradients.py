import copy
import math
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from mlu.data.split import Batch
from mlu.models.network import Network
from mlu.models.tasks import MultiLabel, SingleLabel
from mlu.scores.gradients import (
    all_weights,
    body_weights,
    every_weight,
    fisher,
    output_slopes,
    random_signs,
    sensitivity,
)
from mlu.system.seeding import generator
from tests.support.plain_vit import BLOCKS, WIDTH, plain_logits, tiny_vit
from tests.support.planted import planted_problem

IMAGES, LABELS = 10, 3
LAYERS = "body.whole.encoder.layers.encoder_layer"
COLUMNS = {"forgotten": (1,), "retained": (0, 2)}
by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)


@pytest.fixture
def net():
    torch.manual_seed(0)
    first = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3, stride=2), bn=nn.BatchNorm2d(4), act=nn.Tanh())
    )
    last = nn.Sequential(OrderedDict(conv=nn.Conv2d(4, 2, 2), act=nn.Tanh(), flat=nn.Flatten()))
    net = Network(OrderedDict(first=first, last=last), 2, LABELS).double()
    first.bn.running_mean.normal_()
    first.bn.running_var.uniform_(0.5, 2)
    return net.eval()


def whole(task):
    """All images at once; some targets unknown."""
    random = torch.Generator().manual_seed(1)
    images = torch.rand(IMAGES, 3, 6, 6, dtype=torch.float64, generator=random)
    targets = torch.randint(0, 2, (IMAGES, LABELS), generator=random).double()
    if task.name == "singlelabel":
        targets = nn.functional.one_hot(
            torch.randint(0, LABELS, (IMAGES,), generator=random), LABELS
        ).double()
    return Batch(images, targets, torch.rand(IMAGES, LABELS, generator=random) < 0.8)


def batches(batch, size):
    for rows in torch.arange(len(batch)).split(size):
        yield Batch(batch.images[rows], batch.targets[rows], batch.known[rows])


def gradients(net, task, batch, columns):
    """Gradient of every term that counts, one image and label at a time, flat over the body:
    (terms, weights)."""
    net, weights = copy.deepcopy(net), []
    weights = [net.get_parameter(name) for name in body_weights(net)]
    rows = []
    for one in batches(batch, 1):
        terms = task.terms(net(one.images), one.targets).flatten()
        counted = task.scope(one.targets, one.known, columns).flatten()
        for term, counts in zip(terms, counted, strict=True):
            if counts:
                rows.append(flat(torch.autograd.grad(term, weights, retain_graph=True)))
    return torch.stack(rows)


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def fisher_of(net, task, batch, size, seed=0):
    found = fisher(net, task, batches(batch, size), COLUMNS, body_weights(net), generator(seed))
    return {name: flat(scores.values()) for name, scores in found.items()}


def test_body_weights_are_those_of_convolutions_below_the_head(net):
    assert list(body_weights(net)) == ["body.first.conv.weight", "body.last.conv.weight"]
    assert set(all_weights(net)) == {*body_weights(net), "head.weight"}
    for name, value in all_weights(net).items():
        assert torch.equal(value, net.get_parameter(name))
        assert not value.requires_grad


@by_task
@pytest.mark.parametrize("size", [IMAGES, 3])
def test_sensitivity_is_the_slope_of_the_mean_loss(net, task, size):
    batch = whole(task)
    found = sensitivity(net, task, batches(batch, size), COLUMNS, all_weights(net))
    assert list(found) == list(COLUMNS)
    for name, columns in COLUMNS.items():
        net.zero_grad()
        task.loss(
            net(batch.images), batch.targets, task.scope(batch.targets, batch.known, columns)
        ).backward()
        assert list(found[name]) == list(all_weights(net))
        for layer, scores in found[name].items():
            slope = net.get_parameter(layer).grad
            assert (slope != 0).any()
            torch.testing.assert_close(scores, slope.abs(), rtol=1e-10, atol=1e-16)


@by_task
def test_sensitivity_of_attention_is_the_slope_of_what_it_computes_written_out(task):
    """In evaluation mode torch has a kernel for attention without gradients.

    It must not be asked.
    """
    net, random = tiny_vit(LABELS), torch.Generator().manual_seed(2)
    images = torch.rand(IMAGES, 3, 16, 16, dtype=torch.float64, generator=random)
    batch, weights = replace(whole(task), images=images), all_weights(net)
    found = sensitivity(net, task, [batch], COLUMNS, weights)
    tracked = {name: value.clone().requires_grad_() for name, value in weights.items()}
    terms = task.terms(plain_logits(net, tracked, images), batch.targets)
    for name, columns in COLUMNS.items():
        scope = task.scope(batch.targets, batch.known, columns)
        slopes = torch.autograd.grad(
            (terms * scope).sum() / scope.sum(), list(tracked.values()), retain_graph=True
        )
        for layer, slope in zip(tracked, slopes, strict=True):
            torch.testing.assert_close(
                found[name][layer], slope.abs(), msg=lambda text, layer=layer: f"{layer}: {text}"
            )
    # Queries, keys and values all count.
    joint = found["forgotten"][f"{LAYERS}_0.self_attention.in_proj_weight"]
    assert (joint.view(3, WIDTH, WIDTH).amax((1, 2)) > 0).all()


def test_weights_of_attention_are_its_matrices():
    """Each a parameter that an edit can name; of a transformer all but biases, norms, the class
    token and positions."""
    net = tiny_vit(LABELS)
    own = {name: value for name, value in net.named_parameters() if value.ndim > 1}
    layers = [
        f"{LAYERS}_{number}.{name}"
        for number in range(BLOCKS)
        for name in (
            "self_attention.in_proj_weight",
            "self_attention.out_proj.weight",
            "mlp.0.weight",
            "mlp.3.weight",
        )
    ]
    assert set(all_weights(net)) == {"body.whole.conv_proj.weight", *layers, "head.weight"}
    assert set(own) - set(all_weights(net)) == {
        "body.whole.class_token",
        "body.whole.encoder.pos_embedding",
    }
    assert all(torch.equal(own[name], value) for name, value in all_weights(net).items())
    assert set(all_weights(net)) - set(body_weights(net)) == {"head.weight"}


def test_the_loss_of_a_label_does_not_depend_on_other_rows_of_the_head(net):
    # Why the printed rule, which resets what matters least to the forgotten label, resets all
    # retained rows.
    task = MultiLabel()
    found = sensitivity(net, task, batches(whole(task), 4), COLUMNS, all_weights(net))
    assert (found["forgotten"]["head.weight"][[0, 2]] == 0).all()
    assert (found["forgotten"]["head.weight"][1] > 0).all()
    assert (found["retained"]["head.weight"][1] == 0).all()


@pytest.mark.parametrize("size", [1, 3, IMAGES])
def test_output_slopes_are_the_sizes_of_the_slopes_of_mean_squared_lengths(net, size):
    batch = whole(MultiLabel())
    found = output_slopes(net, batches(batch, size), COLUMNS, every_weight(net))
    for name, columns in COLUMNS.items():
        sizes = []
        for part in batches(batch, size):
            lengths = [
                sum(net(part.images[[row]])[0, column] ** 2 for column in columns)
                for row in range(len(part))
            ]
            mean = torch.stack(lengths).sum() / len(part)
            sizes.append(flat(torch.autograd.grad(mean, list(net.parameters()))).abs())
        expected = torch.stack(sizes).mean(0)
        torch.testing.assert_close(flat(found[name].values()), expected, rtol=1e-9, atol=1e-14)


def test_of_larger_batches_output_slopes_cancel(net):
    """The negative control: the size of a batch matters, and no target does."""
    batch = whole(MultiLabel())
    one, all_of_them = (
        flat(
            output_slopes(net, batches(batch, size), COLUMNS, every_weight(net))[
                "retained"
            ].values()
        )
        for size in (1, IMAGES)
    )
    assert (one >= all_of_them * (1 - 1e-9)).all()
    assert one.sum() > 1.01 * all_of_them.sum()
    other = replace(batch, targets=1 - batch.targets, known=~batch.known)
    again = output_slopes(net, batches(other, 1), COLUMNS, every_weight(net))
    assert torch.equal(flat(again["retained"].values()), one)


def test_fisher_is_exact_where_each_batch_has_one_term(net):
    for task, names in ((SingleLabel(), COLUMNS), (MultiLabel(), ["forgotten"])):
        batch = whole(task)
        found = fisher_of(net, task, batch, 1)
        for name in names:
            exact = gradients(net, task, batch, COLUMNS[name]).square().mean(0)
            torch.testing.assert_close(found[name], exact, rtol=1e-10, atol=1e-18)


@pytest.mark.parametrize("size", [IMAGES, 4])
def test_fisher_is_unbiased(net, size):
    """Against every image's and label's gradient, and the exact variance of the estimate over the
    signs."""
    task, draws = MultiLabel(), 250
    batch = whole(task)
    found = [fisher_of(net, task, batch, size, seed) for seed in range(draws)]
    exact, error, error_of_sum = {}, {}, {}
    for name, columns in COLUMNS.items():
        terms = task.scope(batch.targets, batch.known, columns).sum().item()
        chunks = [gradients(net, task, part, columns) for part in batches(batch, size)]
        exact[name] = sum(chunk.square().sum(0) for chunk in chunks) / terms
        # Var (sum s g)^2 = 2 ((sum g^2)^2 - sum g^4) for independent signs s.
        variance = (
            sum(2 * (chunk.square().sum(0).square() - chunk.pow(4).sum(0)) for chunk in chunks)
            / terms**2
        )
        error[name] = (variance.clamp(min=0) / draws).sqrt()
        # And Var |sum s g|^2 = 2 sum of (g_a . g_b)^2 over pairs a != b.
        pairs = sum((chunk @ chunk.T).fill_diagonal_(0).square().sum() for chunk in chunks)
        error_of_sum[name] = (2 * pairs / draws).sqrt() / terms
    elements = sum(len(value) for value in exact.values())
    quantile = norm.isf(
        1e-3 / 2 / elements
    )  # one false alarm in a thousand over all elements (Bonferroni)
    for name in COLUMNS:
        mean = torch.stack([one[name] for one in found]).mean(0)
        assert ((mean - exact[name]).abs() <= quantile * error[name] + 1e-15).all()
        assert abs(mean.sum() - exact[name].sum()) <= norm.isf(1e-3 / 2) * error_of_sum[name]
    # Control: the scores of other labels are not within these bounds.
    swapped = torch.stack([one["retained"] for one in found]).mean(0) - exact["forgotten"]
    assert (swapped.abs() > quantile * (error["forgotten"] + error["retained"])).any()


def test_fisher_is_not_the_square_of_the_mean_gradient(net):
    task, batch = MultiLabel(), whole(MultiLabel())
    rows = gradients(net, task, batch, COLUMNS["retained"])
    mean = torch.stack(
        [fisher_of(net, task, batch, IMAGES, seed)["retained"] for seed in range(60)]
    ).mean(0)
    squared_mean = rows.sum(0).square() / len(rows)
    assert abs(mean.sum() / rows.square().mean(0).sum() - 1) < abs(
        mean.sum() / squared_mean.sum() - 1
    )


@by_task
@pytest.mark.parametrize("score", ["sensitivity", "fisher"])
def test_unknown_targets_do_not_count(net, task, score):
    def of(batch):
        if score == "fisher":
            return fisher_of(net, task, batch, 1)["forgotten"]
        return flat(
            sensitivity(net, task, batches(batch, 4), COLUMNS, body_weights(net))[
                "forgotten"
            ].values()
        )

    batch = whole(task)
    hidden = batch.known.clone()
    hidden[-4:] = False
    shown = Batch(batch.images[:-4], batch.targets[:-4], batch.known[:-4])
    torch.testing.assert_close(
        of(Batch(batch.images, batch.targets, hidden)), of(shown), rtol=1e-10, atol=1e-18
    )
    assert not torch.allclose(of(batch), of(shown))
    if task.name == "multilabel":
        lies = torch.where(hidden, batch.targets, 1 - batch.targets)
        assert torch.equal(
            of(Batch(batch.images, lies, hidden)), of(Batch(batch.images, batch.targets, hidden))
        )
    nothing = of(Batch(batch.images, batch.targets, torch.zeros_like(hidden)))
    assert torch.equal(nothing, torch.zeros_like(nothing))


@by_task
def test_scoring_changes_nothing(net, task):
    net.requires_grad_(False)
    net.head.bias.requires_grad_(True).grad = torch.ones(LABELS).double()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (not drawn from)
    weights, batch = all_weights(net), whole(task)
    kept = copy.deepcopy(batch)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            sensitivity(net, task, batches(batch, 4), COLUMNS, weights)
            fisher(net, task, batches(batch, 4), COLUMNS, weights, generator(0))
            assert torch.is_grad_enabled() is grad
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


def test_scores_do_not_depend_on_who_asks(net):
    task, batch = MultiLabel(), whole(MultiLabel())
    with torch.no_grad():
        quiet = fisher_of(net, task, batch, 3)
    frozen = fisher_of(net.requires_grad_(False), task, batch, 3)
    again, other = (
        fisher_of(net.requires_grad_(True), task, batch, 3),
        fisher_of(net, task, batch, 3, seed=1),
    )
    for name in COLUMNS:
        assert torch.equal(quiet[name], frozen[name])
        assert torch.equal(quiet[name], again[name])
        assert not torch.equal(quiet[name], other[name])


def test_a_fault_in_the_loss_leaves_gradients_as_they_were(net):
    class Broken(MultiLabel):
        def terms(self, logits, targets):
            raise ArithmeticError

    batch = whole(MultiLabel())
    with pytest.raises(ArithmeticError), torch.no_grad():
        fisher_of(net, Broken(), batch, 3)
    assert torch.is_grad_enabled()


def test_signs_are_fair():
    signs = random_signs(torch.empty(100, 100), generator(0))
    assert set(signs.unique().tolist()) == {-1, 1}
    assert abs(signs.sum().item()) < 5 * math.sqrt(signs.numel())


def test_every_weight_is_each_parameter_without_a_graph():
    net = planted_problem().net.requires_grad_(True)
    found = every_weight(net)
    assert set(found) == {name for name, _ in net.named_parameters()}
    for name, value in found.items():
        assert torch.equal(value, net.get_parameter(name))
        assert not value.requires_grad
