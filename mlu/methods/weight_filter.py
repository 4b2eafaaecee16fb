from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mlu.data.split import Split
from mlu.methods.parts.decorrelation import Decorrelation
from mlu.methods.parts.influential import influence_on_forgotten
from mlu.methods.parts.readings import (
    ABOVE,
    PRINTED,
    SELECTIVE,
    Reading,
    ReadingName,
    Scope,
    contrast,
)
from mlu.methods.parts.refit import refit_head
from mlu.methods.parts.scoring import (
    MEAN_BATCH,
    both_sides,
    calibration,
    each_label,
    forgotten_side,
    on_device,
    refuse_silence,
    speaking,
)
from mlu.methods.parts.selection import (
    SelectName,
    refuse_lone_verification,
    refuse_selection,
    refuse_threshold,
    selected,
)
from mlu.methods.parts.thrift import Work, within_share
from mlu.models.network import Network, Weights
from mlu.scores.affinity import affinity
from mlu.scores.curvature import gauss_newton
from mlu.scores.gradients import all_weights, body_weights, fisher, sensitivity
from mlu.scores.influence import Perturbation, Solver
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem
from mlu.unlearning.edits import above_threshold, bound, highest

CURVATURE_BOUNDS = (0.5, 2.0)
"""Least and largest factor that curvature may put on `phi` (`adaptive`)."""


