from dataclasses import replace

import numpy as np
import torch

from mlu.methods.parts.influential import influence_on_forgotten, other_points
from mlu.models.tasks import ForgetRequest
from mlu.scores.influence import influence
from tests.support.planted import entangled_problem

EXACT = ("head_exact", "label_flip", 1e-3, 16)


def test_influences_on_several_labels_add_up():
    problem = entangled_problem()
    both = replace(problem, request=ForgetRequest((0, 1), (2,)))
    wanted = torch.zeros(len(problem.train))
    for column in (0, 1):
        wanted += influence(
            "head_exact", problem.net, problem.task, problem.train, column, "label_flip", 1e-3,
            problem.train, 0,
        ).abs()  # fmt: skip
    found = influence_on_forgotten(both, problem.train, *EXACT)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, influence_on_forgotten(problem, problem.train, *EXACT))


def test_the_curvature_is_of_other_points_where_there_are_any():
    problem = entangled_problem()
    candidates = problem.train.subset(torch.arange(10, 40))
    others = other_points(problem, candidates, 8)
    assert len(others) == 8
    assert not set(others.rows) & set(candidates.rows)
    everything = other_points(problem, problem.train, 8)
    np.testing.assert_array_equal(everything.rows, problem.train.rows[:8])
