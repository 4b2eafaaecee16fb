from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlu.methods.parts.erasing import (
    basis_of,
    cross_covariance,
    erasing_edit,
    labelled_features,
    whitening_of,
)
from mlu.training.meter import phase
from mlu.unlearning.contract import Edit, Method, Pass, Problem

SHARED = 1e-6
"""Squared sine of an angle below which a direction of the retained targets counts as one of the
forgotten ones: to keep what is erased would magnify the rest a thousand times."""


@dataclass(frozen=True, kw_only=True)
class Splince(Method):
    """SPLINCE: erases the forgotten labels like LEACE, and keeps what goes with the retained ones.

    Holstege et al. (2025, arXiv 2506.10703), the oblique projection of its main theorem, P* =
    W^+ V (U^T V)^-1 U^T W; code of the authors: `proj.py` of afsharim/SPLINCE at 47508c3
    (`opt_sep_proj`). In features made white by their covariance, LEACE projects along Z, what the
    cross-covariance with the forgotten targets spans, at right angles. Here the projection along Z
    is slanted, so that Y, what the cross-covariance with the retained targets spans, stays where it
    is; all that is orthogonal to both stays too. Hence features have no covariance with the
    forgotten targets, and the same as before with the retained ones. Like LEACE it **adds a layer**
    before the head, which is not trained anew: with a head that is, both give the same.

    Where we leave the source: directions of little variance are raised instead of left out, as in
    `leace`; where forgotten and retained targets share a direction, for which the source has no
    answer, that is erased, and of the rest what is at right angles to it is kept; and of a
    single-label task, whose forgotten class is what the retained ones leave, that covariance is
    kept which features have with retained classes among these classes' images.

    Attributes:
        fold: Whether the map becomes part of the head's weights instead of a layer.
        tolerance: Directions whose variance is below this share of the largest count as if they had
            that much, > 0.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    fold: bool
    tolerance: float

    def edit(self, problem: Problem) -> Edit:
        with phase("score"):
            features, known = labelled_features(problem, self.name)
            targets = problem.train.targets[known][:, list(problem.request.forgotten)]
            kept = kept_covariance(problem, features)
            found = sparing_eraser(features[known], targets.double(), kept, self.tolerance)

        with phase("edit"):
            return erasing_edit(problem, found, self.fold)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return ()


def kept_covariance(problem: Problem, features: Tensor) -> Tensor:
    """Covariance of features with each retained target that varies, shape (features, labels).

    Each over the images that can be asked about retained labels and whose target is known.

    Args:
        problem: Its training images and its columns.
        features: Of all training images, shape (images, features).
    """
    train, retained = problem.train, problem.request.retained
    asked = problem.task.images_of(train.targets, train.known, retained)

    found = [features.new_zeros(features.shape[1], 0)]
    for column in retained:
        rows = asked & train.known[:, column]
        if rows.any():
            targets = train.targets[rows][:, [column]].to(features)
            found.append(cross_covariance(features[rows], targets))

    return torch.cat(found, 1)


def sparing_eraser(
    features: Tensor, targets: Tensor, kept: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Affine map that makes features and targets uncorrelated and changes nothing along `kept`.

    It is r(h) = matrix h + offset; without anything to keep it is LEACE's.

    Args:
        features: Shape (images, features).
        targets: Shape (images, labels).
        kept: Directions, shape (features, directions).
        tolerance: See `Splince`.

    Returns:
        Matrix (features, features) and offset (features,).

    >>> features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> kept = torch.tensor([[1.0], [1.0]])
    >>> matrix, _ = sparing_eraser(features, features[:, [1]], kept, tolerance=1e-6)
    >>> matrix.round(decimals=5).add(0.0).tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    white = whitening_of(features, tolerance)
    cross = cross_covariance(features, targets)
    erased = basis_of(white.inverse @ cross, len(features))
    spared = unshared(basis_of(white.inverse @ kept, len(features)), erased)

    # At right angles to what is spared, within both together: what the projection looks along.
    across = erased - spared @ (spared.T @ erased)
    slanted = erased @ torch.linalg.solve(erased.T @ across, across.T)

    matrix = torch.eye(len(white.mean)).to(white.root) - white.root @ slanted @ white.inverse

    return matrix, white.mean - matrix @ white.mean


def unshared(spared: Tensor, erased: Tensor) -> Tensor:
    """Orthonormal basis of what is spared, without directions that are erased.

    Args:
        spared: Orthonormal, shape (features, directions).
        erased: Likewise.
    """
    if not spared.numel() or not erased.numel():
        return spared

    angles = torch.linalg.svd(erased.T @ spared)
    shared = int((1 - angles.S.square() < SHARED).sum())

    left: Tensor = spared @ angles.Vh[shared:].T

    return left
