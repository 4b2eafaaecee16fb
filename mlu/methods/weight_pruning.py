from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mlu.contracts import Edit, Method, Problem, Tuning
from mlu.data.split import Batch, Split
from mlu.edits import bound, halving_decay, most_specific, per_mean, shrink
from mlu.meter import phase
from mlu.methods.parts import (
    calibration,
    fisher_pair,
    frozen_rows,
    printed_curvature,
    printed_sensitivity,
    silent_head,
    tune_loss,
)
from mlu.models.network import Network
from mlu.scores.gradients import all_weights


@dataclass(frozen=True, kw_only=True)
class WeightPruning(Method):
    """Weight Pruning: zero, shrink or slow the weights of the forgotten labels, by what the others need of them.

    Paper, Section 4.2. Importance is I = alpha S + beta H w^2 / 2 (Eq. 3), H by the diagonal of the empirical Fisher
    matrix. The printed rule does not say for which label, so there are two readings:

    - `selective`: in each layer of the body, the fraction `phi` of weights whose importance for the forgotten labels is
      largest relative to that for the retained ones. Of these, by their importance for the *retained* labels: the
      lowest quarter is zeroed, the middle half shrunk by exp(-lambda I_forgotten), the highest quarter kept and slowed.
      S is |g w|, with g the root mean square gradient over images: at an optimum the mean gradient is noise.
    - `printed`: importance for the forgotten labels alone, percentiles over all weights, head included; S = |mean
      gradient|. It zeroes what the forgotten label does *not* need and is reported as what it is.

    Attributes:
        reading: See above.
        phi: Fraction of each layer's weights that is treated (`selective`), in [0, 1]; `printed` treats all.
        epsilon: How far a treated weight may drift afterwards, >= 0 (Section 4.3); inf is free.
        epsilon_mode: `relative` to the root mean square of the weight's layer, or `absolute`.
        alpha: Weight of the sensitivity, >= 0.
        beta: Weight of the curvature, >= 0.
        slow: Factor on the learning rate of the kept quarter (the paper's alpha_r), in [0, 1].
        rounds: How often scores, edit and fine-tuning are repeated.
        images: Most images that scores are computed on.
        score_batch: Images per random-sign draw of the Fisher score.
        delta: Keeps the ratio finite, in units of the layer's mean score.
        soft: Share of the original's outputs in the retained targets, in [0, 1]; 0 under `printed`.
        decorrelation: Weight of the features' correlation with the forgotten target; ours, and 0 under `printed`.
        tuning: Fine-tuning after each edit.
    """

    name: str
    reading: Literal["selective", "printed"]
    phi: float
    epsilon: float
    epsilon_mode: Literal["relative", "absolute"]
    alpha: float
    beta: float
    slow: float
    rounds: int
    images: int
    score_batch: int
    delta: float
    soft: float
    decorrelation: float
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        points = calibration(problem, self.images)
        return self.selective(problem, points) if self.reading == "selective" else self.printed(problem, points)

    def selective(self, problem: Problem, points: Split) -> Edit:
        with phase("score"):
            forgotten, retained = fisher_pair(problem, points, self.score_batch)
        with phase("edit"):
            original = dict(problem.net.named_parameters())
            weights, radius, rate = silent_head(problem), frozen_rows(problem), {}
            for name in forgotten:
                layer = original[name].detach()
                ours, theirs = self.importance(layer, forgotten[name]), self.importance(layer, retained[name])
                chosen = most_specific(ours, theirs, self.delta, self.phi)
                low, high = quartiles(theirs[chosen])
                # What the retained labels do not need at all lies *on* the lowest threshold: it goes as well.
                zeroed = chosen & (theirs <= low)
                kept = ~chosen | (theirs >= high) & ~zeroed
                weights[name] = treated(layer, ours, zeroed, kept)
                rate[name] = torch.where(chosen & kept, self.slow, 1.0)
                radius[name] = bound(layer, chosen, self.epsilon, self.epsilon_mode)
            return Edit(weights, radius, rate)

    def importance(self, layer: Tensor, squared_gradient: Tensor) -> Tensor:
        """Eq. 3 with both terms in units of loss and relative to their mean over the layer."""
        first = per_mean(squared_gradient.sqrt() * layer.abs())
        second = per_mean(squared_gradient * layer.square() / 2)
        return self.alpha * first + self.beta * second

    def printed(self, problem: Problem, points: Split) -> Edit:
        with phase("score"):
            slopes = printed_sensitivity(problem, points)
            curvature = printed_curvature(problem, points, self.score_batch)
        with phase("edit"):
            weights = all_weights(problem.net)
            scores = {
                name: self.alpha * slopes[name] + self.beta * curvature[name] * layer.square() / 2
                for name, layer in weights.items()
            }
            low, high = quartiles(torch.cat([score.flatten() for score in scores.values()]))
            edited, radius, rate = {}, {}, {}
            for name, layer in weights.items():
                kept = scores[name] >= high
                edited[name] = treated(layer, scores[name], scores[name] < low, kept)
                rate[name] = torch.where(kept, self.slow, 1.0)
                radius[name] = bound(layer, ~kept, self.epsilon, self.epsilon_mode)
            return Edit(edited, radius, rate)

    def objective(self, net: Network, batch: Batch, problem: Problem, epoch: int) -> Tensor:
        if self.reading == "printed":
            return tune_loss(net, batch, problem, soft=0, decorrelation=0)
        return tune_loss(net, batch, problem, self.soft, self.decorrelation)


def treated(layer: Tensor, importance: Tensor, zeroed: Tensor, kept: Tensor) -> Tensor:
    """Zero some weights, keep some, and shrink the others so that one of median importance is halved (Section 4.2)."""
    shrunk = ~zeroed & ~kept
    smaller = shrink(layer, importance, halving_decay(importance[shrunk]))
    return torch.where(shrunk, smaller, layer).masked_fill(zeroed, 0)


def quartiles(scores: Tensor) -> tuple[float, float]:
    """25th and 75th percentile; zeros where there is no score."""
    if not scores.numel():
        return 0.0, 0.0
    low, high = np.quantile(scores.cpu().double().numpy(), [0.25, 0.75])
    return float(low), float(high)
