"""Steps that several methods share."""

import copy

import torch
from torch import Tensor

from mlu.contracts import Problem
from mlu.data.split import Batch, Split
from mlu.errors import UserError
from mlu.models.network import Network, Weights
from mlu.scores.gradients import all_weights, body_weights, fisher, sensitivity

SENSITIVITY_BATCH = 128
"""Images per pass where only their mean gradient counts."""


def silent_head(problem: Problem) -> dict[str, Tensor]:
    """The head's weights with the forgotten outputs made constant at their base rate (in training)."""
    head = torch.nn.Linear(problem.net.head.in_features, problem.net.head.out_features).to(problem.device)
    head.load_state_dict(problem.net.head.state_dict())
    problem.task.silence(head, problem.request.forgotten, problem.train.base_rates())
    return {"head.weight": head.weight.detach(), "head.bias": head.bias.detach()}


def frozen_rows(problem: Problem) -> dict[str, Tensor]:
    """Radius 0 at the forgotten rows of the head, inf elsewhere."""
    head = problem.net.head
    rows = torch.full((head.out_features,), torch.inf, device=problem.device)
    rows[list(problem.request.forgotten)] = 0
    return {"head.weight": rows.unsqueeze(1), "head.bias": rows}


def calibration(problem: Problem, images: int) -> Split:
    """At most `images` plain training images, seeded, as many with the forgotten labels as without.

    Of several forgotten labels each brings its share; a label with too few positives or negatives brings fewer.
    """
    order = torch.randperm(len(problem.train), generator=problem.generator())
    share = max(1, images // (2 * len(problem.request.forgotten)))
    chosen = []
    for column in problem.request.forgotten:
        targets, known = problem.train.targets[order, column], problem.train.known[order, column]
        for value in (0, 1):
            chosen.append(order[known & (targets == value)][:share])
    return problem.train.subset(torch.cat(chosen).unique())


def speaking(problem: Problem) -> Network:
    """The network to score: with the forgotten outputs as the original has them, for a silent one has no gradient."""
    net = copy.deepcopy(problem.net)
    rows, head = list(problem.request.forgotten), problem.original.head
    with torch.no_grad():
        net.head.weight[rows], net.head.bias[rows] = head.weight[rows], head.bias[rows]
    return net


def fisher_pair(problem: Problem, points: Split, batch: int) -> tuple[Weights, Weights]:
    """Fisher scores of the body's weights for the forgotten labels and for the retained ones, by layer.

    Raises:
        UserError: If the forgotten outputs depend on no weight at all.
    """
    net = speaking(problem)
    batches = (batch.to(problem.device) for batch in points.batches(batch))
    columns = {"forgotten": problem.request.forgotten, "retained": problem.request.retained}
    scores = fisher(net, problem.task, batches, columns, body_weights(net), problem.generator())
    return refuse_silence(scores["forgotten"]), scores["retained"]


def printed_sensitivity(problem: Problem, points: Split) -> Weights:
    """|dL_u/dw| of every weight, head included (paper, Eq. 1 for the forgotten labels), by layer."""
    net = speaking(problem)
    batches = (batch.to(problem.device) for batch in points.batches(SENSITIVITY_BATCH))
    columns = {"forgotten": problem.request.forgotten}
    return refuse_silence(sensitivity(net, problem.task, batches, columns, all_weights(net))["forgotten"])


def printed_curvature(problem: Problem, points: Split, batch: int) -> Weights:
    """Fisher scores of every weight, head included, for the forgotten labels, by layer."""
    net = speaking(problem)
    batches = (batch.to(problem.device) for batch in points.batches(batch))
    columns = {"forgotten": problem.request.forgotten}
    return fisher(net, problem.task, batches, columns, all_weights(net), problem.generator())["forgotten"]


def refuse_silence(scores: Weights) -> Weights:
    """The scores, or UserError where all are zero."""
    if not any(layer.any() for layer in scores.values()):
        raise UserError("the forgotten outputs depend on no weight of the network: they are forgotten already")
    return scores


def retained_loss(logits: Tensor, batch: Batch, problem: Problem, teacher: Tensor | None, soft: float) -> Tensor:
    """Mean loss over the retained labels, their targets mixed with the original's outputs.

    Args:
        logits: Of the network that is tuned.
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


def correlation(features: Tensor, batch: Batch, problem: Problem) -> Tensor:
    """Mean squared correlation, over a batch, of each feature with each forgotten target: in [0, 1].

    Differentiable; a batch in which a target does not vary counts 0. Ours, not the paper's.
    """
    columns = list(problem.request.forgotten)
    known = batch.known[:, columns].all(1)
    features, targets = features[known], batch.targets[known][:, columns]
    if len(features) < 2:
        return features.sum() * 0
    features, targets = features - features.mean(0), targets - targets.mean(0)
    covariance = features.T @ targets
    scale = features.square().sum(0).unsqueeze(1) * targets.square().sum(0)
    return (covariance.square() / scale.clamp(min=1e-8)).mean()


def teacher_logits(problem: Problem, images: Tensor) -> Tensor:
    with torch.no_grad():
        return problem.original(images)


def tune_loss(net: Network, batch: Batch, problem: Problem, soft: float, decorrelation: float) -> Tensor:
    """What Weight Filtering and Weight Pruning minimise after their edit: retained loss plus decorrelation.

    Args:
        net: The network that is tuned.
        batch: Augmented training images.
        problem: The original, the task and the columns.
        soft: Share of the original's outputs in the targets, in [0, 1].
        decorrelation: Weight of `correlation`; at 0 the forgotten target is not read.
    """
    features = net.features(batch.images)
    teacher = teacher_logits(problem, batch.images) if soft else None
    loss = retained_loss(net.head(features), batch, problem, teacher, soft)
    if decorrelation:
        loss = loss + decorrelation * correlation(features, batch, problem)
    return loss
