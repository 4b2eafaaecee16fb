"""Weights made smaller where they matter more to what must be forgotten than to the rest."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mlu.data.split import Split
from mlu.methods.parts.scoring import refuse_silence
from mlu.models.network import Weights
from mlu.scores.gradients import every_weight
from mlu.training.meter import phase
from mlu.unlearning.contract import Edit, Problem


def dampening_edit(
    problem: Problem,
    importances: Callable[[Problem], Mapping[str, Weights]],
    alpha: float,
    dampening: float,
) -> Edit:
    """The edit by `less_where_it_matters` of every weight.

    Args:
        problem: Whose network is edited.
        importances: Gives what each weight matters, >= 0, to the `forgotten` and the `retained`.
        alpha: How many times more it must matter, > 0.
        dampening: What remains of it, >= 0.

    Raises:
        UserError: If nothing matters to what must be forgotten.
    """
    with phase("score"):
        scores = importances(problem)
        forgotten = refuse_silence(scores["forgotten"])

    with phase("edit"):
        weights = every_weight(problem.net)
        changed = less_where_it_matters(weights, forgotten, scores["retained"], alpha, dampening)

    return Edit(weights=changed)


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
