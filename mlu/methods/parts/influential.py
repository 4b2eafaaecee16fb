"""Influence of training points on what a network says of the forgotten labels."""

import numpy as np
import torch
from torch import Tensor

from mlu.data.split import Split
from mlu.methods.parts.scoring import speaking
from mlu.scores.influence import Perturbation, Solver, influence
from mlu.unlearning.contract import Problem


def influence_on_forgotten(
    problem: Problem,
    candidates: Split,
    solver: Solver,
    perturbation: Perturbation,
    damping: float,
    curvature_images: int,
) -> Tensor:
    """Sum over the forgotten labels of each point's absolute influence (Eq. 2), shape (points,).

    Args:
        problem: Its network is asked, with the original's outputs for the forgotten labels.
        candidates: Training points.
        solver: As in `mlu.scores.influence`, as the two that follow.
        perturbation: Of a point.
        damping: Of the curvature.
        curvature_images: Most images that the curvature of `cg` and `kfac` is computed on.
    """
    others = other_points(problem, candidates, curvature_images)
    net, total = speaking(problem), torch.zeros(len(candidates))

    for column in problem.request.forgotten:
        total += influence(
            solver,
            net,
            problem.task,
            candidates,
            column,
            perturbation,
            damping,
            others,
            problem.seed,
        ).abs()

    return total


def other_points(problem: Problem, candidates: Split, images: int) -> Split:
    """Training images for the curvature in Eq. 2: other ones than the candidates, if any."""
    free = torch.from_numpy(~np.isin(problem.train.rows, candidates.rows)).nonzero().squeeze(1)
    if not len(free):
        return candidates.subset(torch.arange(len(candidates))[:images])

    order = torch.randperm(len(free), generator=problem.generator())

    return problem.train.subset(free[order[:images]])
