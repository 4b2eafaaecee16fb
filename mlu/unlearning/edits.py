"""Edits of weights: choosing, changing and bounding them. Pure functions of tensors."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mlu.models.network import Weights


def highest(scores: Weights, fractions: Mapping[str, float], scope: str) -> Weights:
    """True at the weights of highest score, never where it is 0, by layer.

    Args:
        scores: Scores >= 0.
        fractions: Share of each layer that is taken.
        scope: `layer` takes it from each layer, `global` takes as many in all, wherever they are.
    """
    if scope == "layer":
        return {
            name: top_fraction(layer, fractions[name]) & (layer > 0)
            for name, layer in scores.items()
        }

    flat = torch.cat([layer.flatten() for layer in scores.values()])
    wanted = sum(fractions[name] * layer.numel() for name, layer in scores.items())
    taken = (top_fraction(flat, wanted / max(flat.numel(), 1)) & (flat > 0)).split(
        [layer.numel() for layer in scores.values()]
    )

    return {name: part.view_as(scores[name]) for name, part in zip(scores, taken, strict=True)}


def above_threshold(scores: Weights, threshold: float, scope: str) -> Weights:
    """True at the weights whose score, scaled to a maximum of 1, is above a threshold, by layer.

    Paper, Section 3: the forget set is where influence is above its epsilon.

    Args:
        scores: Scores >= 0.
        threshold: In [0, 1].
        scope: `layer` scales each layer by its own maximum, `global` all by the largest of all.

    >>> above_threshold({"one": torch.tensor([1.0, 2.0, 4.0])}, 0.5, "layer")
    {'one': tensor([False, False,  True])}
    """
    most = {name: layer.max().item() for name, layer in scores.items()}
    if scope == "global":
        most = dict.fromkeys(scores, max(most.values()))
    return {name: layer > threshold * most[name] for name, layer in scores.items()}


def top_fraction(scores: Tensor, fraction: float) -> Tensor:
    """True at the highest scores: exactly round(fraction * n) of n, bool, same shape.

    A larger fraction takes all that a smaller one takes.
    """
    count = round(fraction * scores.numel())
    hit = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    if count:
        flat = scores.flatten()
        least = flat.topk(count, sorted=False).values.min()
        hit = flat > least
        # Equal scores in their order, so that a larger fraction adds to a smaller one.
        hit[(flat == least).nonzero().squeeze(1)[: count - int(hit.sum())]] = True

    return hit.view_as(scores)


def shrink(weight: Tensor, importance: Tensor, decay: float) -> Tensor:
    """w exp(-decay * importance): the middle treatment of Weight Pruning (paper, Section 4.2)."""
    return weight * torch.exp(-decay * importance)


def halving_decay(importance: Tensor) -> float:
    """The decay at which `shrink` halves a weight of median importance.

    It is 0 where that is 0 or there is none.
    """
    median = importance.median().item() if importance.numel() else 0.0
    # Bounded, so that 0 * decay is 0 in float32 as well.
    return min(math.log(2) / median, 1e30) if median > 0 else 0.0


def root_mean_square(weight: Tensor) -> Tensor:
    """Size of a layer's weights, a scalar."""
    return weight.square().mean().sqrt()


def bound(weight: Tensor, hit: Tensor, epsilon: float, mode: str) -> Tensor:
    """Radius of each weight: epsilon, relative to its layer's RMS or absolute, where `hit`, or inf.

    Paper, Section 4.3, mechanism 2. `weight` is the layer before the edit: that sets the scale.
    """
    scale = torch.ones_like(weight.mean())
    if mode == "relative" and math.isfinite(epsilon):
        scale = root_mean_square(weight)
    return torch.where(hit, epsilon * scale, math.inf)


def constrain(
    parameters: Mapping[str, Tensor], before: Weights, low: Weights, high: Weights, rate: Weights
) -> dict[str, Tensor]:
    """Slow the weights that have a rate, and put back what left its bounds, after a step. In place.

    On the weights and not on the gradients: momentum and weight decay move a weight whose gradient
    is zero.

    Args:
        parameters: The network's, after the step.
        before: Those with a rate, before the step.
        low: Bounds of those that have any, in the parameter's shape.
        high: Likewise, of the same names.
        rate: Factor on the step, in [0, 1]; broadcasts to the parameter.

    Returns:
        Where a weight was put back, bool, by name: its momentum would only press it outwards again.
    """
    with torch.no_grad():
        if rate:
            slowed, old = [parameters[name] for name in rate], [before[name] for name in rate]
            # Exact at a factor of 1 and of 0.
            factors = tuple(
                factor.to(value.dtype) for factor, value in zip(rate.values(), old, strict=True)
            )
            torch._foreach_copy_(slowed, torch._foreach_lerp(old, slowed, factors))

        if not low:
            return {}

        bounded = [parameters[name] for name in low]
        inside = torch._foreach_maximum(bounded, tuple(low.values()))
        torch._foreach_minimum_(inside, tuple(high[name] for name in low))
        stopped = [one != other for one, other in zip(inside, bounded, strict=True)]
        torch._foreach_copy_(bounded, inside)

    return dict(zip(low, stopped, strict=True))
