import copy
from dataclasses import replace

import torch

from mlu.methods.parts.silence import frozen_rows, silent_head
from mlu.models.tasks import ForgetRequest
from tests.support.planted import entangled_problem, planted_problem


def test_a_silent_head_says_the_base_rate_of_known_targets_and_leaves_all_else():
    problem = replace(entangled_problem(), request=ForgetRequest((0, 2), (1,)))
    problem.train.known[::3, 0] = False
    before, images = copy.deepcopy(problem.net.state_dict()), problem.train[torch.arange(16)].images
    silent = copy.deepcopy(problem.net)
    weights = silent_head(problem)
    assert not silent.load_state_dict(weights, strict=False).unexpected_keys
    said, once = silent(images), problem.net(images)
    for column in (0, 2):
        rate = problem.train.targets[problem.train.known[:, column], column].mean()
        assert 0 < rate < 1
        torch.testing.assert_close(said[:, column].sigmoid(), rate.expand(16))
    assert torch.equal(said[:, 1], once[:, 1])
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)


def test_the_base_rate_is_that_of_training_alone():
    """Other images, and what the original says, have no part in it."""
    problem = entangled_problem()
    column = 1
    problem = replace(problem, request=ForgetRequest((column,), (0, 2)))
    problem.train.targets[:, column] = (torch.arange(len(problem.train)) % 4 == 0).float()
    for rate in (0.0, 0.5, 1.0):
        elsewhere = copy.deepcopy(problem.validation)
        elsewhere.targets[:, column] = (torch.rand(len(elsewhere)) < rate).float()
        weights = silent_head(replace(problem, validation=elsewhere))
        assert not weights["head.weight"][column].any()
        said = weights["head.bias"][column].sigmoid()
        torch.testing.assert_close(said, problem.train.targets[:, column].mean(), atol=1e-6, rtol=0)


def test_frozen_rows_are_the_forgotten_ones_of_the_head():
    problem = replace(planted_problem(), request=ForgetRequest((0, 2), (1,)))
    radius, head = frozen_rows(problem), problem.net.head
    assert radius["head.weight"].expand_as(head.weight).tolist() == [
        [0.0] * 4,
        [torch.inf] * 4,
        [0.0] * 4,
    ]
    assert radius["head.bias"].expand_as(head.bias).tolist() == [0.0, torch.inf, 0.0]
    assert len(radius) == 2
