"""Directions in which weights may move without touching what some gradients protect."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlu.methods.parts.readings import Scope

TWICE = 2
"""Times that protected directions are taken off: after the second nothing but rounding is left."""


def orthogonal(vector: Sequence[Tensor], protected: Sequence[Tensor], scope: Scope) -> list[Tensor]:
    """Part of a vector that is at right angles to all protected directions, by layer.

    Directions may depend on each other, or be zero.

    Args:
        vector: Tensors of any shape, one for each layer.
        protected: Likewise, with directions along an axis before: shape (directions, *layer).
        scope: Whether it is at right angles in each `layer` by itself, or over all of them
            together (`global`).
    """
    if scope == "layer":
        pairs = zip(vector, protected, strict=True)
        return [orthogonal([part], [own], "global")[0] for part, own in pairs]

    directions = [own.flatten(1).double() for own in protected]
    inverse = pseudo_inverse(torch.stack([own @ own.T for own in directions]).sum(0))

    rest = [part.flatten().double() for part in vector]
    for _ in range(TWICE):
        pairs = zip(directions, rest, strict=True)
        shares = inverse @ torch.stack([own @ part for own, part in pairs]).sum(0)
        rest = [part - shares @ own for own, part in zip(directions, rest, strict=True)]

    return [part.view_as(like).to(like) for part, like in zip(rest, vector, strict=True)]


def pseudo_inverse(products: Tensor) -> Tensor:
    """Pseudo-inverse of scalar products of some directions, shape (directions, directions).

    Each counts by itself, however short it is. What is not finite is taken for nothing: whoever
    computes a loss of it tells that training diverges.
    """
    products = products.nan_to_num(0, 0, 0)
    lengths = products.diagonal().clamp(min=torch.finfo(products.dtype).tiny).sqrt()
    cosines = products / lengths / lengths[:, None]

    inverse: Tensor = torch.linalg.pinv(cosines, hermitian=True, rtol=1e-12)

    return inverse / lengths / lengths[:, None]
