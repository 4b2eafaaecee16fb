import copy
import math
from dataclasses import dataclass, replace

import pytest
import torch

from benchmarks import plain
from mlu.data.split import Batch, united_splits
from mlu.methods import orthograd as module
from mlu.methods.orthograd import OrthoGrad
from mlu.models.outputs import respond
from mlu.models.tasks import ForgetRequest
from mlu.system.errors import UserError
from mlu.training.optimise import Tuning
from tests.support.learnt import brief_problem, learnt_problem, one_thread, unlearnt
from tests.support.readings import accuracy

TUNING = Tuning(epochs=2, lr=0.05, momentum=0.0, batch_size=32, statistics="kept")
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
by_scope = pytest.mark.parametrize("scope", ["layer", "global"])


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def orthograd(kind=OrthoGrad, **changes) -> OrthoGrad:
    defaults = {
        "name": "orthograd",
        "alpha": 0.5,
        "capped": True,
        "scope": "global",
        "retain_batch_size": 4,
        "tuning": TUNING,
    }
    return kind(**defaults | changes)


def batches(problem):
    return problem.forget[torch.arange(24)], problem.retain[torch.arange(5)]


def step_of(method, problem):
    """The slope of the method's loss, by layer, and the network it was taken of."""
    net = copy.deepcopy(problem.net).requires_grad_(True)
    (one, *_) = method.passes(problem)
    loss = one.loss(net, *batches(problem))
    slopes = torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)
    return loss, list(slopes), net


def each_slope(problem):
    """Gradient of every retained image's loss, one image at a time, by layer."""
    net, found = copy.deepcopy(problem.net).requires_grad_(True), []
    _, beside = batches(problem)
    for one in plain.singly(beside):
        loss = plain.label_loss(problem, net(one.images), one.targets, problem.request.retained)
        found.append(torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True))
    return [torch.stack(layers) for layers in zip(*found, strict=True)]


def forgotten_slope(problem):
    net = copy.deepcopy(problem.net).requires_grad_(True)
    batch, _ = batches(problem)
    loss = plain.label_loss(problem, net(batch.images), batch.targets, problem.request.forgotten)
    return torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)


def flat(layers):
    return torch.cat([layer.flatten() for layer in layers])


def rows(layers):
    return torch.cat([layer.flatten(1) for layer in layers], 1)


def assert_spares(step, protected, scope="global"):
    """A step has no part along the gradient of any retained image."""
    pairs = [(flat(step), rows(protected))]
    if scope == "layer":
        layers = zip(step, protected, strict=True)
        pairs = [(part.flatten(), own.flatten(1)) for part, own in layers]
    for part, own in pairs:
        lengths = own.norm(dim=1)
        cosines = own[lengths > 0] @ part / lengths[lengths > 0]
        touched = cosines.abs().max() / flat(step).norm() if len(cosines) else 0
        assert touched < 1e-9, f"{touched:.2g} of the step is along a retained image's gradient"


@by_task
@by_scope
def test_an_ascent_alone_spares_every_retained_image_and_still_ascends(scope, task):
    problem = learnt_problem(task, norm=True)
    _, step, _ = step_of(orthograd(alpha=0.0, scope=scope), problem)
    assert_spares(step, each_slope(problem), scope)
    up = flat(forgotten_slope(problem))
    assert -(flat(step) @ up) > 0


@by_task
@pytest.mark.parametrize("fault", ["mean", "none", "all but one"])
def test_a_step_that_spares_less_is_caught(fault, task, monkeypatch):
    problem, real = learnt_problem(task, norm=True), module.orthogonal

    def faulty(vector, protected, scope):
        if fault == "mean":
            return real(vector, [own.mean(0, keepdim=True) for own in protected], scope)
        if fault == "none":
            return list(vector)
        return real(vector, [own[1:] for own in protected], scope)

    monkeypatch.setattr(module, "orthogonal", faulty)
    _, step, _ = step_of(orthograd(alpha=0.0), problem)
    with pytest.raises(AssertionError, match="of the step is along"):
        assert_spares(step, each_slope(problem))


