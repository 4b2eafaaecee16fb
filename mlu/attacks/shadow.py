"""Membership inference with shadow models: LiRA (online, offline, of unlearned models) and RMIA."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mlu.contracts import Attack, Evidence, Finding, Shadows, Trial, Victim
from mlu.metrics.trials import best_threshold, excesses, low_rate_findings, trial_findings
from mlu.models.outputs import Outputs, joined

FEW = 32
"""Shadow models on a side, below which all images share one variance (Carlini et al., 2022)."""
SMALLEST_VARIANCE = 1e-12
"""An output that varies less between shadow models is a constant."""


@dataclass(frozen=True)
class Evaluated:
    """A model under attack and the shadow models, on the images that are asked about and on others.

    Confidences are log odds of what is true, float64, one for each label, 0 where a target is unknown.

    Attributes:
        own: Of the model under attack, shape (images, labels).
        shadows: Shape (shadows, images, labels).
        inside: Whether a shadow model learnt from the image, bool, shape (shadows, images).
        own_others: Of the model under attack on images that no model has learnt from, shape (others, labels).
        shadows_others: Shape (shadows, others, labels).
    """

    own: np.ndarray
    shadows: np.ndarray
    inside: np.ndarray
    own_others: np.ndarray
    shadows_others: np.ndarray

    def as_if(self, number: int) -> "Evaluated":
        """With a shadow model in the place of the one under attack."""
        rest = np.arange(len(self.shadows)) != number
        return Evaluated(
            self.shadows[number],
            self.shadows[rest],
            self.inside[rest],
            self.shadows_others[number],
            self.shadows_others[rest],
        )


Score = Callable[[Evaluated], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ShadowModels(Attack[Trial]):
    """Likelihood-ratio attacks by models that the attacker trains on random halves of all people.

    Every image is in the training of half of the shadow models, so its confidence where it was learnt from and where it
    was not is known as two normal distributions. `lira` (Carlini et al., 2022) scores the logarithm of their ratio,
    summed over labels; `lira/offline` only how far the confidence is above that of the shadow models that did not learn
    from the image. Both use shadow models of the original. Those of `ulira` (Hayes et al., 2024) went through all that
    the model under attack went through: shadow models of an unlearned model are unlearned, those of Retrain retrained.
    So do those of `rmia` (Zarifzadeh et al., 2024), which scores how often what the image gains over its reference, the
    models that did not learn from it, is above what a validation image gains. `<attack>/forgotten` sees the forgotten
    outputs alone. The threshold of each comes from the shadow models, each in turn under attack by the others.

    Attributes:
        shadows: How many, even, >= 4; 64 and more give steadier figures.
        gamma: By what factor RMIA wants a gain to be above another one, > 0.
        a: RMIA takes a * p + 1 - a for what models say that learnt from an image, where those that did not say p; in
            [0, 1].
        jobs: Shadow models trained side by side, >= 1.
    """

    name: ClassVar[str] = "lira"
    shadows: int
    gamma: float
    a: float
    jobs: int

    def observe(self, victim: Victim) -> Evidence[Trial]:
        plain, matched = victim.shadows(self.shadows, self.jobs), victim.matched(self.shadows, self.jobs)
        every, forgotten = range(victim.outputs["test"].targets.shape[1]), victim.request.forgotten
        evidence = {}
        for suffix, columns in (("", every), ("/forgotten", forgotten)):
            known, same = evaluated(victim, plain, columns), evaluated(victim, matched, columns)
            evidence[f"lira{suffix}"] = trial(victim, known, online)
            evidence[f"lira/offline{suffix}"] = trial(victim, known, offline)
            evidence[f"ulira{suffix}"] = trial(victim, same, online)
            evidence[f"rmia{suffix}"] = trial(victim, same, self.relative)
        return evidence

    def relative(self, seen: Evaluated) -> np.ndarray:
        """RMIA's score of each image, in [0, 1], shape (images,)."""
        outside = ~seen.inside
        gain = self.gain(seen.own, (probability(seen.shadows) * outside).sum(0) / outside.sum(0))
        others = np.sort(self.gain(seen.own_others, probability(seen.shadows_others).mean(0)))
        return np.searchsorted(others, gain / self.gamma, side="right") / len(others)

    def gain(self, own: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Probability of what is true over the mean one of models, half of which learnt from the image."""
        return probability(own) / ((1 + self.a) / 2 * reference + (1 - self.a) / 2)

    def conclude(self, evidence: Evidence[Trial]) -> Iterable[Finding]:
        for path, found in evidence.items():
            yield from trial_findings(path, found)
            yield from low_rate_findings(path, found)

    def compare(self, evidence: Evidence[Trial], reference: Evidence[Trial] | None) -> Iterable[Finding]:
        return excesses(evidence, reference)


def evaluated(victim: Victim, shadows: Shadows, columns: Sequence[int]) -> Evaluated:
    """Confidences in the labels `columns`; of a single-label task there is but the true class."""

    def confidences(logits: Tensor, outputs: Outputs) -> np.ndarray:
        found = victim.task.confidences(logits.double(), outputs.targets.double())
        if victim.task.name == "multilabel":
            found = (found * outputs.known)[:, list(columns)]
        return found.numpy()

    names = pool_of(victim)
    asked, others = joined(*(victim.outputs[name] for name in names)), victim.outputs["validation"]
    return Evaluated(
        confidences(asked.logits, asked),
        np.stack([confidences(one, asked) for one in torch.cat([shadows.logits[name] for name in names], 1)]),
        shadows.inside,
        confidences(others.logits, others),
        np.stack([confidences(one, others) for one in shadows.logits["validation"]]),
    )


def pool_of(victim: Victim) -> tuple[str, ...]:
    """The splits whose images are asked about; with canaries, which of the training images' labels were learnt."""
    return ("train", "test") if victim.canaries is None else ("train",)


def trial(victim: Victim, seen: Evaluated, score: Score) -> Trial:
    """Scores of every image of the pool, less the threshold that divides best where shadow models are attacked."""
    rehearsals = np.concatenate([score(seen.as_if(number)) for number in range(len(seen.shadows))])
    names = pool_of(victim)
    members = [np.full(len(victim.outputs[name]), name == "train") for name in names]
    return Trial(
        score(seen) - best_threshold(rehearsals, seen.inside.ravel()),
        np.concatenate(members) if victim.canaries is None else victim.canaries.supervised,
        np.concatenate([victim.outputs[name].identities for name in names]),
    )


def online(seen: Evaluated) -> np.ndarray:
    """ln N(own; learnt) - ln N(own; not learnt), summed over labels, shape (images,)."""
    (mean_in, variance_in), (mean_out, variance_out) = (
        normal(seen.shadows, side) for side in (seen.inside, ~seen.inside)
    )
    varied = (variance_in > SMALLEST_VARIANCE) & (variance_out > SMALLEST_VARIANCE)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (
            np.log(variance_out / variance_in)
            + (seen.own - mean_out) ** 2 / variance_out
            - (seen.own - mean_in) ** 2 / variance_in
        )
    return np.where(varied, ratio / 2, 0).sum(1)


def offline(seen: Evaluated) -> np.ndarray:
    """Standard deviations above the mean of models that did not learn from it, summed over labels, shape (images,)."""
    mean, variance = normal(seen.shadows, ~seen.inside)
    varied = variance > SMALLEST_VARIANCE
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varied, (seen.own - mean) / np.sqrt(variance), 0).sum(1)


def normal(values: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over the models of one side, of each image and label, shape (images, labels) each.

    One variance is shared by all images, for each label, where there are FEW models.

    Args:
        values: Shape (models, images, labels).
        side: Which models count for an image, bool, shape (models, images).
    """
    count = side.sum(0)[:, None]
    mean = np.where(side[:, :, None], values, 0).sum(0) / count
    squares = np.where(side[:, :, None], (values - mean) ** 2, 0).sum(0)
    if count.min() < FEW:
        return mean, np.broadcast_to(squares.sum(0) / (count - 1).sum(), mean.shape)
    return mean, squares / (count - 1)


def probability(confidences: np.ndarray) -> np.ndarray:
    """Of all that is true of an image at once, from log odds, shape (..., labels) -> (...)."""
    return np.exp(-np.logaddexp(0, -confidences).sum(-1))
