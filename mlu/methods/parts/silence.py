"""The forgotten output made constant, and held there."""

import copy

import torch
from torch import Tensor

from mlu.unlearning.contract import Problem


def silent_head(problem: Problem) -> dict[str, Tensor]:
    """The head's weights with the forgotten outputs constant at their base rate in training."""
    head = copy.deepcopy(problem.net.head)
    problem.task.silence(head, problem.request.forgotten, problem.train.base_rates())
    return {"head.weight": head.weight.detach(), "head.bias": head.bias.detach()}


def frozen_rows(problem: Problem) -> dict[str, Tensor]:
    """Radius 0 at the forgotten rows of the head, inf elsewhere."""
    head = problem.net.head
    rows = torch.full((head.out_features,), torch.inf, device=problem.device)
    rows[list(problem.request.forgotten)] = 0
    return {"head.weight": rows.unsqueeze(1), "head.bias": rows}