@by_task
@by_scope
def test_a_step_goes_down_the_retained_mean_and_up_what_is_left_of_the_forgotten_loss(scope, task):
    """By a dense decomposition of all gradients."""
    problem = learnt_problem(task, norm=True)
    loss, step, net = step_of(orthograd(alpha=0.3, scope=scope), problem)
    each, up = rows(each_slope(problem)), flat(forgotten_slope(problem))
    rest = plain.off_the_span(scope, list(net.parameters()), up, each)
    expected = 0.3 * each.mean(0) - 0.7 * rest
    torch.testing.assert_close(flat(step), expected, rtol=1e-8, atol=1e-10)

    batch, beside = batches(problem)
    down = plain.label_loss(problem, net(beside.images), beside.targets, problem.request.retained)
    ascended = plain.label_loss(
        problem, net(batch.images), batch.targets, problem.request.forgotten
    )
    value = 0.3 * down.double() - 0.7 * ascended.double()
    torch.testing.assert_close(loss, value, rtol=1e-6, atol=1e-7)


def moved(problem, step, size):
    """Loss of each retained image after a step of some size."""
    net = copy.deepcopy(problem.net)
    with torch.no_grad():
        for weight, part in zip(net.parameters(), step, strict=True):
            weight -= size * part
    _, beside = batches(problem)
    return torch.stack(
        [
            plain.label_loss(
                problem, net(one.images), one.targets.double(), problem.request.retained
            )
            for one in plain.singly(beside)
        ]
    )


@by_task
def test_to_first_order_no_retained_image_minds_while_the_forgotten_loss_rises(task):
    """A step of a tenth the size moves retained losses by a hundredth: there is no linear part."""
    problem = learnt_problem(task)
    _, step, _ = step_of(orthograd(alpha=0.0), problem)
    step = [part / flat(step).norm() for part in step]
    start = moved(problem, step, 0.0)
    large, small = ((moved(problem, step, size) - start).abs().max() for size in (1e-2, 1e-3))
    assert small < 0.03 * large
    plain_step = [
        -part / flat(forgotten_slope(problem)).norm() for part in forgotten_slope(problem)
    ]
    large, small = ((moved(problem, plain_step, size) - start).abs().max() for size in (1e-2, 1e-3))
    assert small > 0.05 * large


@by_task
@by_scope
def test_it_is_the_plain_loop(scope, task):
    problem = brief_problem(task)
    method = orthograd(scope=scope, tuning=replace(TUNING, momentum=0.5, weight_decay=0.01))
    ours, theirs = unlearnt(method, problem), plain.orthograd(method, problem)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-7, atol=1e-9)
    before = problem.net.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in ours.state_dict().items())


@by_task
def test_the_cap_is_the_loss_of_the_base_rate_and_beyond_it_nothing_pushes(task):
    problem = learnt_problem(task)
    caps = [orthograd(capped=capped).passes(problem)[0].loss.args[1] for capped in (True, False)]
    assert caps == [pytest.approx(plain.loss_of_the_base_rate(problem), rel=1e-6), math.inf]
    net = copy.deepcopy(problem.net).requires_grad_(True)
    spent = orthograd(alpha=0.0).loss(problem, 0.0, net, *batches(problem))
    slopes = torch.autograd.grad(spent, list(net.parameters()))
    assert not flat(slopes).any()


def test_an_image_without_a_known_retained_target_protects_nothing_and_breaks_nothing():
    problem = learnt_problem()
    batch, beside = batches(problem)
    known = beside.known.clone()
    known[0] = False
    masked = Batch(beside.images, beside.targets, known)
    fewer = problem.retain[torch.arange(1, 5)]
    steps = []
    for others in (masked, fewer):
        net = copy.deepcopy(problem.net).requires_grad_(True)
        loss = orthograd(alpha=0.0).loss(problem, math.inf, net, batch, others)
        steps.append(flat(torch.autograd.grad(loss, list(net.parameters()))))
    torch.testing.assert_close(steps[0], steps[1])


