import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlu.methods.parts.scoring import (
    both_sides,
    calibration,
    each_label,
    forgotten_side,
    forgotten_side_and_each_label,
    on_device,
    refuse_silence,
    speaking,
)
from mlu.methods.parts.silence import silent_head
from mlu.models.tasks import ForgetRequest
from mlu.system.errors import UserError
from tests.support.planted import entangled_problem, planted_problem


def test_calibration_is_balanced_in_the_forgotten_label():
    points = calibration(planted_problem(), 20)
    assert points.targets[:, 0].sum() == 10
    assert len(points) == 20
    assert np.array_equal(calibration(planted_problem(), 20).rows, points.rows)
    assert not np.array_equal(calibration(replace(planted_problem(), seed=1), 20).rows, points.rows)


def test_of_several_forgotten_labels_each_brings_its_share_of_known_targets():
    problem = planted_problem()
    problem = replace(problem, request=ForgetRequest((0, 2), (1,)))
    problem.train.targets[:, 0], problem.train.known[:, 0] = 0, False
    problem.train.targets[:5, 0], problem.train.known[:8, 0] = 1, True
    # Label 0: 5 with and 3 without. Label 2: 6 of either, those 8 not excluded.
    rows = calibration(problem, 24).rows
    first, rest = rows[rows < 8], problem.train.targets[torch.from_numpy(rows[rows >= 8]), 2]
    assert first.tolist() == list(range(8))
    within = problem.train.targets[:8, 2]
    assert 6 - within.sum() <= rest.sum() <= 6
    assert 6 - (1 - within).sum() <= (1 - rest).sum() <= 6
    assert len(np.unique(rows)) == len(rows)
    # No fewer than one of each, however few are asked for.
    assert 2 <= len(calibration(problem, 1)) <= 4


def test_a_network_is_scored_with_the_originals_forgotten_outputs_and_its_own_otherwise():
    problem = entangled_problem()
    later = copy.deepcopy(problem.net)
    for parameter in later.parameters():
        parameter.data += 0.1
    later.load_state_dict(silent_head(problem), strict=False)
    problem = replace(problem, net=later)
    before = copy.deepcopy(later.state_dict())
    found = speaking(problem)
    images = problem.train[torch.arange(8)].images
    features = later.features(images)
    torch.testing.assert_close(found(images)[:, :1], problem.original.head(features)[:, :1])
    torch.testing.assert_close(found(images)[:, 1:], later(images)[:, 1:])
    torch.testing.assert_close(later.state_dict(), before, rtol=0, atol=0)


def test_scores_that_are_all_zero_are_refused_and_others_are_given_back():
    nothing = {"one": torch.zeros(2, 2), "two": torch.zeros(3)}
    with pytest.raises(UserError, match="forgotten already"):
        refuse_silence(nothing)
    something = nothing | {"two": torch.tensor([0.0, 0.0, 1e-30])}
    assert refuse_silence(something) is something


def test_columns_are_compared_by_side_or_each_for_itself():
    problem = replace(planted_problem(), request=ForgetRequest((2, 0), (1,)))
    assert both_sides(problem) == {"forgotten": (2, 0), "retained": (1,)}
    assert each_label(problem) == {"0": (0,), "1": (1,), "2": (2,)}


def test_points_come_in_order_in_batches_of_their_size():
    problem = planted_problem(20)
    batches = list(on_device(problem, problem.train, 8))
    assert [len(batch.targets) for batch in batches] == [8, 8, 4]
    assert torch.equal(torch.cat([batch.targets for batch in batches]), problem.train.targets)
    assert {batch.images.device for batch in batches} == {problem.device}


def test_the_forgotten_side_is_scored_alone_or_beside_every_label():
    problem = replace(planted_problem(), request=ForgetRequest((2, 0), (1,)))
    assert forgotten_side(problem) == {"forgotten": (2, 0)}
    every = forgotten_side_and_each_label(problem)
    assert every == {"forgotten": (2, 0), "0": (0,), "1": (1,), "2": (2,)}
