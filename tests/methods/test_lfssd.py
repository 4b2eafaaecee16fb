import copy
from dataclasses import dataclass, replace

import pytest
import torch

from benchmarks import plain
from mlu.methods.lfssd import LossFreeDampening
from mlu.models.tasks import ForgetRequest
from mlu.scores.gradients import every_weight
from mlu.system.errors import UserError
from mlu.unlearning.unlearner import edited
from tests.support.learnt import brief_problem, learnt_problem
from tests.support.planted import FORGOTTEN, RETAINED, planted_problem
from tests.support.readings import accuracy, recall

CONV, CONV_BIAS, HEAD, HEAD_BIAS = "body.conv.weight", "body.conv.bias", "head.weight", "head.bias"
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
by_side = pytest.mark.parametrize("against", ["retained", "all"])


def lfssd(kind=LossFreeDampening, **changes) -> LossFreeDampening:
    defaults = {
        "name": "lfssd",
        "against": "retained",
        "alpha": 10.0,
        "dampening": 1.0,
        "score_batch": 1,
        "images": None,
    }
    return kind(**defaults | changes)


@dataclass(frozen=True, kw_only=True)
class WrongLabel(LossFreeDampening):
    """Spares what moves the forgotten outputs and dampens the rest."""

    def importances(self, problem):
        scores = super().importances(problem)
        return {"forgotten": scores["retained"], "retained": scores["forgotten"]}


@dataclass(frozen=True, kw_only=True)
class OfAllOutputs(LossFreeDampening):
    """Asks about all outputs where every image is one to forget, as for a class."""

    def importances(self, problem):
        everything = replace(problem, request=ForgetRequest((0, 1, 2), (1, 2)))
        return super().importances(everything)


def flat(weights):
    return torch.cat([value.flatten() for value in weights.values()])


def by_hand(problem, method):
    """Importances image by image and output by output, from the formula."""
    labels = range(problem.train.targets.shape[1])
    several = problem.task.name == "multilabel"
    forgotten, retained = problem.request.forgotten, problem.request.retained
    found = {}
    for side, columns in (("forgotten", forgotten), ("retained", retained)):
        whole = side == "retained" and method.against == "all"
        sizes = []
        for row in range(len(problem.train)):
            batch, net = problem.train[[row]], copy.deepcopy(problem.net).requires_grad_()
            if not several and not whole and batch.targets[0].argmax() not in columns:
                continue
            asked = columns if several and not whole else labels
            length = sum(net(batch.images)[0, column] ** 2 for column in asked)
            slopes = torch.autograd.grad(length, list(net.parameters()))
            sizes.append(torch.cat([slope.flatten().abs() for slope in slopes]))
        found[side] = torch.stack(sizes).mean(0)
    return found


def few(task):
    problem = learnt_problem(task, norm=True)
    return replace(problem, train=problem.train.subset(torch.arange(24)))


@by_task
@by_side
def test_an_importance_is_how_far_the_squared_length_of_the_outputs_moves(against, task):
    problem, method = few(task), lfssd(against=against)
    found, expected = method.importances(problem), by_hand(problem, method)
    for side, values in expected.items():
        torch.testing.assert_close(flat(found[side]), values, rtol=1e-9, atol=1e-12)
        # The negative control: the slopes' squares, as in SSD, are something else.
        assert not torch.allclose(flat(found[side]), values.square(), rtol=1e-3)


@by_task
@by_side
@pytest.mark.parametrize(("size", "images"), [(1, None), (16, 48)])
def test_weights_are_those_of_the_plain_loop(size, images, against, task):
    problem = brief_problem(task)
    method = lfssd(against=against, alpha=1.0, score_batch=size, images=images)
    weights = flat(method.edit(problem).weights)
    assert not torch.equal(weights, flat(every_weight(problem.net)))
    expected = flat(every_weight(plain.lfssd(method, problem)))
    torch.testing.assert_close(weights, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [WrongLabel, OfAllOutputs])
def test_other_importances_give_other_weights(kind):
    problem, expected = brief_problem(), lfssd(alpha=1.0)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(
            flat(lfssd(kind, alpha=1.0).edit(problem).weights), flat(expected.edit(problem).weights)
        )


def assert_lost_the_forgotten_half(method):
    """Nothing is left of what the forgotten output needs alone; all else is as it was."""
    problem = planted_problem()
    weights, before = method.edit(problem).weights, every_weight(problem.net)
    for name in (CONV, CONV_BIAS):
        assert not weights[name][FORGOTTEN].any(), name
        assert torch.equal(weights[name][RETAINED], before[name][RETAINED]), name
    for name in (HEAD, HEAD_BIAS):
        assert not weights[name][0].any(), name
        assert torch.equal(weights[name][1:], before[name][1:]), name


def test_a_planted_network_loses_exactly_the_forgotten_half():
    assert_lost_the_forgotten_half(lfssd())


def test_importances_to_other_outputs_would_take_the_other_half():
    with pytest.raises(AssertionError, match=r"body\.conv"):
        assert_lost_the_forgotten_half(lfssd(WrongLabel))


def test_of_several_labels_no_target_is_read():
    problem = brief_problem()
    train = problem.train
    other = replace(train, targets=1 - train.targets, known=~train.known)
    ours, theirs = (
        lfssd(alpha=1.0).edit(replace(problem, train=split)).weights for split in (train, other)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@by_task
def test_a_small_network_forgets_what_it_should(task):
    problem = learnt_problem(task, norm=True)
    # Classes compete for the same eight features.
    method = lfssd(alpha=1.0 if task == "singlelabel" else 10.0, score_batch=16)
    net = edited(problem.net, method.edit(problem))
    assert recall(net, problem)[1] < recall(problem.net, problem)[0]
    if task == "multilabel":
        assert accuracy(net, problem)[1] >= accuracy(problem.net, problem)[0]


def test_a_class_without_images_is_refused():
    problem = learnt_problem("singlelabel", norm=True)
    with pytest.raises(UserError, match="forgotten already"):
        lfssd().edit(replace(problem, train=problem.retain))


@by_task
def test_scores_leave_the_original_alone_and_are_repeatable(task):
    problem, method = brief_problem(task), lfssd(score_batch=32, images=64)
    before = copy.deepcopy(problem.net.state_dict())
    first, again = (method.edit(problem).weights for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
    assert len(method.passes(problem)) == 0