def test_retained_images_are_seen_as_they_are_and_the_forgotten_target_of_none_of_them():
    problem = learnt_problem()
    (one, *others) = orthograd().passes(problem)
    assert (one.images, one.beside, one.beside_size) == (problem.forget, problem.retain, 4)
    assert len(others) == 1
    assert not one.beside.known[:, 0].any()


def test_without_images_to_forget_there_is_nothing_to_do_and_without_others_it_is_refused():
    problem = learnt_problem("singlelabel")
    assert orthograd().passes(replace(problem, train=problem.retain)) == []
    with pytest.raises(UserError, match=r"^orthograd protects what it sees of the rest"):
        orthograd().passes(replace(problem, train=problem.forget))
    few = united_splits(problem.forget, problem.retain.subset(torch.arange(2)))
    assert len(orthograd().passes(replace(problem, train=few))) == 2


@pytest.mark.parametrize("statistics", ["free", "batch"])
def test_statistics_that_mix_images_are_refused_where_there_are_any(statistics):
    method = orthograd(tuning=replace(TUNING, statistics=statistics))
    with pytest.raises(UserError, match=f"statistics={statistics} mixes with others: use kept"):
        method.passes(learnt_problem(norm=True))
    assert len(method.passes(learnt_problem())) == 2


def assert_forgets(net, problem):
    """What is forgotten is no better known than by its base rate, beyond chance; the rest is known
    as before."""
    logits, targets = respond(net, problem.validation)[0], problem.validation.targets
    losses = problem.task.terms(logits, targets)
    losses = losses[:, 0] if problem.task.name == "multilabel" else losses[targets[:, 0] > 0]
    error = losses.std() / len(losses) ** 0.5
    assert losses.mean() > plain.loss_of_the_base_rate(problem) - 1.96 * error, "it is remembered"
    assert accuracy(net, problem)[1] >= accuracy(problem.net, problem)[0], "the rest suffers"


LONGER = {
    "multilabel": replace(TUNING, epochs=10, lr=0.2),
    "singlelabel": replace(TUNING, epochs=20, lr=0.05),
}


@dataclass(frozen=True, kw_only=True)
class Descends(OrthoGrad):
    """With the sign of the ascent turned."""

    def loss(self, problem, cap, net, batch, beside):
        given = (problem, cap, net, batch, beside)
        down = OrthoGrad.loss(replace(self, alpha=1.0), *given)
        return 2 * self.alpha * down - super().loss(*given)


@by_task
def test_a_small_network_forgets_and_keeps_the_rest(task):
    problem = learnt_problem(task)
    assert_forgets(unlearnt(orthograd(tuning=LONGER[task]), problem), problem)


@by_task
@pytest.mark.parametrize("kind", [None, Descends], ids=["original", "sign turned"])
def test_a_network_that_has_not_forgotten_is_caught(kind, task):
    problem = learnt_problem(task)
    net = unlearnt(orthograd(kind, tuning=LONGER[task]), problem) if kind else problem.net
    with pytest.raises(AssertionError, match="it is remembered"):
        assert_forgets(net, problem)


def test_several_labels_are_forgotten_together():
    problem = replace(learnt_problem(), request=ForgetRequest((0, 2), (1,)))
    _, step, _ = step_of(orthograd(alpha=0.0), problem)
    assert_spares(step, each_slope(problem))


@by_task
def test_the_original_is_untouched(task):
    problem = learnt_problem(task, norm=True)
    before = copy.deepcopy(problem.net.state_dict())
    unlearnt(orthograd(tuning=replace(TUNING, steps=2)), problem)
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
