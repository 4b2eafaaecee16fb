import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from benchmarks import plain
from mlu.data.split import united_splits
from mlu.methods.finetune import FineTuning
from mlu.methods.neggrad import NegGrad
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit
from mlu.unlearning.unlearner import edited
from tests.support.learnt import brief_problem, learnt_problem, one_thread, unlearnt
from tests.support.readings import accuracy

TUNING = Tuning(epochs=10, lr=0.2, momentum=0.0, batch_size=32)
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
by_cap = pytest.mark.parametrize("capped", [True, False])


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def neggrad(kind=NegGrad, **changes) -> NegGrad:
    defaults = {
        "name": "neggrad",
        "alpha": 0.5,
        "capped": True,
        "batches": "mixed",
        "forget_batch_size": 16,
        "anchor": 0.0,
        "tuning": TUNING,
    }
    return kind(**defaults | changes)


class IgnoresForgetting(NegGrad):
    def loss(self, problem, cap, net, batch):
        return self.alpha * plain_retained(problem, net, batch)


class Descends(NegGrad):
    """With the sign of the forgotten loss turned."""

    def loss(self, problem, cap, net, batch):
        return super().loss(problem, cap, net, batch) + 2 * (1 - self.alpha) * plain_forgotten(
            problem, net, batch
        )


def plain_forgotten(problem, net, batch):
    return plain.label_loss(problem, net(batch.images), batch.targets, problem.request.forgotten)


def plain_retained(problem, net, batch):
    return plain.label_loss(problem, net(batch.images), batch.targets, problem.request.retained)


def inverted(problem) -> Network:
    """As wrong about what is forgotten as the problem's network is right."""
    head = problem.net.head
    weight, bias = head.weight.clone(), head.bias.clone()
    if problem.task.name == "multilabel":
        weight[0], bias[0] = -weight[0], -bias[0]
    else:
        bias[0] -= 30
    return edited(problem.net, Edit(weights={"head.weight": weight, "head.bias": bias}))


def slopes(loss, net):
    net = copy.deepcopy(net).requires_grad_(True)
    parameters = dict(net.named_parameters())
    found = torch.autograd.grad(loss(net), list(parameters.values()), materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


@by_task
@by_cap
@pytest.mark.parametrize("beyond", [False, True])
def test_ascent_ends_where_the_output_is_as_wrong_as_its_base_rate(beyond, capped, task):
    problem, method = learnt_problem(task), neggrad(alpha=0.7, capped=capped)
    net, batch = inverted(problem) if beyond else problem.net, problem.train[torch.arange(64)]
    forgotten, retained = (
        partial(part, problem, batch=batch) for part in (plain_forgotten, plain_retained)
    )
    assert (forgotten(net=net) > plain.loss_of_the_base_rate(problem)) == beyond
    ascent = 0.0 if capped and beyond else 0.3
    ours = slopes(lambda net: method.passes(problem)[0].loss(net, batch), net)
    up, down = (slopes(lambda net, part=part: part(net=net), net) for part in (forgotten, retained))
    for name, value in ours.items():
        torch.testing.assert_close(
            value, 0.7 * down[name] - ascent * up[name], rtol=1e-6, atol=1e-9
        )
        assert up[name].any()


@by_task
@pytest.mark.parametrize("norm", [False, True])
def test_paired_batches_descend_on_one_and_ascend_on_the_other(norm, task):
    """Each with statistics of its own, where the network has batch norms."""
    problem = learnt_problem(task, norm)
    (one, *_) = neggrad(alpha=0.7, capped=False, batches="paired").passes(problem)
    assert (one.images, one.beside) == (problem.retain, problem.forget)
    assert one.beside_size == 16
    batch, beside = one.images[torch.arange(30)], one.beside[torch.arange(20)]
    net = copy.deepcopy(problem.net).train()
    ours = slopes(lambda net: one.loss(net, batch, beside), net)
    down = slopes(lambda net: plain_retained(problem, net, batch), net)
    up = slopes(lambda net: plain_forgotten(problem, net, beside), net)
    for name, value in ours.items():
        torch.testing.assert_close(value, 0.7 * down[name] - 0.3 * up[name], rtol=1e-6, atol=1e-9)

    mixed = slopes(lambda net: neggrad(alpha=0.7, capped=False).loss(problem, 9, net, batch), net)
    assert not torch.allclose(ours["head.bias"], mixed["head.bias"])


@pytest.mark.parametrize("images", [0, 1, 2])
def test_where_a_batch_to_forget_would_have_no_statistics_there_are_no_pairs(images):
    problem = learnt_problem("singlelabel")
    rows = (problem.train.targets[:, 0] > 0).nonzero().squeeze(1)[:images]
    few = replace(problem, train=united_splits(problem.retain, problem.train.subset(rows)))
    (one, *_) = neggrad(batches="paired").passes(few)
    assert (one.beside is not None) == (images == 2)
    assert len(one.images) == len(problem.retain) + (images == 1)


def test_the_anchor_pulls_every_weight_back_to_where_it_started():
    """Its slope is the distance, times the weights of the anchor and of the retained loss."""
    problem = learnt_problem(norm=True)
    net, batch = copy.deepcopy(problem.net), problem.train[torch.arange(64)]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)

    free, held = (neggrad(alpha=0.7, anchor=anchor) for anchor in (0.0, 0.3))
    without, with_it = (
        slopes(lambda net, method=method: method.passes(problem)[0].loss(net, batch), net)
        for method in (free, held)
    )
    moved = dict(net.named_parameters())
    for name, start in problem.net.named_parameters():
        pull = 0.7 * 0.3 * (moved[name] - start)
        torch.testing.assert_close(with_it[name] - without[name], pull, rtol=1e-6, atol=1e-9)


