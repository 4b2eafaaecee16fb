import copy

import pytest
import torch

from mlu.methods.head import Head
from tests.support.learnt import learnt_problem, unlearnt

by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
HEAD = Head(name="head")


@by_task
def test_it_edits_the_head_alone_and_tunes_nothing(task):
    problem = learnt_problem(task, norm=True)
    edit = HEAD.edit(problem)
    assert set(edit.weights) == {"head.weight", "head.bias"}
    assert (edit.radius, edit.rate, edit.eraser) == ({}, {}, None)
    assert HEAD.passes(problem) == ()


@by_task
def test_rows_of_what_is_retained_are_kept_to_the_last_bit(task):
    problem = learnt_problem(task)
    weights, retained = HEAD.edit(problem).weights, list(problem.request.retained)
    for name in ("weight", "bias"):
        before = problem.net.get_parameter(f"head.{name}")
        assert torch.equal(weights[f"head.{name}"][retained], before[retained])


def test_of_labels_the_forgotten_output_is_the_share_of_positives_on_every_image():
    problem = learnt_problem()
    net = unlearnt(HEAD, problem)
    batch = problem.validation[torch.arange(len(problem.validation))]
    said = problem.task.probs(net(batch.images))[:, 0]
    share = problem.train.targets[:, 0].double().mean()
    torch.testing.assert_close(said, share.expand_as(said), rtol=0, atol=1e-6)
    # The control: the original tells the images apart.
    assert problem.task.probs(problem.net(batch.images))[:, 0].std() > 0.1


def test_of_classes_the_forgotten_one_is_never_predicted():
    problem = learnt_problem("singlelabel")
    batch = problem.validation[torch.arange(len(problem.validation))]
    assert not unlearnt(HEAD, problem)(batch.images).argmax(1).eq(0).any()
    assert problem.net(batch.images).argmax(1).eq(0).any()


@by_task
def test_features_keep_all_they_knew(task):
    problem = learnt_problem(task, norm=True)
    before = copy.deepcopy(problem.net.state_dict())
    state = unlearnt(HEAD, problem).state_dict()
    for name, value in before.items():
        assert name.startswith("head.") or torch.equal(state[name], value), name
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
