"""Losses that several methods minimise."""

import torch
from torch import Tensor

from mlu.data.split import Batch
from mlu.methods.parts.decorrelation import Decorrelation, Residual, stage_means
from mlu.models.network import Network
from mlu.unlearning.contract import Problem


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


def retained_loss_by_image(logits: Tensor, batch: Batch, problem: Problem) -> Tensor:
    """Mean loss of each image over its retained labels, shape (batch,), 0 where none is known."""
    scope = problem.task.scope(batch.targets, batch.known, problem.request.retained)
    terms = problem.task.terms(logits, batch.targets) * scope
    return terms if terms.ndim == 1 else terms.sum(1) / scope.sum(1).clamp(min=1)


def loss_of_both(problem: Problem, net: Network, batch: Batch) -> Tensor:
    """Loss in which the retained and the forgotten labels weigh the same, however many they are."""
    groups = (problem.request.retained, problem.request.forgotten)
    return problem.task.grouped_loss(net(batch.images), batch.targets, batch.known, groups)


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
    problem: Problem,
    soft: float,
    decorrelation: Decorrelation,
    residual: Residual,
    net: Network,
    batch: Batch,
) -> Tensor:
    """Retained loss plus decorrelation: fine-tuning after Weight Filtering and Weight Pruning.

    Args:
        problem: The original, the task and the columns.
        soft: Share of the original's outputs in the targets, in [0, 1].
        decorrelation: Without a weight the forgotten target is not read.
        residual: What of the forgotten targets is to stay unknown.
        net: The network that is tuned.
        batch: Augmented training images.
    """
    seen, features = stage_means(net, batch.images, decorrelation.stages)
    teacher = teacher_logits(problem, batch.images) if soft else None
    logits = net.head(features)
    loss = retained_loss(logits, batch, problem, teacher, soft)

    if decorrelation.is_on:
        if decorrelation.outputs:
            seen = [*seen, logits[:, list(problem.request.retained)]]
        loss = loss + decorrelation.penalty(seen, batch, residual)
    return loss