@dataclass(frozen=True, kw_only=True)
class WeightFilter(Method):
    """Weight Filtering: reset the weights that the forgotten labels depend on, tune near them.

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
        threshold: In place of a fraction, in [0, 1]: weights are edited whose score, scaled to a
            maximum of 1, is above it (Section 3's epsilon); None for `phi`. Not under `printed`.
        select: Which weights are edited, as many of each tensor in any case: those of highest
            `score`, or, to see what that choice is worth, drawn at `random` or of lowest score
            (`worst`). Under `printed` by `score` alone.
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
        verify: Rounds end once validation people are read to no more than this balanced accuracy,
            in [0.5, 1], by the forgotten output or a quick reader of the features (Section 4.1);
            `rounds` is then the most. None makes all of them.
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
        decorrelation: Penalty on what the features tell of the forgotten target; ours, off unless
            `selective`.
        refit: Most training images, >= 0, that the retained outputs are fitted to anew after
            fine-tuning; 0 unless `selective`.
        share: Most image passes of all rounds, as a share of what Retrain takes, > 0; None for any.
            Where that is known, scores, steps and statistics are scaled down alike to keep to it.
        tuning: Fine-tuning after the edit.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    reading: ReadingName
    phi: float
    threshold: float | None
    select: SelectName
    scope: Scope | None
    adaptive: bool
    epsilon: float
    epsilon_mode: Literal["relative", "absolute"]
    sigma: float
    rounds: int
    verify: float | None
    influence: Solver | Literal["none"]
    perturbation: Perturbation
    influential: float
    damping: float
    curvature_images: int
    images: int
    score_batch: int
    delta: float
    soft: float
    decorrelation: Decorrelation
    refit: int
    share: float | None
    tuning: Tuning

    def __post_init__(self) -> None:
        refuse_selection(self.select, self.reading)
        refuse_threshold(self.threshold, self.reading, self.adaptive)
        refuse_lone_verification(self.verify, self.rounds)

    def within(self, problem: Problem) -> Method:
        work = Work(self.tuning, self.images if self.is_scored else 0, self.refit)
        work = within_share(work, problem, self.share, self.soft, self.rounds)
        images = work.images or self.images
        return replace(self, tuning=work.tuning, images=images, refit=work.refit)

    def edit(self, problem: Problem) -> Edit:
        reading = FILTERING[self.reading].reading
        with phase("score"):
            hit = self.choice(problem)
        if hit is None:
            return reading.silenced(problem, Edit())

        with phase("edit"):
            return reading.silenced(problem, self.reset(problem, hit))

    def choice(self, problem: Problem) -> Weights | None:
        if not self.is_scored:
            return None

        rule, points = FILTERING[self.reading], self.points(problem)
        scores = rule.scores(self, problem, points)
        if self.threshold is None:
            chosen = rule.choose(self, problem, points, scores)
        else:
            chosen = above_threshold(scores, self.threshold, self.meant_for)

        return selected(problem, chosen, scores, self.select)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        reading = FILTERING[self.reading].reading
        return reading.passes(problem, self.tuning, self.soft, self.decorrelation)

    def finish(self, problem: Problem, net: Network) -> Network:
        is_ours = FILTERING[self.reading].reading.silences and self.tuning.makes_steps
        return refit_head(problem, net, self.refit if is_ours else 0)

    @property
    def is_scored(self) -> bool:
        """Whether any weight is to be edited."""
        return self.phi > 0 or self.threshold is not None

    @property
    def meant_for(self) -> Scope:
        """Where weights compete: as set, or as the reading has it."""
        return self.scope or FILTERING[self.reading].reading.scope

    def points(self, problem: Problem) -> Split:
        """The training points that scores are computed on."""
        if self.influence == "none":
            return calibration(problem, self.images)

        candidates = calibration(problem, round(self.images / self.influential))
        total = influence_on_forgotten(
            problem,
            candidates,
            self.influence,
            self.perturbation,
            self.damping,
            self.curvature_images,
        )
        count = max(1, round(self.influential * len(candidates)))

        return candidates.subset(total.topk(count).indices.sort().values)

    def fractions(self, problem: Problem, points: Split, layers: Weights) -> dict[str, float]:
        """`phi` of each layer."""
        if not self.adaptive:
            return dict.fromkeys(layers, self.phi)

        net = speaking(problem)
        batches = on_device(problem, points, MEAN_BATCH)
        maps = sensitivity(net, problem.task, batches, each_label(problem), all_weights(net))
        alike = affinity(list(maps.values()))
        forgotten, retained = list(problem.request.forgotten), list(problem.request.retained)
        scaled = self.phi * self.flatness(problem, points)

        found = {}
        for name in layers:
            shared = alike[name][forgotten][:, retained].max().item()
            found[name] = min(1.0, scaled * (1 - shared))

        return found

    def flatness(self, problem: Problem, points: Split) -> float:
        """Curvature of the retained loss in the original over that at hand, within bounds."""
        original = self.bend(problem, points, problem.original)
        bend = original / max(self.bend(problem, points, problem.net), 1e-30)
        return min(max(bend, CURVATURE_BOUNDS[0]), CURVATURE_BOUNDS[1])

    def bend(self, problem: Problem, points: Split, net: Network) -> float:
        """Trace of the Gauss-Newton matrix of the retained loss."""
        columns = {"retained": problem.request.retained}
        batches = on_device(problem, points, self.score_batch)
        weights, signs = all_weights(net), problem.generator()
        scores = gauss_newton(net, problem.task, batches, columns, weights, signs)
        return sum(layer.sum().item() for layer in scores["retained"].values())

    def reset(self, problem: Problem, hit: Weights) -> Edit:
        """Zero or noise on the chosen weights, and the ball around that."""
        generator, original = problem.generator(), dict(problem.net.named_parameters())

        weights, radius = {}, {}
        for name, chosen in hit.items():
            layer = original[name].detach()
            weights[name] = torch.where(chosen, self.filling(layer, generator), layer)
            radius[name] = bound(layer, chosen, self.epsilon, self.epsilon_mode)

        return Edit(weights, radius)

    def filling(self, layer: Tensor, generator: torch.Generator) -> Tensor:
        """Zeros or noise in the shape of a layer."""
        noise = torch.zeros_like(layer)
        if self.sigma:
            noise = torch.randn(layer.shape, generator=generator).to(layer)
        return self.sigma * layer.std() * noise


def contrasted(method: WeightFilter, problem: Problem, points: Split) -> Weights:
    """Fisher scores for the forgotten labels relative to those for the retained ones."""
    net, columns = speaking(problem), both_sides(problem)
    batches = on_device(problem, points, method.score_batch)
    weights, signs = body_weights(net), problem.generator()
    scores = fisher(net, problem.task, batches, columns, weights, signs)
    return contrast(refuse_silence(scores["forgotten"]), scores["retained"], method.delta)


def sensitivities(method: WeightFilter, problem: Problem, points: Split) -> Weights:
    """|dL_u/dw| of every weight, head included (Eq. 1)."""
    net, columns = speaking(problem), forgotten_side(problem)
    batches = on_device(problem, points, MEAN_BATCH)
    scores = sensitivity(net, problem.task, batches, columns, all_weights(net))
    return refuse_silence(scores["forgotten"])


def largest_share(
    method: WeightFilter, problem: Problem, points: Split, scores: Weights
) -> Weights:
    """Weights of the largest scores, as many as `phi` says."""
    return highest(scores, method.fractions(problem, points, scores), method.meant_for)


def beneath_threshold(
    method: WeightFilter, problem: Problem, points: Split, scores: Weights
) -> Weights:
    """Weights whose score, scaled to a maximum of 1, lies below `phi`."""
    most = {name: layer.max().item() for name, layer in scores.items()}
    if method.meant_for == "global":
        most = dict.fromkeys(scores, max(most.values()))
    return {name: layer < method.phi * most[name] for name, layer in scores.items()}


@dataclass(frozen=True)
class Filtering:
    """Weight Filtering as a reading has it.

    Attributes:
        reading: All that it shares with Weight Pruning.
        scores: Gives the scores >= 0 of the weights, by layer.
        choose: Gives the weights to reset by their scores: bool, by layer.
    """

    reading: Reading
    scores: Callable[[WeightFilter, Problem, Split], Weights]
    choose: Callable[[WeightFilter, Problem, Split, Weights], Weights]


FILTERING: dict[ReadingName, Filtering] = {
    "selective": Filtering(SELECTIVE, contrasted, largest_share),
    "above": Filtering(ABOVE, sensitivities, largest_share),
    "printed": Filtering(PRINTED, sensitivities, beneath_threshold),
}
