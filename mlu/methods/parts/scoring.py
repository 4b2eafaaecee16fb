"""The network, the images and the columns that weights are scored by."""

import copy
from collections.abc import Iterator

import torch

from mlu.data.split import Batch, Split
from mlu.models.network import Network, Weights
from mlu.system.errors import UserError
from mlu.unlearning.contract import Problem

MEAN_BATCH = 64
"""Images per pass where only their mean gradient counts."""


def speaking(problem: Problem) -> Network:
    """The network to score, with the forgotten outputs as the original has them.

    A silent output has no gradient.
    """
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
            "no training image is known to have what is to be forgotten, or to lack it: "
            "there is nothing to score weights by, use method=head"
        )

    return problem.train.subset(rows)


def on_device(problem: Problem, points: Split, size: int) -> Iterator[Batch]:
    """Plain batches of some points, in order."""
    return (batch.to(problem.device) for batch in points.batches(size))


def forgotten_side(problem: Problem) -> dict[str, tuple[int, ...]]:
    """The columns to forget alone."""
    return {"forgotten": problem.request.forgotten}


def both_sides(problem: Problem) -> dict[str, tuple[int, ...]]:
    """The two sets of columns whose scores are compared."""
    return {"forgotten": problem.request.forgotten, "retained": problem.request.retained}


def each_label(problem: Problem) -> dict[str, tuple[int, ...]]:
    """Every column for itself."""
    return {str(column): (column,) for column in range(problem.train.targets.shape[1])}


def forgotten_side_and_each_label(problem: Problem) -> dict[str, tuple[int, ...]]:
    """The columns to forget together, and every column for itself."""
    return forgotten_side(problem) | each_label(problem)
