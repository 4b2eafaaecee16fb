from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlu.methods.parts.silence import silent_head
from mlu.models.outputs import respond
from mlu.system.errors import UserError
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
        columns = list(problem.request.forgotten)
        with phase("score"):
            _, features = respond(problem.net, problem.train)
            known = problem.train.known[:, columns].all(1)
            if not known.any():
                raise UserError(
                    "leace: no training image has all forgotten targets known, choose other labels"
                )

            targets = problem.train.targets[known][:, columns]
            matrix, offset = eraser(features[known].double(), targets.double(), self.tolerance)

        with phase("edit"):
            head = problem.net.head
            matrix, offset = matrix.to(head.weight), offset.to(head.weight)
            silent = silent_head(problem)
            if not self.fold:
                return Edit(weights=silent, eraser=(matrix, offset))

            weight, bias = silent["head.weight"], silent["head.bias"]
            folded = {"head.weight": weight @ matrix, "head.bias": bias + weight @ offset}

            return Edit(weights=folded)

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
    mean = features.mean(0)
    centred = features - mean
    covariance = centred.T @ centred / len(features)
    cross = centred.T @ (targets - targets.mean(0)) / len(features)

    values, vectors = torch.linalg.eigh(covariance)
    number = torch.finfo(values.dtype)
    # Raised, not left out: what features say along a direction that is left out would stay
    # readable.
    least = (tolerance * values.max()).clamp(min=number.tiny)
    roots = values.clamp(min=least).sqrt()
    root, inverse = (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T

    directions = torch.linalg.svd(inverse @ cross, full_matrices=False)
    spanning = number.eps * max(features.shape) * directions.S.max() < directions.S
    basis = directions.U[:, spanning]
    matrix = torch.eye(len(mean)).to(root) - root @ basis @ basis.T @ inverse

    return matrix, mean - matrix @ mean
