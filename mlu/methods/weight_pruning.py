from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mlu.data.split import Split
from mlu.methods.parts import (
    MEAN_BATCH,
    both_sides,
    calibration,
    each_label,
    forgotten_aurocs,
    frozen_rows,
    on_device,
    refuse_silence,
    silent_head,
    speaking,
    tune_passes,
)
from mlu.models.batch_norm import recalibrate
from mlu.models.network import Network, Weights
from mlu.models.outputs import respond
from mlu.scores.curvature import Estimator, diagonal
from mlu.scores.gradients import all_weights, body_weights, sensitivity
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem
from mlu.unlearning.edits import bound, halving_decay, highest, per_mean, ratio, shrink

FOLDS = 3
GRID = (0.25, 0.5, 0.75)
"""Candidates for `alpha` and `beta` under `cv`."""


@dataclass(frozen=True)
class Scores:
    """First and second derivatives of some labels' loss, by layer.

    Attributes:
        slope: Size of the gradient, >= 0.
        bend: Diagonal of the curvature, >= 0.
    """

    slope: Weights
    bend: Weights


@dataclass(frozen=True, kw_only=True)
class WeightPruning(Method):
    """Weight Pruning: zero, shrink or slow the weights of the forgotten labels, by what the others
    need of them.

    Paper, Section 4.2. Importance is I = alpha S + beta H w^2 / 2 (Eq. 3). The printed rule does
    not say for which label, so there are three readings:

    - `selective`: in the body, the fraction `phi` of weights whose importance for the forgotten
      labels is largest relative to that for the retained ones. Of these, by their importance for
      the *retained* labels: the lowest quarter is zeroed, the middle half shrunk by exp(-lambda
      I_forgotten), the highest quarter kept and slowed. The forgotten output is set to its base
      rate.
    - `above`: the same treatment of the fraction `phi` of all weights, head included, that is
      largest in importance for the forgotten labels alone (Section 6); the importance for the
      retained ones is that for whichever of them needs the weight most.
    - `printed`: importance for the forgotten labels alone, and percentiles over all weights, head
      included. It zeroes what the forgotten label does *not* need and is reported as what it is.
      Where three quarters of the weights have no importance at all, as behind units that are always
      off, the upper percentile is 0, all are kept, and nothing is done.

    S is |g w| with g the root mean square gradient over images, since at an optimum the mean
    gradient is noise; under `printed` it is |mean gradient|, as Eq. 1 says. Except under `printed`,
    S and H w^2 / 2 are relative to their means over the layer.

    Attributes:
        reading: See above.
        phi: Fraction of the weights that is treated, in [0, 1]; `printed` treats all.
        scope: Whether `phi`, or under `printed` the percentiles, are meant for each `layer` or for
            the whole network (`global`); None: `global` under `printed`, else `layer`.
        epsilon: How far a treated weight may drift afterwards, >= 0 (Section 4.3); inf is free.
        epsilon_mode: `relative` to the root mean square of the weight's layer, or `absolute`.
        alpha: Weight of the sensitivity, >= 0; `cv` chooses it by cross-validation on the scored
            images.
        beta: Weight of the curvature, >= 0, or `cv`.
        curvature: Estimator of H: `fisher`, `ggn` or `hutchinson` (whose negative values count as
            0).
        slow: Factor on the learning rate of the kept quarter (the paper's alpha_r), in [0, 1].
        rounds: How often scores, edit and fine-tuning are repeated.
        images: Most images that scores are computed on.
        score_batch: Images per random-sign draw of the scores.
        delta: Keeps the ratio of scores finite, in units of the layer's mean score.
        soft: Share of the original's outputs in the retained targets, in [0, 1]; 0 unless
            `selective`.
        decorrelation: Weight of what a linear map of the features tells of the forgotten target;
            ours, 0 unless `selective`.
        tuning: Fine-tuning after each edit.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    reading: Literal["selective", "above", "printed"]
    phi: float
    scope: Literal["layer", "global"] | None
    epsilon: float
    epsilon_mode: Literal["relative", "absolute"]
    alpha: float | Literal["cv"]
    beta: float | Literal["cv"]
    curvature: Estimator
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
        chosen = self
        if "cv" in (self.alpha, self.beta):
            with phase("score"):
                alpha, beta = self.cross_validated(problem, points)
            chosen = replace(self, alpha=alpha, beta=beta)
        with phase("score"):
            scores = chosen.scores(problem, points)
        with phase("edit"):
            return chosen.treat(problem, scores)

    def scores(self, problem: Problem, points: Split) -> dict[str, Scores]:
        """Of the forgotten labels, and of what they are held against: the retained ones jointly, or
        each of them."""
        net, batches = speaking(problem), list(on_device(problem, points, self.score_batch))
        weights = body_weights(net) if self.reading == "selective" else all_weights(net)
        columns = {
            "selective": both_sides(problem),
            "above": {"forgotten": problem.request.forgotten} | each_label(problem),
            "printed": {"forgotten": problem.request.forgotten},
        }[self.reading]
        squares = diagonal(
            "fisher", net, problem.task, batches, columns, weights, problem.generator()
        )
        bends = squares
        if self.curvature != "fisher":
            bends = diagonal(
                self.curvature, net, problem.task, batches, columns, weights, problem.generator()
            )

        refuse_silence(squares["forgotten"])
        if self.reading == "printed":
            larger = on_device(problem, points, MEAN_BATCH)
            slopes = sensitivity(net, problem.task, larger, columns, weights)
        else:
            slopes = {
                name: {layer: value.sqrt() for layer, value in map_.items()}
                for name, map_ in squares.items()
            }

        return {
            name: Scores(
                slopes[name], {layer: value.clamp(min=0) for layer, value in bends[name].items()}
            )
            for name in columns
        }

    def importance(self, layer: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
        """Eq. 3, in the shape of the layer; both terms relative to their mean, save as printed."""
        assert not isinstance(self.alpha, str)
        assert not isinstance(self.beta, str)
        second = bend * layer.square() / 2
        if self.reading == "printed":
            return self.alpha * slope + self.beta * second
        return self.alpha * per_mean(slope * layer.abs()) + self.beta * per_mean(second)

    def importances(self, problem: Problem, scores: Scores) -> Weights:
        layers = all_weights(problem.net)
        return {
            name: self.importance(layers[name], slope, scores.bend[name])
            for name, slope in scores.slope.items()
        }

    def treat(self, problem: Problem, scores: dict[str, Scores]) -> Edit:
        """Zero, shrink or slow."""
        ours, layers = self.importances(problem, scores["forgotten"]), all_weights(problem.net)
        if self.reading == "printed":
            return self.treat_printed(layers, ours)

        fractions = dict.fromkeys(ours, self.phi)
        if self.reading == "selective":
            theirs = self.importances(problem, scores["retained"])
            contrast = {name: ratio(ours[name], theirs[name], self.delta) for name in ours}
            chosen = highest(contrast, fractions, self.scope or "layer")
        else:
            each = [
                self.importances(problem, scores[str(column)])
                for column in problem.request.retained
            ]
            theirs = {name: torch.stack([one[name] for one in each]).amax(0) for name in ours}
            chosen = highest(ours, fractions, self.scope or "layer")

        weights, radius, rate = {}, {}, {}
        for name, hit in chosen.items():
            low, high = quartiles(theirs[name][hit])
            # What the retained labels do not need at all lies *on* the lowest threshold: it goes as
            # well.
            zeroed = hit & (theirs[name] <= low)
            kept = ~hit | (theirs[name] >= high) & ~zeroed
            weights[name] = treated(layers[name], ours[name], zeroed, kept)
            rate[name] = torch.where(hit & kept, self.slow, 1.0)
            radius[name] = bound(layers[name], hit, self.epsilon, self.epsilon_mode)

        if self.reading == "selective":
            weights |= silent_head(problem)
            radius |= frozen_rows(problem)

        return Edit(weights, radius, rate)

    def treat_printed(self, layers: Weights, scores: Weights) -> Edit:
        together = quartiles(torch.cat([score.flatten() for score in scores.values()]))
        weights, radius, rate = {}, {}, {}
        for name, layer in layers.items():
            low, high = quartiles(scores[name]) if self.scope == "layer" else together
            kept = scores[name] >= high
            weights[name] = treated(layer, scores[name], scores[name] < low, kept)
            rate[name] = torch.where(kept, self.slow, 1.0)
            radius[name] = bound(layer, ~kept, self.epsilon, self.epsilon_mode)
        return Edit(weights, radius, rate)

    def cross_validated(self, problem: Problem, points: Split) -> tuple[float, float]:
        """The weights of Eq. 3 that forget most and cost least on images which were not scored.

        Images are divided by people in three folds. Each candidate's edit is applied without
        fine-tuning, the forgotten output left as it speaks; what counts is the mean over folds of F
        - drop, with F = 2 (1 - max(A, 1 - A)) of the forgotten output's AUROC A, and drop the loss
        of retained accuracy. Only the ratio of alpha and beta matters, so two open weights add up
        to 1.
        """
        candidates = self.candidates()
        people, person = np.unique(points.identities, return_inverse=True)
        folds = torch.from_numpy(np.arange(len(people))[person] % FOLDS)
        gains = np.zeros(len(candidates))
        for fold in range(FOLDS):
            seen, held = (
                points.subset(rows.nonzero().squeeze(1)) for rows in (folds != fold, folds == fold)
            )
            if not len(seen) or not len(held):
                continue

            scores, before = (
                self.scores(problem, seen),
                retained_accuracy(problem.net, problem, held),
            )
            for number, (alpha, beta) in enumerate(candidates):
                edit = replace(self, alpha=alpha, beta=beta).treat(problem, scores)
                net = without_tuning(problem, edit, seen)
                gains[number] += forgetting_score(net, problem, held) - (
                    before - retained_accuracy(net, problem, held)
                )

        return candidates[int(gains.argmax())]

    def candidates(self) -> list[tuple[float, float]]:
        """Weights of Eq. 3 to choose from."""
        if self.alpha == "cv" and self.beta == "cv":
            return [(alpha, 1 - alpha) for alpha in GRID]
        if self.alpha == "cv":
            return [(alpha, float(self.beta)) for alpha in GRID]
        return [(float(self.alpha), beta) for beta in GRID]

    def passes(self, problem: Problem) -> Sequence[Pass]:
        ours = self.reading == "selective"
        return tune_passes(
            problem, self.tuning, self.soft if ours else 0, self.decorrelation if ours else 0
        )


def without_tuning(problem: Problem, edit: Edit, images: Split) -> Network:
    """The edited body under the original's head, with batch-norm statistics of its own."""
    net, edited = speaking(problem), dict(edit.weights)
    with torch.no_grad():
        for name, value in edited.items():
            if name.startswith("body."):
                net.get_parameter(name).copy_(value)
    recalibrate(net, (batch.images for batch in on_device(problem, images, MEAN_BATCH)))
    return net


