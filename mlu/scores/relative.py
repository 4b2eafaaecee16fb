"""Scores of weights on a scale of their own layer's, and the two terms of importance (Eq. 3)."""

import torch
from torch import Tensor


def per_mean(scores: Tensor) -> Tensor:
    """Scores divided by their mean; zeros stay zeros."""
    return scores / scores.mean().clamp(min=torch.finfo(scores.dtype).tiny)


def ratio(forgotten: Tensor, retained: Tensor, delta: float) -> Tensor:
    """Importance of a layer's weights to the forgotten labels, over that to the retained ones.

    Both scores are divided by their mean over the layer first, so that `delta` has no unit.

    Args:
        forgotten: Scores >= 0 of the forgotten labels, any shape.
        retained: Scores >= 0 of the retained labels, same shape.
        delta: Keeps the ratio finite where the retained labels do not care, > 0.

    Returns:
        Ratios >= 0, same shape; 0 where a layer has no score at all.
    """
    return per_mean(forgotten) / (per_mean(retained) + delta)


def relative_terms(layer: Tensor, slope: Tensor, bend: Tensor) -> tuple[Tensor, Tensor]:
    """|g w| and H w^2 / 2, both relative to their mean over the layer."""
    return per_mean(slope * layer.abs()), per_mean(bend * layer.square() / 2)


def printed_terms(layer: Tensor, slope: Tensor, bend: Tensor) -> tuple[Tensor, Tensor]:
    """|g| and H w^2 / 2, as printed."""
    return slope, bend * layer.square() / 2