@by_task
def test_the_cap_is_the_loss_of_the_base_rate(task):
    problem = learnt_problem(task)
    caps = [neggrad(capped=capped).passes(problem)[0].loss.args[1] for capped in (True, False)]
    assert caps == [pytest.approx(plain.loss_of_the_base_rate(problem), rel=1e-6), math.inf]


def test_of_a_multilabel_task_it_is_plain_fine_tuning_at_an_alpha_of_one_bit_for_bit():
    problem, tuning = (
        brief_problem("multilabel"),
        replace(TUNING, epochs=2, momentum=0.9, weight_decay=0.01),
    )
    ours = unlearnt(neggrad(alpha=1.0, tuning=tuning), problem)
    tuned = unlearnt(FineTuning(name="finetune", tuning=tuning), problem)
    torch.testing.assert_close(ours.state_dict(), tuned.state_dict(), rtol=0, atol=0)


@by_task
@by_cap
def test_it_is_the_plain_loop_of_its_authors(capped, task):
    problem = brief_problem(task)
    method = neggrad(
        capped=capped, tuning=replace(TUNING, epochs=3, lr=0.05, momentum=0.5, weight_decay=0.01)
    )
    ours, theirs = unlearnt(method, problem), plain.neggrad(method, problem)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-12)


def climbed(method, problem, steps, rate):
    """Forgotten losses before each step of plain descent of the head on one batch, and the length
    of their slopes."""
    net, batch = copy.deepcopy(problem.net), problem.train[torch.arange(64)]
    (one, *_), losses, lengths = method.passes(problem), [], []
    for _ in range(steps):
        head = list(net.head.requires_grad_(True).parameters())
        forgotten = plain_forgotten(problem, net, batch)
        losses.append(forgotten.item())
        slope = torch.cat([value.flatten() for value in torch.autograd.grad(forgotten, head)])
        lengths.append(slope.norm().item())
        found = torch.autograd.grad(one.loss(net, batch), head)
        net.head.requires_grad_(False)
        for parameter, value in zip(head, found, strict=True):
            parameter -= rate * value
    return torch.tensor(losses), torch.tensor(lengths)


def test_on_one_batch_a_capped_label_goes_at_most_one_step_beyond_the_base_rates_loss():
    """A step of length s |slope| lifts a loss of curvature M by s |slope|^2 + M s^2 |slope|^2 / 2
    at most."""
    problem, rate = learnt_problem(), 0.5
    losses, lengths = climbed(neggrad(), problem, 200, rate)
    cap, step = plain.loss_of_the_base_rate(problem), 0.5 * rate
    crossing = int((losses < cap).sum())
    assert (losses[:crossing] < cap).all()
    features = F.pad(problem.net.features(problem.train[torch.arange(64)].images), (0, 1), value=1)
    curvature = torch.linalg.eigvalsh(features.T @ features / len(features)).max().item() / 4
    length = lengths[crossing - 1].item()
    assert cap <= losses[crossing] <= cap + step * length**2 + curvature * (step * length) ** 2 / 2
    assert (losses[crossing:] == losses[crossing]).all()


def test_without_the_cap_ascent_never_ends():
    losses, _ = climbed(neggrad(capped=False), learnt_problem(), 200, 0.5)
    assert (losses.diff() > 0).all()
    assert losses[-1] > plain.loss_of_the_base_rate(learnt_problem())


def assert_forgets(net, problem):
    """What is forgotten is no better known than by its base rate, beyond chance; the rest is known
    as before."""
    logits, targets = respond(net, problem.validation)[0], problem.validation.targets
    losses = problem.task.terms(logits, targets)
    losses = losses[:, 0] if problem.task.name == "multilabel" else losses[targets[:, 0] > 0]
    error = losses.std() / len(losses) ** 0.5
    assert losses.mean() > plain.loss_of_the_base_rate(problem) - 1.96 * error, "it is remembered"
    assert accuracy(net, problem)[1] >= accuracy(problem.net, problem)[0], "the rest suffers"


BY_TASK = {"multilabel": TUNING, "singlelabel": replace(TUNING, lr=0.05, epochs=5)}


@by_task
def test_what_is_forgotten_is_no_better_known_than_by_its_base_rate(task):
    problem = learnt_problem(task)
    assert_forgets(unlearnt(neggrad(tuning=BY_TASK[task]), problem), problem)


@by_task
@pytest.mark.parametrize(
    "kind", [None, IgnoresForgetting, Descends], ids=["original", "ignored", "sign turned"]
)
def test_a_network_that_has_not_forgotten_is_caught(kind, task):
    problem = learnt_problem(task)
    net = unlearnt(neggrad(kind, tuning=BY_TASK[task]), problem) if kind else problem.net
    with pytest.raises(AssertionError, match="it is remembered"):
        assert_forgets(net, problem)


def test_without_the_cap_retained_labels_are_lost_with_the_forgotten_one():
    problem = learnt_problem()
    with pytest.raises(AssertionError, match="the rest suffers"):
        assert_forgets(unlearnt(neggrad(capped=False), problem), problem)
