from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mlu.data.split import Split
from mlu.methods.parts.decorrelation import Decorrelation
from mlu.methods.parts.judging import forgetting_score, retained_accuracy, without_tuning
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
    forgotten_side,
    forgotten_side_and_each_label,
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
from mlu.models.tasks import Groups
from mlu.scores.curvature import Estimator, diagonal
from mlu.scores.gradients import all_weights, sensitivity
from mlu.scores.relative import printed_terms, relative_terms
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem
from mlu.unlearning.edits import above_threshold, bound, halving_decay, highest, shrink

FOLDS = 3
"""Parts of the scored images, each of which judges in turn what the others chose (`cv`)."""

HIGHEST = 0.75
"""Percentile from which on weights are kept and slowed."""

ADAPTATION_BOUNDS = (0.5, 2.0)
"""Least and largest factor on pruned shares (`adaptive`)."""

TOLERATED = 0.01
"""Loss of retained accuracy that halves the pruned share (`adaptive`)."""

GRID = (0.25, 0.5, 0.75)
"""Candidates for `alpha` and `beta` under `cv`."""


@dataclass(frozen=True)
class Derivatives:
    """First and second derivatives of some labels' loss, by layer.

    Attributes:
        slope: Size of the gradient, >= 0.
        bend: Diagonal of the curvature, >= 0.
    """

    slope: Weights
    bend: Weights


Found = Mapping[str, Derivatives]
"""Derivatives by the name of the columns whose loss they are of."""


@dataclass(frozen=True)
class Division:
    """Weights of a layer by what is done to them: bool, in its shape.

    Attributes:
        zeroed: Weights set to 0.
        kept: Weights that keep their value; those that are neither are shrunk.
        slowed: Weights whose learning rate is multiplied by `slow`.
        held: Weights that must stay near where they start.
    """

    zeroed: Tensor
    kept: Tensor
    slowed: Tensor
    held: Tensor


