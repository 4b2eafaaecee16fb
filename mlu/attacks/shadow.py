"""Membership inference with shadow models: LiRA (online, offline, of unlearned models) and RMIA."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from mlu.attacks.contract import FEWEST_ASKED, Attack, Shadows, ShadowsWanted, Victim
from mlu.metrics.findings import Evidence, Finding, Trial
from mlu.metrics.trials import best_threshold, excesses, low_rate_findings, trial_findings
from mlu.models.outputs import Outputs, joined_outputs

FEW = 32
"""Shadow models on a side, below which all images share one variance (Carlini et al., 2022)."""

_DIGITS = 9
"""Digits of a logarithm that are meant."""

SMALLEST_VARIANCE = 1e-12
"""An output that varies less between shadow models is a constant."""


@dataclass(frozen=True)
class Evaluated:
    """A model under attack and the shadow models, on the images that are asked about and on others.

    Confidences are log odds of what is true, float64, one for each label, NaN where a target is
    unknown.

    Attributes:
        own: Of the model under attack, shape (images, labels).
        shadows: Shape (shadows, images, labels).
        inside: Whether a shadow model learnt from the image, bool, shape (shadows, images).
        own_others: Of the model under attack on images that no model has learnt from, shape
            (others, labels).
        shadows_others: Shape (shadows, others, labels).
        left_out: How many shadow models are missing of those that there are.
        ignored: Which shadow model does not count for an image on either side, bool, shape
            (shadows, images); None for none.
    """

    own: np.ndarray
    shadows: np.ndarray
    inside: np.ndarray
    own_others: np.ndarray
    shadows_others: np.ndarray
    left_out: int = 0
    ignored: np.ndarray | None = None

    @property
    def few(self) -> bool:
        """Whether all images share one variance."""
        return len(self.shadows) + self.left_out < 2 * FEW

    @property
    def learnt(self) -> np.ndarray:
        return self.inside if self.ignored is None else self.inside & ~self.ignored

    @property
    def not_learnt(self) -> np.ndarray:
        return ~self.inside if self.ignored is None else ~self.inside & ~self.ignored

    def as_if(self, number: int) -> "Evaluated":
        """With a shadow model in the place of the one under attack.

        Half of all models learnt from an image. Without this one the halves are unequal, and which
        is the smaller one would tell whether this one did: for each image one more model, of the
        other half, is ignored.
        """
        rest = np.arange(len(self.shadows)) != number
        other_half = self.inside[rest] != self.inside[number]
        drawn = (np.random.default_rng(number).random(other_half.shape) * other_half).argmax(0)

        return Evaluated(
            self.shadows[number],
            self.shadows[rest],
            self.inside[rest],
            self.shadows_others[number],
            self.shadows_others[rest],
            left_out=self.left_out + 1,
            ignored=np.arange(len(self.shadows) - 1)[:, None] == drawn,
        )


Score = Callable[[Evaluated], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ShadowModels(Attack[Trial]):
    """Likelihood-ratio attacks by models that the attacker trains on random halves of all people.

    Every image is in the training of half of the shadow models, so its confidence where it was
    learnt from and where it was not is known as two normal distributions. `lira` (Carlini et al.,
    2022) scores the logarithm of their ratio, summed over labels; `lira/offline` only how far the
    confidence is above that of the shadow models that did not learn from the image. Both use shadow
    models of the original. Those of `ulira` (Hayes et al., 2024) went through all that the model
    under attack went through: shadow models of an unlearned model are unlearned, those of Retrain
    retrained. So do those of `rmia` (Zarifzadeh et al., 2024), which scores how often what the
    image gains over its reference, the models that did not learn from it, is above what a
    validation image gains. `<attack>/forgotten` sees the forgotten outputs alone, in a single-label
    task images of the forgotten classes. The threshold of each comes from the shadow models, each
    in turn under attack by the others.

    Attributes:
        shadows: How many, even, >= 6; 64 and more give steadier figures.
        gamma: By what factor RMIA wants a gain to be above another one, > 0.
        a: RMIA takes a * p + 1 - a for what models say that learnt from an image, where those that
            did not say p; in [0, 1].
        jobs: Shadow models trained side by side, >= 1. It decides nothing but rounding, so it is no
            part of what evidence is kept under.
    """

    name: ClassVar[str] = "lira"
    shadows: int
    gamma: float
    a: float
    jobs: int = field(compare=False)

    def needs(self) -> ShadowsWanted:
        return ShadowsWanted(self.shadows, self.jobs)

    def observe(self, victim: Victim) -> Evidence[Trial]:
        plain, matched = victim.shadows, victim.matched
        assert plain is not None
        assert matched is not None

        evidence: dict[str, Trial | str] = {}
        for suffix, columns in (
            ("", every_label(victim)),
            ("/forgotten", victim.request.forgotten),
        ):
            known, same = evaluated(victim, plain, columns), evaluated(victim, matched, columns)
            evidence[f"lira{suffix}"] = trial(victim, columns, known, online)
            evidence[f"lira/offline{suffix}"] = trial(victim, columns, known, offline)
            evidence[f"ulira{suffix}"] = trial(victim, columns, same, online)
            evidence[f"rmia{suffix}"] = trial(victim, columns, same, self.relative)

        return evidence

    def relative(self, seen: Evaluated) -> np.ndarray:
        """RMIA's score of each image, in [0, 1], shape (images,)."""
        gain = self.log_gain(seen.own, seen.shadows, seen.not_learnt)
        everywhere = np.ones(seen.shadows_others.shape[:2], bool)
        others = np.sort(self.log_gain(seen.own_others, seen.shadows_others, everywhere))
        beaten: np.ndarray = np.searchsorted(others, gain - np.log(self.gamma), side="right")
        return beaten / len(others)

    def log_gain(self, own: np.ndarray, references: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """ln of the probability of what is true over the mean one of other models.

        Half of these are taken to have learnt from the image.
        """
        mean = logsumexp(log_probability(references), axis=0, b=counted) - np.log(counted.sum(0))
        with np.errstate(divide="ignore"):
            halfway = np.logaddexp(np.log((1 + self.a) / 2) + mean, np.log((1 - self.a) / 2))
        gain: np.ndarray = log_probability(own) - halfway
        # Ties must not depend on rounding.
        return gain.round(_DIGITS)

    def conclude(self, evidence: Evidence[Trial]) -> Iterable[Finding]:
        for path, found in evidence.items():
            yield from trial_findings(path, found)
            yield from low_rate_findings(path, found)

    def compare(
        self, evidence: Evidence[Trial], reference: Evidence[Trial] | None
    ) -> Iterable[Finding]:
        return excesses(evidence, reference)


def evaluated(victim: Victim, shadows: Shadows, columns: Sequence[int]) -> Evaluated:
    """Confidences in the labels `columns`.

    Of a single-label task there is but the true class, of images of these.
    """

    def confidences(logits: Tensor, outputs: Outputs) -> np.ndarray:
        targets, known = outputs.targets.double(), outputs.known
        return victim.task.known_confidences(logits.double(), targets, known, columns).numpy()

    names = pool_of(victim)
    asked, others = (
        joined_outputs(*(victim.outputs[name] for name in names)),
        victim.outputs["validation"],
    )
    rows, strange = asked_rows(victim, asked, columns), asked_rows(victim, others, columns)
    pools = torch.cat([shadows.logits[name] for name in names], 1)

    return Evaluated(
        confidences(asked.logits, asked)[rows],
        np.stack([confidences(one, asked)[rows] for one in pools]),
        shadows.inside[:, rows],
        confidences(others.logits, others)[strange],
        np.stack([confidences(one, others)[strange] for one in shadows.logits["validation"]]),
    )


def every_label(victim: Victim) -> range:
    return range(victim.outputs["test"].targets.shape[1])


def pool_of(victim: Victim) -> tuple[str, ...]:
    """The splits whose images are asked about.

    With canaries the question is which of the training images' labels were learnt.
    """
    return ("train", "test") if victim.canaries is None else ("train",)


def asked_rows(victim: Victim, outputs: Outputs, columns: Sequence[int]) -> np.ndarray:
    """Which images speak of `columns`, bool, shape (images,).

    In a single-label task those of these classes.
    """
    return victim.task.images_of(outputs.targets, outputs.known, columns).numpy()


def trial(victim: Victim, columns: Sequence[int], seen: Evaluated, score: Score) -> Trial | str:
    """Scores of every image of the pool, less a threshold.

    It is the one that divides best where shadow models are attacked.
    """
    pool = joined_outputs(*(victim.outputs[name] for name in pool_of(victim)))
    rows = asked_rows(victim, pool, columns)
    truth = np.arange(len(pool)) < len(victim.outputs["train"])
    kept = np.ones(len(pool), bool)
    if victim.canaries is not None:
        # A target that was turned round is not the truth that confidences speak of.
        truth, kept = victim.canaries.supervised, ~victim.canaries.flipped

    truth, kept, persons = truth[rows], kept[rows], pool.identities[rows]
    if min(truth[kept].sum(), (~truth[kept]).sum()) < FEWEST_ASKED or not len(seen.own_others):
        return (
            f"fewer than {FEWEST_ASKED} members or non-members to ask about, "
            "or no validation image to compare with"
        )

    rehearsals = np.concatenate(
        [score(seen.as_if(number))[kept] for number in range(len(seen.shadows))]
    )
    threshold = best_threshold(rehearsals, seen.inside[:, kept].ravel())

    return Trial(score(seen)[kept] - threshold, truth[kept], persons[kept])


def online(seen: Evaluated) -> np.ndarray:
    """ln N(own; learnt) - ln N(own; not learnt), summed over labels, shape (images,)."""
    mean_in, variance_in = normal(seen, seen.learnt)
    mean_out, variance_out = normal(seen, seen.not_learnt)
    varied = (variance_in > SMALLEST_VARIANCE) & (variance_out > SMALLEST_VARIANCE)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.log(variance_out / variance_in)
        distance = (seen.own - mean_out) ** 2 / variance_out - (
            seen.own - mean_in
        ) ** 2 / variance_in

    ratio: np.ndarray = np.nansum(np.where(varied, (spread + distance) / 2, 0), 1)

    return ratio


def offline(seen: Evaluated) -> np.ndarray:
    """Standard deviations above the mean of models that did not learn from the image.

    They are summed over labels, shape (images,).
    """
    mean, variance = normal(seen, seen.not_learnt)
    varied = variance > SMALLEST_VARIANCE
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations: np.ndarray = np.nansum(
            np.where(varied, (seen.own - mean) / np.sqrt(variance), 0), 1
        )
    return deviations


def normal(seen: Evaluated, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over the shadow models of one side, of each image and label.

    Both have the shape (images, labels).

    Args:
        seen: Where they are `few`, all images share one variance of each label, pooled within
            images.
        side: Which models count for an image, bool, shape (shadows, images).
    """
    count = side.sum(0)[:, None]
    mean = np.where(side[:, :, None], seen.shadows, 0).sum(0) / count
    squares = np.where(side[:, :, None], (seen.shadows - mean) ** 2, 0).sum(0)
    if seen.few:
        known = ~np.isnan(squares)
        freedom = ((count - 1) * known).sum(0)
        return mean, np.broadcast_to(np.nansum(squares, 0) / np.maximum(freedom, 1), mean.shape)

    return mean, squares / (count - 1)


def log_probability(confidences: np.ndarray) -> np.ndarray:
    """ln of the probability of all that is known of an image, shape (..., labels) -> (...).

    It comes from log odds.
    """
    # Not a number where a target is unknown.
    with np.errstate(invalid="ignore"):
        surprise: np.ndarray = np.nansum(np.logaddexp(0, -confidences), axis=-1)
    return -surprise
