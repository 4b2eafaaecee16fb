"""Losses that several methods minimise."""

import torch
from torch import Tensor

from mlu.data.split import Batch
from mlu.models.network import Network
from mlu.unlearning.contract import Problem

FLAT = 1e-8
"""Variance below which a number counts as if it did not vary."""


def loss_of_retained(problem: Problem, net: Network, batch: Batch) -> Tensor:
    """Mean loss of a network over the retained labels."""
    return retained_loss(net(batch.images), batch, problem)


def retained_loss(
    logits: Tensor, batch: Batch, problem: Problem, teacher: Tensor | None = None, soft: float = 0
) -> Tensor:
    """Mean loss over the retained labels, their targets mixed with the original's outputs.

    Args:
        logits: Outputs of the network that is tuned.
        batch: Where they come from.
        problem: Task and columns; the forgotten target is not read.
        teacher: The original's logits of the same images; None with `soft` 0.
        soft: Share of the original's outputs in the targets, in [0, 1].
    """
    targets = batch.targets
    scope = problem.task.scope(targets, batch.known, problem.request.retained)

    if teacher is not None:
        taught = problem.task.soft_targets(teacher, problem.request.retained)
        targets = (1 - soft) * targets + soft * taught

    return problem.task.loss(logits, targets, scope)


def forgotten_loss(logits: Tensor, batch: Batch, problem: Problem) -> Tensor:
    """Mean loss over the forgotten labels, or over images of the forgotten classes."""
    scope = problem.task.scope(batch.targets, batch.known, problem.request.forgotten)
    return problem.task.loss(logits, batch.targets, scope)


def teacher_logits(problem: Problem, images: Tensor) -> Tensor:
    """The original's logits, in evaluation mode and without a gradient."""
    with torch.no_grad():
        logits: Tensor = problem.original(images)
    return logits


def edited_loss(
    problem: Problem, soft: float, decorrelation: float, net: Network, batch: Batch
) -> Tensor:
    """Retained loss plus decorrelation: fine-tuning after Weight Filtering and Weight Pruning.

    Args:
        problem: The original, the task and the columns.
        soft: Share of the original's outputs in the targets, in [0, 1].
        decorrelation: Weight of `multiple_correlation`; at 0 the forgotten target is not read.
        net: The network that is tuned.
        batch: Augmented training images.
    """
    features = net.features(batch.images)
    teacher = teacher_logits(problem, batch.images) if soft else None
    loss = retained_loss(net.head(features), batch, problem, teacher, soft)

    if decorrelation:
        loss = loss + decorrelation * multiple_correlation(features, batch, problem)
    return loss


def multiple_correlation(features: Tensor, batch: Batch, problem: Problem) -> Tensor:
    """Share of the forgotten targets' variance that features explain linearly, in [0, 1].

    The map is a ridge regression over a batch, t' K (K + n I)^-1 t / n of standardised targets t,
    with K the features' scalar products after each has been standardised: the penalty of 1 for each
    unit of feature variance keeps a batch smaller than the number of features from explaining
    everything. Differentiable; a mean over the forgotten labels, of which one that does not vary in
    the batch counts 0. Ours, not the paper's.
    """
    columns = list(problem.request.forgotten)
    known = batch.known[:, columns].all(1)
    features, targets = features[known], batch.targets[known][:, columns]
    count = len(features)
    if count < 2:
        return features.sum() * 0

    # A system of equations wants more digits than mixed precision leaves.
    with torch.autocast(features.device.type, enabled=False):
        features, targets = standardised(features.to(targets.dtype)), standardised(targets)
        products = features @ features.T
        penalty = count * torch.eye(count).to(products)
        explained: Tensor = targets * (products @ torch.linalg.solve(products + penalty, targets))
        return explained.sum(0).mean() / count


def standardised(columns: Tensor) -> Tensor:
    """Columns with mean 0 and variance 1; zeros where one does not vary.

    Less than 1 where the variance is below FLAT.

    >>> standardised(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    """
    centred = columns - columns.mean(0)
    return centred / centred.square().mean(0).clamp(min=FLAT).sqrt()
