from dataclasses import replace
from unittest import mock

import pytest
import torch
from sklearn.metrics import roc_auc_score

from mlu.methods.parts import judging
from mlu.methods.parts.judging import (
    forgetting_score,
    forgotten_aurocs,
    retained_accuracy,
    without_tuning,
)
from mlu.methods.parts.silence import silent_head
from mlu.models.tasks import ForgetRequest
from mlu.unlearning.contract import Edit
from tests.support.planted import entangled_problem


def test_aurocs_are_of_the_forgotten_labels_that_occur_both_ways_among_known_targets():
    problem = replace(entangled_problem(), request=ForgetRequest((2, 1, 0), ()))
    images = problem.validation
    images.known[::3, 0] = False
    images.known[:, 1] = images.targets[:, 1] > 0
    odds = problem.net(images[torch.arange(len(images))].images)
    expected = [
        roc_auc_score(
            images.targets[images.known[:, column], column], odds[images.known[:, column], column]
        )
        for column in (2, 0)
    ]
    assert forgotten_aurocs(problem.net, problem, images) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("factor", "score"), [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0)])
def test_who_knows_nothing_has_forgotten_and_who_inverts_has_not(factor, score):
    """An output of the true targets themselves, as they are, inverted or constant."""
    problem = replace(entangled_problem(), request=ForgetRequest((0,), (1, 2)))
    images = problem.validation
    said = factor * (2 * images.targets - 1)
    with mock.patch.object(judging, "respond", return_value=(said, None)):
        assert forgetting_score(problem.net, problem, images) == pytest.approx(score, abs=1e-6)


def test_retained_accuracy_is_the_share_of_known_retained_targets_that_are_told():
    problem = replace(entangled_problem(), request=ForgetRequest((0,), (1, 2)))
    images = problem.validation
    images.known[::3, 1] = False
    logits = problem.net(images[torch.arange(len(images))].images)
    answers = []
    for said, true, known in zip(logits, images.targets, images.known, strict=True):
        answers += [(said[k] > 0).item() == bool(true[k]) for k in (1, 2) if known[k]]
    found = retained_accuracy(problem.net, problem, images)
    assert found == pytest.approx(sum(answers) / len(answers))
    # Control: what is forgotten does not count.
    images.targets[:, 0] = 1 - images.targets[:, 0]
    assert retained_accuracy(problem.net, problem, images) == found


def test_an_edit_is_judged_by_its_body_under_the_originals_head():
    problem = entangled_problem()
    conv, head = problem.net.get_parameter("body.conv.weight"), problem.net.head
    edit = Edit({"body.conv.weight": 2 * conv.detach(), **silent_head(problem)})
    found = without_tuning(problem, edit, problem.train)
    assert torch.equal(found.get_parameter("body.conv.weight"), 2 * conv)
    assert torch.equal(found.head.weight, head.weight)
    assert torch.equal(found.head.bias, head.bias)
    assert torch.equal(problem.net.get_parameter("body.conv.weight"), conv)
