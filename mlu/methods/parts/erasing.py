"""Affine maps of the features, after which no line tells a label from them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlu.methods.parts.silence import silent_head
from mlu.models.outputs import respond
from mlu.system.errors import UserError
from mlu.unlearning.contract import Edit, Problem


@dataclass(frozen=True)
class Whitening:
    """Map to features of unit covariance S, and the way back.

    Attributes:
        mean: Of the features, shape (features,).
        root: S^(1/2), shape (features, features).
        inverse: S^(-1/2), likewise.
    """

    mean: Tensor
    root: Tensor
    inverse: Tensor


def whitening_of(features: Tensor, tolerance: float) -> Whitening:
    """Whitening by the covariance of some features.

    Args:
        features: Shape (images, features).
        tolerance: Directions whose variance is below this share of the largest count as if they
            had that much, > 0: S needs an inverse.
    """
    mean = features.mean(0)
    centred = features - mean
    covariance = centred.T @ centred / len(features)

    values, vectors = torch.linalg.eigh(covariance)
    # Raised, not left out: what features say along a direction that is left out would stay
    # readable.
    least = (tolerance * values.max()).clamp(min=torch.finfo(values.dtype).tiny)
    roots = values.clamp(min=least).sqrt()

    return Whitening(mean, (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T)


def cross_covariance(features: Tensor, targets: Tensor) -> Tensor:
    """Covariances of all features with all targets, shape (features, labels)."""
    centred = features - features.mean(0)
    return centred.T @ (targets - targets.mean(0)) / len(features)


def basis_of(columns: Tensor, images: int) -> Tensor:
    """Orthonormal basis of what some columns span, shape (features, rank).

    Args:
        columns: Shape (features, columns).
        images: That they were computed from: what is smaller than such a sum's rounding counts as
            nothing.
    """
    if not columns.numel():
        return columns

    found = torch.linalg.svd(columns, full_matrices=False)
    spanning = torch.finfo(columns.dtype).eps * max(images, len(columns)) * found.S.max() < found.S
    basis: Tensor = found.U[:, spanning]

    return basis


def labelled_features(problem: Problem, method: str) -> tuple[Tensor, Tensor]:
    """Features of all training images, and which of them have all forgotten targets known.

    Args:
        problem: Its network is asked.
        method: Name of who wants them, for the message.

    Returns:
        Shape (images, features), float64, and bool, shape (images,).

    Raises:
        UserError: If there is no such image.
    """
    _, features = respond(problem.net, problem.train)
    known = problem.train.known[:, list(problem.request.forgotten)].all(1)
    if not known.any():
        raise UserError(
            f"{method}: no training image has all forgotten targets known, choose other labels"
        )

    return features.double(), known


def erasing_edit(problem: Problem, eraser: tuple[Tensor, Tensor], fold: bool) -> Edit:
    """Edit that makes the forgotten output silent and erases what the head reads.

    Args:
        problem: Of its network.
        eraser: Matrix (features, features) and offset (features,).
        fold: Whether the map becomes part of the head's weights instead of a layer.
    """
    head = problem.net.head
    matrix, offset = (part.to(head.weight) for part in eraser)
    silent = silent_head(problem)
    if not fold:
        return Edit(weights=silent, eraser=(matrix, offset))

    weight, bias = silent["head.weight"], silent["head.bias"]
    return Edit(weights={"head.weight": weight @ matrix, "head.bias": bias + weight @ offset})
