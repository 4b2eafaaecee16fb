"""Weights made smaller where they matter more to what must be forgotten than to the rest."""

import torch
from torch import Tensor

from mlu.data.split import Split
from mlu.models.network import Weights
from mlu.unlearning.contract import Problem


def less_where_it_matters(
    weights: Weights, forgotten: Weights, retained: Weights, alpha: float, dampening: float
) -> dict[str, Tensor]:
    """Weights, times min(dampening R / F, 1) where F > alpha R.

    Args:
        weights: By name.
        forgotten: F, what each matters to what must be forgotten, >= 0.
        retained: R, what it matters to the rest, >= 0.
        alpha: How many times more it must matter, > 0.
        dampening: Above, >= 0.
    """
    changed = {}
    for name, value in weights.items():
        ours, theirs = forgotten[name], retained[name]
        tiny = torch.finfo(ours.dtype).tiny
        factor = (dampening * theirs / ours.clamp(min=tiny)).clamp(max=1)
        changed[name] = torch.where(ours > alpha * theirs, factor * value, value)

    return changed


def class_by_class(problem: Problem, part: Split, rows: Tensor) -> Tensor:
    """Rows sorted by class, those of forgotten ones last; as they are where there is none."""
    classes = problem.task.one_class(part.targets[rows])
    if classes is None:
        return rows

    forgotten = torch.isin(classes, torch.tensor(problem.request.forgotten))
    order = (classes + forgotten * part.targets.shape[1]).argsort(stable=True)
    return rows[order]
