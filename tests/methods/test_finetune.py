import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from benchmarks import plain
from mlu.methods.finetune import FineTuning
from mlu.methods.parts.passes import repeated
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Pass
from tests.support.learnt import learnt_problem, unlearnt
from tests.support.readings import recall

TUNING = Tuning(epochs=3, lr=0.05, momentum=0.9, weight_decay=0.01, batch_size=32)
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])


def fine_tuning(kind=FineTuning, tuning=TUNING):
    return kind(name="finetune", tuning=tuning)


@by_task
def test_it_is_plain_gradient_descent_on_what_is_retained(task):
    problem = learnt_problem(task, norm=True)
    ours, theirs = unlearnt(fine_tuning(), problem), plain.finetune(fine_tuning(), problem)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_nothing_is_edited():
    assert fine_tuning().edit(learnt_problem()) == Edit()


@by_task
def test_the_original_is_left_alone(task):
    problem = learnt_problem(task, norm=True)
    before = copy.deepcopy(problem.net.state_dict())
    unlearnt(fine_tuning(), problem)
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)


def without_knowledge(problem):
    """The same problem with the forgotten targets in another order, or with noise for the forgotten
    class's images."""
    train, draw = problem.train, torch.Generator().manual_seed(0)
    if problem.task.name == "multilabel":
        targets = train.targets.clone()
        targets[:, 0] = targets[torch.randperm(len(targets), generator=draw), 0]
        assert (targets != train.targets).any()
        return replace(problem, train=replace(train, targets=targets))
    noise = torch.randint(0, 256, train.images.shape, generator=draw, dtype=torch.uint8)
    images = np.where(
        train.targets[:, 0].numpy()[:, None, None, None] > 0, noise.numpy(), train.images
    )
    return replace(problem, train=replace(train, images=images))


def assert_blind(method, problem):
    """The same weights, bit for bit, whatever there was to know of what must be forgotten."""
    sighted, blind = (
        unlearnt(method, one).state_dict() for one in (problem, without_knowledge(problem))
    )
    torch.testing.assert_close(sighted, blind, rtol=0, atol=0)


@dataclass(frozen=True, kw_only=True)
class Peeking(FineTuning):
    """Fine-tuning on everything."""

    def passes(self, problem):
        def loss(net, batch):
            scope = problem.task.scope(batch.targets, batch.known, range(batch.targets.shape[1]))
            return problem.task.loss(net(batch.images), batch.targets, scope)

        return repeated(self.tuning, Pass(images=problem.train, loss=loss))


@by_task
def test_it_never_reads_what_must_be_forgotten(task):
    assert_blind(fine_tuning(), learnt_problem(task))


@by_task
def test_training_that_reads_it_would_be_noticed(task):
    with pytest.raises(AssertionError, match="not equal"):
        assert_blind(fine_tuning(Peeking), learnt_problem(task))


def test_a_class_fades_and_does_not_where_it_is_trained_on():
    """The negative controls: the original, and the same training on everything."""
    problem = learnt_problem("singlelabel")
    known = recall(problem.net, problem)
    assert recall(unlearnt(fine_tuning(), problem), problem)[1] < known[0]
    assert not recall(unlearnt(fine_tuning(Peeking), problem), problem)[1] < known[0]


def test_without_weight_decay_nothing_pushes_a_label():
    """Its row of the head stays as it is, and what it reads, the features, barely changes."""
    problem = learnt_problem()
    net = unlearnt(fine_tuning(tuning=replace(TUNING, weight_decay=0)), problem)
    assert torch.equal(net.head.weight[0], problem.net.head.weight[0])
    assert torch.equal(net.head.bias[0], problem.net.head.bias[0])
    assert (net.head.weight[1:] != problem.net.head.weight[1:]).any()
    assert not recall(net, problem)[1] < recall(problem.net, problem)[0]