@dataclass(frozen=True, kw_only=True)
class WeightPruning(Method):
    """Weight Pruning: zero, shrink or slow weights of the forgotten labels that others spare.

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
        threshold: In place of a fraction, in [0, 1]: weights are treated whose rank score, scaled
            to a maximum of 1, is above it (Section 3's epsilon); None for `phi`. Not under
            `printed`.
        select: Which weights are treated, as many of each tensor in any case: those of highest rank
            (`score`), or, to see what that choice is worth, drawn at `random` or of lowest rank
            (`worst`). They are divided into zeroed, shrunk and kept as ever. Under `printed` by
            `score` alone.
        scope: Whether `phi`, or under `printed` the percentiles, are meant for each `layer` or for
            the whole network (`global`); None: `global` under `printed`, else `layer`.
        epsilon: How far a treated weight may drift afterwards, >= 0 (Section 4.3); inf is free.
        epsilon_mode: `relative` to the root mean square of the weight's layer, or `absolute`.
        alpha: Weight of the sensitivity, >= 0; `cv` chooses it by cross-validation on the scored
            images.
        beta: Weight of the curvature, >= 0, or `cv`.
        curvature: Estimator of H: `fisher`, `ggn` or `hutchinson` (whose negative values count as
            0).
        lowest: Percentile below which weights are zeroed, in [0, 0.75] (the paper's phi_l, 0.25;
            its phi_h is the 75th, and its phi_m, the 50th, has no part in the rule).
        decay: The paper's lambda, >= 0: the middle half is scaled by exp(-decay I); None takes the
            one that halves a weight of median importance in each layer.
        adaptive: From the second round on, scale the pruned share (`phi`, or under `printed` the
            lowest quarter) by 2 R / (1 + D / 0.01), within [0.5, 2]: R is what the original's
            output for the forgotten label still tells on the network at hand, 2 |AUROC - 0.5|, and
            D what the retained labels have lost of their accuracy, both of validation images.
            Section 4.2 wants shares that adapt by both, without a formula.
        slow: Factor on the learning rate of the kept quarter (the paper's alpha_r), in [0, 1].
        rounds: How often scores, edit and fine-tuning are repeated.
        verify: Rounds end once validation people are read to no more than this balanced accuracy,
            in [0.5, 1], by the forgotten output or a quick reader of the features (Section 4.1);
            `rounds` is then the most. None makes all of them.
        images: Most images that scores are computed on.
        score_batch: Images per random-sign draw of the scores.
        delta: Keeps the ratio of scores finite, in units of the layer's mean score.
        soft: Share of the original's outputs in the retained targets, in [0, 1]; 0 unless
            `selective`.
        decorrelation: Penalty on what the features tell of the forgotten target; ours, off unless
            `selective`.
        refit: Most training images, >= 0, that the retained outputs are fitted to anew after
            fine-tuning; 0 unless `selective`.
        share: Most image passes of all rounds, as a share of what Retrain takes, > 0; None for any.
            Where that is known, scores, steps and statistics are scaled down alike to keep to it.
        tuning: Fine-tuning after each edit.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    reading: ReadingName
    phi: float
    threshold: float | None
    select: SelectName
    scope: Scope | None
    epsilon: float
    epsilon_mode: Literal["relative", "absolute"]
    alpha: float | Literal["cv"]
    beta: float | Literal["cv"]
    curvature: Estimator
    lowest: float
    decay: float | None
    adaptive: bool
    slow: float
    rounds: int
    verify: float | None
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
        if not self.is_scored:
            return self.rule.reading.silenced(problem, Edit())

        with phase("score"):
            settled, found = self.scored(problem)

        with phase("edit"):
            return settled.treat(problem, found)

    def choice(self, problem: Problem) -> Weights | None:
        if not self.is_scored:
            return None
        settled, found = self.scored(problem)
        ours = settled.importances(problem, found["forgotten"])
        parts = settled.rule.divide(settled, problem, ours, found)
        return {name: part.held for name, part in parts.items()}

    def scored(self, problem: Problem) -> tuple["WeightPruning", "Found"]:
        """The method with all that it settles by the scored images, and their derivatives."""
        points = calibration(problem, self.images)
        settled = self.settled(problem, points)
        return settled, settled.scores(problem, points)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return self.rule.reading.passes(problem, self.tuning, self.soft, self.decorrelation)

    def finish(self, problem: Problem, net: Network) -> Network:
        is_ours = self.rule.reading.silences and self.tuning.makes_steps
        return refit_head(problem, net, self.refit if is_ours else 0)

    @property
    def is_scored(self) -> bool:
        """Whether any weight is to be treated; as printed, all are."""
        return self.phi > 0 or self.threshold is not None or self.reading == "printed"

    @property
    def rule(self) -> "Pruning":
        return PRUNING[self.reading]

    @property
    def meant_for(self) -> Scope:
        """Where weights compete: as set, or as the reading has it."""
        return self.scope or self.rule.reading.scope

    def scores(self, problem: Problem, points: Split) -> dict[str, Derivatives]:
        """Derivatives for the forgotten labels, and for all that they are held against."""
        net, batches = speaking(problem), list(on_device(problem, points, self.score_batch))
        weights, columns = self.rule.reading.weights(net), self.rule.columns(problem)

        def curved(estimator: Estimator) -> dict[str, Weights]:
            signs = problem.generator()
            return diagonal(estimator, net, problem.task, batches, columns, weights, signs)

        squares = curved("fisher")
        bends = squares if self.curvature == "fisher" else curved(self.curvature)
        refuse_silence(squares["forgotten"])
        slopes = self.rule.slopes(problem, points, columns, squares)

        found = {}
        for name in columns:
            bend = {layer: value.clamp(min=0) for layer, value in bends[name].items()}
            found[name] = Derivatives(slopes[name], bend)

        return found

    def importances(self, problem: Problem, found: Derivatives) -> Weights:
        """Importance of every weight that is scored (Eq. 3), by layer."""
        assert not isinstance(self.alpha, str)
        assert not isinstance(self.beta, str)

        layers, importances = all_weights(problem.net), {}
        for name, slope in found.slope.items():
            first, second = self.rule.terms(layers[name], slope, found.bend[name])
            importances[name] = self.alpha * first + self.beta * second

        return importances

    def treat(self, problem: Problem, found: Found) -> Edit:
        """Zero, shrink or slow."""
        ours, layers = self.importances(problem, found["forgotten"]), all_weights(problem.net)

        weights, radius, rate = {}, {}, {}
        for name, part in self.rule.divide(self, problem, ours, found).items():
            weights[name] = treated(layers[name], ours[name], part.zeroed, part.kept, self.decay)
            rate[name] = torch.where(part.slowed, self.slow, 1.0)
            radius[name] = bound(layers[name], part.held, self.epsilon, self.epsilon_mode)

        return self.rule.reading.silenced(problem, Edit(weights, radius, rate))

    def settled(self, problem: Problem, points: Split) -> "WeightPruning":
        """The method with the weights of Eq. 3 and the shares that it is to use."""
        settled = self
        if self.adaptive and problem.net is not problem.original:
            factor = self.adapted(problem)
            if self.reading == "printed":
                settled = replace(self, lowest=min(HIGHEST, self.lowest * factor))
            else:
                settled = replace(self, phi=min(1.0, self.phi * factor))

        if "cv" not in (self.alpha, self.beta):
            return settled
        alpha, beta = settled.cross_validated(problem, points)
        return replace(settled, alpha=alpha, beta=beta)

    def adapted(self, problem: Problem) -> float:
        """Factor on the pruned shares by what the rounds so far have left and cost."""
        validation = problem.validation
        told = 1 - forgetting_score(speaking(problem), problem, validation)
        before, now = (
            retained_accuracy(net, problem, validation) for net in (problem.original, problem.net)
        )
        return adaptation(told, before - now)

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
            seen = points.subset((folds != fold).nonzero().squeeze(1))
            held = points.subset((folds == fold).nonzero().squeeze(1))
            if not len(seen) or not len(held):
                continue

            found = self.scores(problem, seen)
            before = retained_accuracy(problem.net, problem, held)
            for number, (alpha, beta) in enumerate(candidates):
                edit = replace(self, alpha=alpha, beta=beta).treat(problem, found)
                net = without_tuning(problem, edit, seen)
                drop = before - retained_accuracy(net, problem, held)
                gains[number] += forgetting_score(net, problem, held) - drop

        return candidates[int(gains.argmax())]

    def candidates(self) -> list[tuple[float, float]]:
        """Weights of Eq. 3 to choose from."""
        if self.alpha == "cv" and self.beta == "cv":
            return [(alpha, 1 - alpha) for alpha in GRID]
        if self.alpha == "cv":
            return [(alpha, float(self.beta)) for alpha in GRID]
        return [(float(self.alpha), beta) for beta in GRID]


def typical_slopes(
    problem: Problem, points: Split, columns: Groups, squares: Mapping[str, Weights]
) -> dict[str, Weights]:
    """Root mean square gradient over images: at an optimum the mean gradient is noise."""
    slopes: dict[str, Weights] = {}
    for name in columns:
        slopes[name] = {layer: value.sqrt() for layer, value in squares[name].items()}
    return slopes


def mean_slopes(
    problem: Problem, points: Split, columns: Groups, squares: Mapping[str, Weights]
) -> dict[str, Weights]:
    """|mean gradient|, as Eq. 1 says."""
    net, batches = speaking(problem), on_device(problem, points, MEAN_BATCH)
    return sensitivity(net, problem.task, batches, columns, all_weights(net))


def by_contrast(
    method: WeightPruning, problem: Problem, ours: Weights, found: Found
) -> dict[str, Division]:
    """Divides the weights that matter more to the forgotten labels than to the retained ones."""
    theirs = method.importances(problem, found["retained"])
    return of_highest(method, problem, contrast(ours, theirs, method.delta), theirs)


def by_neediest(
    method: WeightPruning, problem: Problem, ours: Weights, found: Found
) -> dict[str, Division]:
    """Divides what matters most to the forgotten labels, by the neediest retained one."""
    retained = problem.request.retained
    each = [method.importances(problem, found[str(column)]) for column in retained]
    theirs = {name: torch.stack([one[name] for one in each]).amax(0) for name in ours}
    return of_highest(method, problem, ours, theirs)


def of_highest(
    method: WeightPruning, problem: Problem, ranks: Weights, theirs: Weights
) -> dict[str, Division]:
    """Divides the weights of highest rank by quartiles of what the retained labels need.

    Or those that are selected in their place.
    """
    if method.threshold is None:
        chosen = highest(ranks, dict.fromkeys(ranks, method.phi), method.meant_for)
    else:
        chosen = above_threshold(ranks, method.threshold, method.meant_for)

    divided = {}
    for name, hit in selected(problem, chosen, ranks, method.select).items():
        low, high = quartiles(theirs[name][hit], method.lowest)
        # What the retained labels do not need at all lies *on* the lowest threshold: it goes as
        # well.
        zeroed = hit & (theirs[name] <= low)
        kept = ~hit | (theirs[name] >= high) & ~zeroed
        divided[name] = Division(zeroed, kept, slowed=hit & kept, held=hit)

    return divided


def by_percentiles(
    method: WeightPruning, problem: Problem, ours: Weights, found: Found
) -> dict[str, Division]:
    """Divides all weights by quartiles of their importance for the forgotten labels, as printed."""
    flat = torch.cat([layer.flatten() for layer in ours.values()])
    together = quartiles(flat, method.lowest)

    divided = {}
    for name, layer in ours.items():
        low, high = quartiles(layer, method.lowest) if method.meant_for == "layer" else together
        kept = layer >= high
        divided[name] = Division(layer < low, kept, slowed=kept, held=~kept)

    return divided


def treated(
    layer: Tensor,
    importance: Tensor,
    zeroed: Tensor,
    kept: Tensor,
    decay: float | None = None,
) -> Tensor:
    """A layer with some weights zeroed, some kept, and the others shrunk (Section 4.2).

    Without a `decay` one of median importance among these is halved.

    >>> none = torch.tensor([False, False, False])
    >>> treated(torch.ones(3), torch.tensor([1.0, 2.0, 4.0]), none, none)
    tensor([0.7071, 0.5000, 0.2500])
    """
    shrunk = ~zeroed & ~kept
    decay = halving_decay(importance[shrunk]) if decay is None else decay
    smaller = shrink(layer, importance, decay)
    return torch.where(shrunk, smaller, layer).masked_fill(zeroed, 0)


def adaptation(told: float, lost: float) -> float:
    """Factor on pruned shares: more where the label is still told, less where others have lost.

    Args:
        told: Of the forgotten label, in [0, 1].
        lost: Retained accuracy, less than before; more than before counts as none.

    >>> adaptation(1.0, 0.0), adaptation(1.0, 0.01), adaptation(0.1, 0.0)
    (2.0, 1.0, 0.5)
    """
    least, most = ADAPTATION_BOUNDS
    return min(max(2 * told / (1 + max(lost, 0) / TOLERATED), least), most)


def quartiles(scores: Tensor, lowest: float = 0.25) -> tuple[float, float]:
    """25th, or another lower one, and 75th percentile; zeros where there is no score.

    >>> quartiles(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]))
    (1.0, 3.0)
    """
    if not scores.numel():
        return 0.0, 0.0
    low, high = np.quantile(scores.cpu().double().numpy(), [lowest, HIGHEST])
    return float(low), float(high)


@dataclass(frozen=True)
class Pruning:
    """Weight Pruning as a reading has it.

    Attributes:
        reading: All that it shares with Weight Filtering.
        columns: Gives the sets of columns whose losses are differentiated, by name; one of them is
            `forgotten`.
        slopes: Gives the sizes of gradients, from images or from mean squared gradients.
        terms: Gives both terms of Eq. 3 of a layer, of its slope and bend.
        divide: Gives the division of each layer by the importances for the forgotten labels and
            by all derivatives.
    """

    reading: Reading
    columns: Callable[[Problem], Groups]
    slopes: Callable[[Problem, Split, Groups, Mapping[str, Weights]], dict[str, Weights]]
    terms: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    divide: Callable[[WeightPruning, Problem, Weights, Found], dict[str, Division]]


PRUNING: dict[ReadingName, Pruning] = {
    "selective": Pruning(SELECTIVE, both_sides, typical_slopes, relative_terms, by_contrast),
    "above": Pruning(
        ABOVE, forgotten_side_and_each_label, typical_slopes, relative_terms, by_neediest
    ),
    "printed": Pruning(PRINTED, forgotten_side, mean_slopes, printed_terms, by_percentiles),
}
