from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlu.contracts import Edit, Method, Problem, Tuning
from mlu.data.split import Batch, Split
from mlu.edits import bound, most_specific
from mlu.meter import phase
from mlu.methods.parts import (
    calibration,
    fisher_pair,
    frozen_rows,
    printed_sensitivity,
    silent_head,
    tune_loss,
)
from mlu.models.network import Network, Weights


@dataclass(frozen=True, kw_only=True)
class WeightFilter(Method):
    """Weight Filtering: reset the weights that the forgotten labels depend on, then fine-tune near them.

    Paper, Section 4.1. Two readings, because the printed rule contradicts the paper's own text:

    - `selective`: in each layer of the body, the fraction `phi` of weights whose Fisher score for the forgotten labels
      is largest relative to that for the retained ones. The forgotten output is set to its base rate. As in Section 6
      (parameters *above* the threshold are reset), made specific to the forgotten labels.
    - `printed`: every weight, head included, whose sensitivity |dL_u/dw|, scaled to a maximum of 1 over the network,
      lies *below* `phi`. It keeps what the forgotten label needs and is reported as what it is.

    Attributes:
        reading: See above.
        phi: In [0, 1]: fraction of each layer (`selective`), or threshold (`printed`).
        epsilon: How far an edited weight may drift afterwards, >= 0 (Section 4.3); inf is free.
        epsilon_mode: `relative` to the root mean square of the weight's layer, or `absolute`.
        sigma: Standard deviation of what fills edited weights, relative to their layer's; 0 fills with zeros.
        influence: Which training points are scored; `none` draws them at random.
        images: Most images that scores are computed on.
        score_batch: Images per random-sign draw of the Fisher score.
        delta: Keeps the ratio finite, in units of the layer's mean score.
        soft: Share of the original's outputs in the retained targets, in [0, 1]; 0 under `printed`.
        decorrelation: Weight of the features' correlation with the forgotten target; ours, and 0 under `printed`.
        tuning: Fine-tuning after the edit.
    """

    name: str
    reading: Literal["selective", "printed"]
    phi: float
    epsilon: float
    epsilon_mode: Literal["relative", "absolute"]
    sigma: float
    influence: Literal["none"]
    images: int
    score_batch: int
    delta: float
    soft: float
    decorrelation: float
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        with phase("score"):
            points = calibration(problem, self.images)
            hit = self.selective(problem, points) if self.reading == "selective" else self.printed(problem, points)
        with phase("edit"):
            return self.reset(problem, hit)

    def selective(self, problem: Problem, points: Split) -> Weights:
        """Which weights to reset, by layer of the body."""
        forgotten, retained = fisher_pair(problem, points, self.score_batch)
        return {name: most_specific(forgotten[name], retained[name], self.delta, self.phi) for name in forgotten}

    def printed(self, problem: Problem, points: Split) -> Weights:
        """Which weights to reset, by layer of the whole network."""
        scores = printed_sensitivity(problem, points)
        largest = max(layer.max().item() for layer in scores.values())
        return {name: layer < self.phi * largest for name, layer in scores.items()}

    def reset(self, problem: Problem, hit: Weights) -> Edit:
        """Zero or noise on the chosen weights, and the ball around that."""
        generator, original = problem.generator(), dict(problem.net.named_parameters())
        weights, radius = {}, {}
        for name, chosen in hit.items():
            layer = original[name].detach()
            noise = torch.randn(layer.shape, generator=generator).to(layer) if self.sigma else torch.zeros_like(layer)
            weights[name] = torch.where(chosen, self.sigma * layer.std() * noise, layer)
            radius[name] = bound(layer, chosen, self.epsilon, self.epsilon_mode)
        if self.reading == "selective":
            weights |= silent_head(problem)
            radius |= frozen_rows(problem)
        return Edit(weights, radius)

    def objective(self, net: Network, batch: Batch, problem: Problem, epoch: int) -> Tensor:
        if self.reading == "printed":
            return tune_loss(net, batch, problem, soft=0, decorrelation=0)
        return tune_loss(net, batch, problem, self.soft, self.decorrelation)
