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


@dataclass(frozen=True, kw_only=True)
class Leace(Method):
    """LEACE: the least change of the features after which no linear map tells the forgotten labels.

    Belrose et al. (2023). With the training images' mean mu, covariance S and cross-covariance C
    with the forgotten targets, features become r(h) = h - S^(1/2) P S^(-1/2) (h - mu), P projecting
    onto the span of S^(-1/2) C. Their covariance with the targets is then exactly zero, which a
    linear attacker needs; others may still read them. It **adds a layer** before the head: who
    holds the network can take it off again and has the original. Folded into the head, there is no
    such layer, but the features are the original's.

    Attributes:
        fold: Whether the map becomes part of the head's weights instead of a layer.
        tolerance: Directions whose variance is below this share of the largest count as if they had
            that much, > 0: S needs an inverse. What they tell of the label is erased with the rest.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    fold: bool
    tolerance: float

    def edit(self, problem: Problem) -> Edit:
        with phase("score"):
            features, known = labelled_features(problem, self.name)
            targets = problem.train.targets[known][:, list(problem.request.forgotten)]
            found = eraser(features[known], targets.double(), self.tolerance)

        with phase("edit"):
            return erasing_edit(problem, found, self.fold)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return ()


def eraser(features: Tensor, targets: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Affine map that makes features and targets uncorrelated at the least change.

    It is r(h) = matrix h + offset.

    Args:
        features: Shape (images, features).
        targets: Shape (images, labels).
        tolerance: See `Leace`.

    Returns:
        Matrix (features, features) and offset (features,).

    >>> features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> matrix, _ = eraser(features, targets=features[:, [1]], tolerance=1e-6)
    >>> matrix.round(decimals=6).abs().tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    white = whitening_of(features, tolerance)
    cross = cross_covariance(features, targets)
    basis = basis_of(white.inverse @ cross, len(features))

    identity = torch.eye(len(white.mean)).to(white.root)
    matrix = identity - white.root @ basis @ basis.T @ white.inverse

    return matrix, white.mean - matrix @ white.mean
