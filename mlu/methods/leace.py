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
    """LEACE: the least change of the features after which no linear map can tell the forgotten
    labels (Belrose, 2023).

    With the training images' mean mu, covariance S and cross-covariance C with the forgotten
    targets, features become r(h) = h - S^(1/2) P S^(-1/2) (h - mu), P projecting onto the span of
    S^(-1/2) C. Their covariance with the targets is then exactly zero, which a linear attacker
    needs; others may still read them. It **adds a layer** before the
    head: who holds the network can take it off again and has the original. Folded into the head,
    there is no such layer, but the features are the original's.

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
            _, features = respond(problem.net, problem.train)
            known = problem.train.known[:, list(problem.request.forgotten)].all(1)
            if not known.any():
                raise UserError(
                    "leace: no training image has all forgotten targets known, choose other labels"
                )
            targets = problem.train.targets[known][:, list(problem.request.forgotten)]
            matrix, offset = eraser(features[known].double(), targets.double(), self.tolerance)

        with phase("edit"):
            head = problem.net.head
            matrix, offset = matrix.to(head.weight), offset.to(head.weight)
            silent = silent_head(problem)
            if not self.fold:
                return Edit(weights=silent, eraser=(matrix, offset))
            weight, bias = silent["head.weight"], silent["head.bias"]
            return Edit(
                weights={"head.weight": weight @ matrix, "head.bias": bias + weight @ offset}
            )

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return ()


def eraser(features: Tensor, targets: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """The affine map r(h) = matrix h + offset that makes features and targets uncorrelated at the
    least change.

    Args:
        features: Shape (images, features).
        targets: Shape (images, labels).
        tolerance: See `Leace`.

    Returns:
        Matrix (features, features) and offset (features,).
    """
    mean = features.mean(0)
    centred = features - mean
    covariance = centred.T @ centred / len(features)
    cross = centred.T @ (targets - targets.mean(0)) / len(features)
    values, vectors = torch.linalg.eigh(covariance)
    # Raised, not left out: what features say along a direction that is left out would stay
    # readable.
    roots = values.clamp(
        min=(tolerance * values.max()).clamp(min=torch.finfo(values.dtype).tiny)
    ).sqrt()
    root, inverse = (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
    directions = torch.linalg.svd(inverse @ cross, full_matrices=False)
    spanning = (
        torch.finfo(values.dtype).eps * max(features.shape) * directions.S.max() < directions.S
    )
    basis = directions.U[:, spanning]
    matrix = torch.eye(len(mean)).to(root) - root @ basis @ basis.T @ inverse

    return matrix, mean - matrix @ mean
