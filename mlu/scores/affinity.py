"""Affinity: to what degree labels share the weights of a layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlu.models.network import Weights


def affinity(maps: Sequence[Weights]) -> dict[str, Tensor]:
    """Cosine between the labels' scores in each layer.

    It is the composite score S^T S of the paper (Section 4.1), scaled. The printed product of a K x
    |w| and a |w| x |u| matrix sums over the weights, so it is one number for each pair of labels
    and not one for each weight.

    Args:
        maps: Scores >= 0 of each label.

    Returns:
        Layer -> shape (labels, labels), symmetric, in [0, 1]; a label without any score there is
        alike to none.
    """
    alike = {}
    for name in maps[0]:
        alike[name] = cosines(torch.stack([scores[name].flatten() for scores in maps]))
    return alike


def cosines(rows: Tensor) -> Tensor:
    """Cosine of every pair of rows >= 0; 0 with a row of zeros.

    >>> cosines(torch.tensor([[3.0, 0.0], [5.0, 5.0], [0.0, 0.0]]))
    tensor([[1.0000, 0.7071, 0.0000],
            [0.7071, 1.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    tiny = torch.finfo(rows.dtype).tiny
    # First to a maximum of 1: the squares of small scores would be lost.
    rows = rows / rows.amax(dim=1, keepdim=True).clamp(min=tiny)
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp(min=tiny)
    return (unit @ unit.T).clamp(max=1)
