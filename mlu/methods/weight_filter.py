from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from mlu.data.split import Split
from mlu.methods.parts import (
    MEAN_BATCH,
    both_sides,
    calibration,
    each_label,
    frozen_rows,
    on_device,
    refuse_silence,
    silent_head,
    speaking,
    tune_passes,
)
from mlu.models.network import Network, Weights
from mlu.scores.affinity import affinity
from mlu.scores.curvature import gauss_newton
from mlu.scores.gradients import all_weights, body_weights, fisher, sensitivity
from mlu.scores.influence import Perturbation, Solver, influence
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem
from mlu.unlearning.edits import bound, highest, ratio

CURVATURE_BOUNDS = (0.5, 2.0)
"""How far curvature may scale `phi` (`adaptive`)."""


@dataclass(frozen=True, kw_only=True)
class WeightFilter(Method):
    """Weight Filtering: reset the weights that the forgotten labels depend on, then fine-tune near
    them.

    Paper, Section 4.1. Three readings, because the printed rule contradicts the paper's own text:

    - `selective`: in the body, the fraction `phi` of weights whose Fisher score for the forgotten
      labels is largest relative to that for the retained ones. The forgotten output is set to its
      base rate.
    - `above`: of all weights, head included, the fraction `phi` of largest sensitivity |dL_u/dw|,
      as Section 6 says (parameters *above* the threshold are reset). It does not ask what the
      retained labels need.
    - `printed`: every weight, head included, whose sensitivity, scaled to a maximum of 1, lies
      *below* `phi` (Section 4.1). It keeps what the forgotten label needs and is reported as what
      it is.

    Attributes:
        reading: See above.
        phi: In [0, 1]: fraction of the weights (`selective`, `above`), or threshold (`printed`).
        scope: Whether `phi` is meant for each `layer`, or for the whole network (`global`); None:
            `global` under `printed`, else `layer`.
        adaptive: Scale `phi` in each layer by 1 - o, with o the largest affinity of a forgotten
            with a retained label there, so that a layer that is shared loses less; and by the
            retained loss's curvature in the original over that in the network at hand, within [0.5,
            2], which acts from the second round on (Section 4.1 wants both, without a formula).
            Costs a score map for each label. Not under `printed`.
        epsilon: How far an edited weight may drift afterwards, >= 0 (Section 4.3); inf is free.
        epsilon_mode: `relative` to the root mean square of the weight's layer, or `absolute`.
        sigma: Standard deviation of what fills edited weights, relative to their layer's; 0 fills
            with zeros.
        rounds: How often scores, edit and fine-tuning are repeated.
        influence: Which training points are scored: `none` draws them at random, as many with the
            forgotten label as without; else those of largest absolute influence on it (Eq. 2), by
            `head_exact`, `cg` or `kfac`.
        perturbation: Of a point, in Eq. 2: `label_flip`, `label_prior` or `input_noise`.
        influential: Share of the candidates that counts as influential, in (0, 1]; the paper's
            Section 5 warns of more than 0.2.
        damping: Of the curvature in Eq. 2, as a share of its mean over weights, > 0. Few images
            curve few directions, so that `cg` and `kfac` may want much more of it than
            `head_exact`.
        curvature_images: Most images that the curvature of `cg` and `kfac` is computed on; not the
            candidates.
        images: Most images that scores are computed on; with `influence`, drawn from 1 /
            `influential` times as many.
        score_batch: Images per random-sign draw of the Fisher score.
        delta: Keeps the ratio of scores finite, in units of the layer's mean score.
        soft: Share of the original's outputs in the retained targets, in [0, 1]; 0 unless
            `selective`.
        decorrelation: Weight of what a linear map of the features tells of the forgotten target;
            ours, 0 unless `selective`.
        tuning: Fine-tuning after the edit.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    reading: Literal["selective", "above", "printed"]
    phi: float
    scope: Literal["layer", "global"] | None
    adaptive: bool
    epsilon: float
    epsilon_mode: Literal["relative", "absolute"]
    sigma: float
    rounds: int
    influence: Solver | Literal["none"]
    perturbation: Perturbation
    influential: float
    damping: float
    curvature_images: int
    images: int
    score_batch: int
    delta: float
    soft: float
    decorrelation: float
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        with phase("score"):
            points = self.points(problem)
            hit = {"selective": self.selective, "above": self.above, "printed": self.printed}[
                self.reading
            ](problem, points)
        with phase("edit"):
            return self.reset(problem, hit)

    def points(self, problem: Problem) -> Split:
        """The training points that scores are computed on."""
        if self.influence == "none":
            return calibration(problem, self.images)

        candidates = calibration(problem, round(self.images / self.influential))
        others = self.others(problem, candidates)
        net, total = speaking(problem), torch.zeros(len(candidates))
        for column in problem.request.forgotten:
            total += influence(
                self.influence,
                net,
                problem.task,
                candidates,
                column,
                self.perturbation,
                self.damping,
                others,
                problem.seed,
            ).abs()

        count = max(1, round(self.influential * len(candidates)))

        return candidates.subset(total.topk(count).indices.sort().values)

    def others(self, problem: Problem, candidates: Split) -> Split:
        """Training images for the curvature in Eq. 2: none of the candidates, unless there are no
        others."""
        free = torch.from_numpy(~np.isin(problem.train.rows, candidates.rows)).nonzero().squeeze(1)
        if not len(free):
            return candidates.subset(torch.arange(len(candidates))[: self.curvature_images])
        order = torch.randperm(len(free), generator=problem.generator())
        return problem.train.subset(free[order[: self.curvature_images]])

    def selective(self, problem: Problem, points: Split) -> Weights:
        """Which weights to reset, by layer of the body."""
        net = speaking(problem)
        batches = on_device(problem, points, self.score_batch)
        scores = fisher(
            net, problem.task, batches, both_sides(problem), body_weights(net), problem.generator()
        )
        forgotten, retained = refuse_silence(scores["forgotten"]), scores["retained"]
        contrast = {name: ratio(forgotten[name], retained[name], self.delta) for name in forgotten}
        return highest(contrast, self.fractions(problem, points, contrast), self.scope or "layer")

    def above(self, problem: Problem, points: Split) -> Weights:
        """Which weights to reset, by layer of the whole network."""
        scores = refuse_silence(self.sensitivity(problem, points))
        return highest(scores, self.fractions(problem, points, scores), self.scope or "layer")

    def printed(self, problem: Problem, points: Split) -> Weights:
        """Which weights to reset, by layer of the whole network."""
        scores = refuse_silence(self.sensitivity(problem, points))
        largest = {name: layer.max().item() for name, layer in scores.items()}
        if self.scope != "layer":
            largest = dict.fromkeys(scores, max(largest.values()))
        return {name: layer < self.phi * largest[name] for name, layer in scores.items()}

    def sensitivity(self, problem: Problem, points: Split) -> Weights:
        """|dL_u/dw| of every weight, head included (Eq. 1), by layer."""
        net = speaking(problem)
        batches = on_device(problem, points, MEAN_BATCH)
        columns = {"forgotten": problem.request.forgotten}
        return sensitivity(net, problem.task, batches, columns, all_weights(net))["forgotten"]

    def fractions(self, problem: Problem, points: Split, layers: Weights) -> dict[str, float]:
        """`phi` of each layer."""
        if not self.adaptive:
            return dict.fromkeys(layers, self.phi)

        net = speaking(problem)
        batches = on_device(problem, points, MEAN_BATCH)
        maps = sensitivity(net, problem.task, batches, each_label(problem), all_weights(net))
        alike = affinity(list(maps.values()))
        forgotten, retained = list(problem.request.forgotten), list(problem.request.retained)
        bend = self.bend(problem, points, problem.original) / max(
            self.bend(problem, points, problem.net), 1e-30
        )
        scale = min(max(bend, CURVATURE_BOUNDS[0]), CURVATURE_BOUNDS[1])

        return {
            name: min(
                1.0, self.phi * scale * (1 - alike[name][forgotten][:, retained].max().item())
            )
            for name in layers
        }

    def bend(self, problem: Problem, points: Split, net: Network) -> float:
        """Trace of the Gauss-Newton matrix of the retained loss."""
        columns = {"retained": problem.request.retained}
        batches = on_device(problem, points, self.score_batch)
        scores = gauss_newton(
            net, problem.task, batches, columns, all_weights(net), problem.generator()
        )
        return sum(layer.sum().item() for layer in scores["retained"].values())

    def reset(self, problem: Problem, hit: Weights) -> Edit:
        """Zero or noise on the chosen weights, and the ball around that."""
        generator, original = problem.generator(), dict(problem.net.named_parameters())
        weights, radius = {}, {}
        for name, chosen in hit.items():
            layer = original[name].detach()
            noise = (
                torch.randn(layer.shape, generator=generator).to(layer)
                if self.sigma
                else torch.zeros_like(layer)
            )
            weights[name] = torch.where(chosen, self.sigma * layer.std() * noise, layer)
            radius[name] = bound(layer, chosen, self.epsilon, self.epsilon_mode)

        if self.reading == "selective":
            weights |= silent_head(problem)
            radius |= frozen_rows(problem)

        return Edit(weights, radius)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        ours = self.reading == "selective"
        return tune_passes(
            problem, self.tuning, self.soft if ours else 0, self.decorrelation if ours else 0
        )
