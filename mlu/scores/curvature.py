"""Estimators of how sharply a set of labels' loss bends along each weight.

They give the diagonal of its second derivative.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from mlu.data.split import Batch
from mlu.models.network import Network, Weights
from mlu.models.tasks import Task
from mlu.scores.attention import plain_attention
from mlu.scores.gradients import Columns, Means, fisher, forward, random_signs, squared_slopes
from mlu.system.collectives import round_robin

Estimator = Literal["fisher", "ggn", "hutchinson"]


def diagonal(
    estimator: Estimator,
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
    generator: torch.Generator,
) -> dict[str, Weights]:
    """Diagonal of the mean loss's curvature for each set of columns.

    In loss per squared unit of weight.

    Args:
        estimator: `fisher`, the mean squared gradient with the true targets: one backward pass per
            batch and set. `ggn`, the Gauss-Newton matrix: the same cost, without the targets; equal
            to the Fisher matrix where the targets are as the model says. `hutchinson`, the Hessian
            itself: two backward passes, noisy, and negative where the loss bends down.
        net: In evaluation mode; not changed.
        task: Of the outputs.
        batches: Images to average over; all estimators are unbiased, and steadier the more batches
            there are.
        columns: Name -> the columns whose loss is meant.
        weights: What to differentiate by: names and values of parameters of `net`.
        generator: Draws random signs; on the CPU.

    Returns:
        Name -> parameter name -> curvature in the parameter's shape.
    """
    estimate = {"fisher": fisher, "ggn": gauss_newton, "hutchinson": hutchinson}[estimator]
    return estimate(net, task, batches, columns, weights, generator)


def gauss_newton(
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
    generator: torch.Generator,
) -> dict[str, Weights]:
    """Diagonal of J^T H J, >= 0.

    J is the logits' derivative by the weights, H the loss's second one by the logits.
    """

    def roots(logits: Tensor, targets: Tensor) -> Tensor:
        return task.curvature_roots(logits)

    return squared_slopes(net, task, batches, columns, weights, generator, roots)


@torch.enable_grad()
@plain_attention()
def hutchinson(
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
    generator: torch.Generator,
) -> dict[str, Weights]:
    """Diagonal of the Hessian H: E[v * (H v)] = diag H for independent random signs v.

    Hutchinson; Bekas et al. (2007).
    """
    means = Means(weights, columns)
    for batch, mine in round_robin(batches):
        signs = [random_signs(value, generator) for value in weights.values()]
        if not mine:
            continue

        logits, tracked = forward(net, batch, weights)
        terms = task.terms(logits, batch.targets)
        for name, chosen in columns.items():
            scope = task.scope(batch.targets, batch.known, chosen)
            first = torch.autograd.grad(
                (terms * scope).sum(), tracked, create_graph=True, materialize_grads=True
            )
            steps = [(slope * sign).sum() for slope, sign in zip(first, signs, strict=True)]
            along = torch.stack(steps).sum()
            second = torch.autograd.grad(along, tracked, retain_graph=True, materialize_grads=True)
            means.add(name, scope, [sign * bend for sign, bend in zip(signs, second, strict=True)])

    return means.found()
