"""Steps that several methods share."""

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from mlu.data.split import Batch, Split, count_batches
from mlu.models.network import Network, Weights
from mlu.models.outputs import respond
from mlu.system.errors import UserError
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Pass, Problem

MEAN_BATCH = 64
"""Images per pass where only their mean gradient counts."""
FLAT = 1e-8
"""Variance below which a number counts as if it did not vary."""


def silent_head(problem: Problem) -> dict[str, Tensor]:
    """The head's weights with the forgotten outputs made constant at their base rate (in training)."""
    head = copy.deepcopy(problem.net.head)
    problem.task.silence(head, problem.request.forgotten, problem.train.base_rates())
    return {"head.weight": head.weight.detach(), "head.bias": head.bias.detach()}


def frozen_rows(problem: Problem) -> dict[str, Tensor]:
    """Radius 0 at the forgotten rows of the head, inf elsewhere."""
    head = problem.net.head
    rows = torch.full((head.out_features,), torch.inf, device=problem.device)
    rows[list(problem.request.forgotten)] = 0
    return {"head.weight": rows.unsqueeze(1), "head.bias": rows}


def speaking(problem: Problem) -> Network:
    """The network to score: with the forgotten outputs as the original has them, for a silent one
    has no gradient."""
    net = copy.deepcopy(problem.net)
    rows, head = list(problem.request.forgotten), problem.original.head
    with torch.no_grad():
        net.head.weight[rows], net.head.bias[rows] = head.weight[rows], head.bias[rows]
    return net


def refuse_silence(scores: Weights) -> Weights:
    """The scores, or UserError where all are zero."""
    if not any(layer.any() for layer in scores.values()):
        raise UserError(
            "the forgotten outputs depend on no weight of the network: they are forgotten already"
        )
    return scores


def every_weight(net: Network) -> Weights:
    """All parameters: convolutions, linear layers, biases, batch norms."""
    return {name: value.detach() for name, value in net.named_parameters()}


def repeated(tuning: Tuning, one: Pass) -> list[Pass]:
    """The same pass for as many epochs as the tuning has or needs for its steps."""
    batches = count_batches(len(one.images), one.batch_size or tuning.batch_size)
    return [one] * tuning.epochs_of(batches)


def retain_passes(problem: Problem, tuning: Tuning) -> list[Pass]:
    """Plain fine-tuning on what may be retained."""
    return repeated(tuning, Pass(images=problem.retain, loss=partial(loss_of_retained, problem)))


def loss_of_retained(problem: Problem, net: Network, batch: Batch) -> Tensor:
    return retained_loss(net(batch.images), batch, problem)


def retained_loss(
    logits: Tensor, batch: Batch, problem: Problem, teacher: Tensor | None = None, soft: float = 0
) -> Tensor:
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


def forgotten_loss(logits: Tensor, batch: Batch, problem: Problem) -> Tensor:
    """Mean loss over the forgotten labels (of a single-label task: over images of the forgotten
    classes)."""
    scope = problem.task.scope(batch.targets, batch.known, problem.request.forgotten)
    return problem.task.loss(logits, batch.targets, scope)


def teacher_logits(problem: Problem, images: Tensor) -> Tensor:
    """The original's, in evaluation mode and without a gradient."""
    with torch.no_grad():
        logits: Tensor = problem.original(images)
    return logits


def forgotten_aurocs(net: Network, problem: Problem, images: Split) -> list[float]:
    """AUROC of each forgotten output on some images, of those labels that occur both ways."""
    logits, _ = respond(net, images)
    columns = problem.request.forgotten
    return problem.task.aurocs(logits, images.targets, images.known, columns)


def share_of(split: Split, fraction: float, generator: torch.Generator) -> Split:
    """A seeded fraction of a split's images, at least one."""
    count = max(1, round(fraction * len(split)))
    return split.subset(torch.randperm(len(split), generator=generator)[:count].sort().values)


def calibration(problem: Problem, images: int) -> Split:
    """At most `images` plain training images, seeded, as many with the forgotten labels as without.

    Of several forgotten labels each brings its share; a label with too few positives or negatives
    brings fewer. Raises UserError where all targets are unknown.
    """
    order = torch.randperm(len(problem.train), generator=problem.generator())
    share = max(1, images // (2 * len(problem.request.forgotten)))
    chosen = []
    for column in problem.request.forgotten:
        targets, known = problem.train.targets[order, column], problem.train.known[order, column]
        for value in (0, 1):
            chosen.append(order[known & (targets == value)][:share])

    rows = torch.cat(chosen).unique()
    if not len(rows):
        raise UserError(
            "no training image is known to have what is to be forgotten, or to lack it: there is nothing to score "
            "weights by, use method=head"
        )

    return problem.train.subset(rows)


def both_sides(problem: Problem) -> dict[str, tuple[int, ...]]:
    """The two sets of columns whose scores are compared."""
    return {"forgotten": problem.request.forgotten, "retained": problem.request.retained}


def each_label(problem: Problem) -> dict[str, tuple[int, ...]]:
    """Every column for itself."""
    return {str(column): (column,) for column in range(problem.train.targets.shape[1])}


def on_device(problem: Problem, points: Split, size: int) -> Iterator[Batch]:
    """Plain batches of some points, in order."""
    return (batch.to(problem.device) for batch in points.batches(size))


def multiple_correlation(features: Tensor, batch: Batch, problem: Problem) -> Tensor:
    """Share of the forgotten targets' variance that a linear map of the features explains in a
    batch: in [0, 1].

    The map is a ridge regression, t' K (K + n I)^-1 t / n of standardised targets t, with K the
    features' scalar products after each has been standardised: the penalty of 1 for each unit of
    feature variance keeps a batch smaller than the number of features from explaining everything.
    Differentiable; a mean over the forgotten labels, of which one that does not vary in the batch
    counts 0. Ours, not the paper's.
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
    """Columns with mean 0 and variance 1; less where one has a variance below FLAT, zeros where it
    does not vary."""
    centred = columns - columns.mean(0)
    return centred / centred.square().mean(0).clamp(min=FLAT).sqrt()


def tune_loss(
    problem: Problem, soft: float, decorrelation: float, net: Network, batch: Batch
) -> Tensor:
    """What Weight Filtering and Weight Pruning minimise after their edit: retained loss plus
    decorrelation.

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


def tune_passes(problem: Problem, tuning: Tuning, soft: float, decorrelation: float) -> list[Pass]:
    """Fine-tuning after an edit; without decorrelation on what may be retained alone."""
    images = problem.train if decorrelation else problem.retain
    return repeated(
        tuning, Pass(images=images, loss=partial(tune_loss, problem, soft, decorrelation))
    )