def forgetting_score(net: Network, problem: Problem, images: Split) -> float:
    """2 (1 - max(A, 1 - A)), A the AUROC of a forgotten output: 1 where it knows nothing; the mean
    over labels."""
    found = [2 * (1 - max(auroc, 1 - auroc)) for auroc in forgotten_aurocs(net, problem, images)]
    return float(np.mean(found)) if found else 0.0


def retained_accuracy(net: Network, problem: Problem, images: Split) -> float:
    """Share of right retained outputs; of a single-label task, of images of the retained classes."""
    right = problem.task.predictions(respond(net, images)[0]) == (images.targets > 0)
    columns = list(problem.request.retained)
    scope = problem.task.rows(
        problem.task.scope(images.targets, images.known, columns), right.shape[1]
    )[:, columns]
    return ((right[:, columns] & scope).sum() / scope.sum().clamp(min=1)).item()


def treated(layer: Tensor, importance: Tensor, zeroed: Tensor, kept: Tensor) -> Tensor:
    """Zero some weights, keep some, and shrink the others so that one of median importance is
    halved (Section 4.2)."""
    shrunk = ~zeroed & ~kept
    smaller = shrink(layer, importance, halving_decay(importance[shrunk]))
    return torch.where(shrunk, smaller, layer).masked_fill(zeroed, 0)


def quartiles(scores: Tensor) -> tuple[float, float]:
    """25th and 75th percentile; zeros where there is no score."""
    if not scores.numel():
        return 0.0, 0.0
    low, high = np.quantile(scores.cpu().double().numpy(), [0.25, 0.75])
    return float(low), float(high)
