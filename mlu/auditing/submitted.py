"""The judgement of submitted weights: the verdict over replicates, and whose models they are."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mlu.auditing.exhibits import Exhibit, exhibits_of, network_of
from mlu.auditing.inquiry import Inquiry
from mlu.auditing.population import JUDGED, Population, population_of
from mlu.auditing.run import run_with
from mlu.data.split import Split
from mlu.models.outputs import respond
from mlu.runs.challenge import Challenge
from mlu.runs.ratings import Rating, rating_of_runs
from mlu.runs.read import Run
from mlu.runs.submission import Submission
from mlu.system.errors import UserError
from mlu.system.progress import long_work

log = logging.getLogger(__name__)

ALIKE = 0.05
"""Models whose logits differ by less, as a share of what lies between original and Retrain, are one
and the same: training anew from another seed moves them as far as that, and further."""

_COMPARED = 500
"""Test images on which that is seen, at most."""


@dataclass(frozen=True)
class Hearing:
    """One replicate of a submission, judged.

    Attributes:
        run: All figures, as a run has them.
        unchanged: Whether it says what the original says.
        copied: Whether it says what some Retrain of the challenge says.
    """

    run: Run
    unchanged: bool
    copied: bool


def rated(
    submission: Submission, challenge: Challenge, inquiries: Sequence[Inquiry]
) -> tuple[Rating, list[Run]]:
    """The rating of a submission, and the figures of each replicate.

    Args:
        submission: Whose weights fit.
        challenge: What it is to.
        inquiries: One of each replicate, in their order, with `after` and `retrain`.

    Raises:
        UserError: If weights say what is no number, with their file.
    """
    retrains = [challenge.retrain(one) for one in challenge.facts.replicates]
    hearings = []
    for replicate, inquiry in zip(challenge.facts.replicates, inquiries, strict=True):
        log.info("%s, replicate %d", submission.name, replicate.number)
        try:
            hearings.append(heard(inquiry, challenge.original(replicate), retrains))
        except UserError as fault:
            raise UserError(f"{submission.folder / replicate.file}: {fault}") from fault

    runs = [one.run for one in hearings]
    rating = rating_of_runs(
        submission.name,
        runs,
        challenge.facts.limits,
        unchanged=[number for number, one in enumerate(hearings, 1) if one.unchanged],
        copied=[number for number, one in enumerate(hearings, 1) if one.copied],
    )
    about = submission.about

    return replace(
        rating,
        method=about.method,
        seconds=about.seconds,
        passes=about.image_passes,
        files=submission.files,
        challenge=challenge.sha256,
    ), runs


def heard(inquiry: Inquiry, original: Path, retrains: Sequence[Path]) -> Hearing:
    """One replicate: its people are drawn, its models asked and attacked.

    Args:
        inquiry: With `after` and `retrain`.
        original: The weights before.
        retrains: Those of all Retrains that are given.
    """
    population = population_of(inquiry)
    with long_work("asking the models"):
        exhibits = exhibits_of(inquiry, population)
    unchanged, copied = whose(inquiry, population, exhibits["unlearned"], original, retrains)

    return Hearing(run_with(inquiry, population, exhibits), unchanged, copied)


def whose(
    inquiry: Inquiry,
    population: Population,
    ours: Exhibit,
    original: Path,
    retrains: Sequence[Path],
) -> tuple[bool, bool]:
    """Whether a model says what the original says, and whether what some Retrain says.

    Logits are compared and not weights: these can be ordered otherwise, or moved a little, and the
    model is still the same. Of Retrains those of the retained labels count: what the forgotten
    output says can be anything.
    """
    split = population.own_split(JUDGED)
    split = split.subset(torch.arange(min(_COMPARED, len(split))))
    said = ours.own[JUDGED].logits[: len(split)]

    before = logits_of(inquiry, population, original, split)
    own_retrain = inquiry.models["retrain"]
    assert isinstance(own_retrain, Path)
    anew = {path: logits_of(inquiry, population, path, split) for path in (own_retrain, *retrains)}

    retained = list(population.own.retained)
    span = anew[own_retrain][:, retained] - before[:, retained]
    copied = any(is_alike(said[:, retained], other[:, retained], span) for other in anew.values())

    return is_alike(said, before, anew[own_retrain] - before), copied


def logits_of(inquiry: Inquiry, population: Population, path: Path, split: Split) -> Tensor:
    """Logits of a given model, shape (images, labels)."""
    logits, _ = respond(network_of(inquiry, population, path.name, path), split)
    return logits


def is_alike(one: Tensor, other: Tensor, span: Tensor) -> bool:
    """Whether two models are the same but for ALIKE of a difference, in root mean square.

    >>> first, second = torch.zeros(4), torch.ones(4)
    >>> is_alike(0.01 * second, first, second), is_alike(0.1 * second, first, second)
    (True, False)
    """
    distance, width = (float(part.double().square().mean().sqrt()) for part in (one - other, span))
    return distance <= ALIKE * width
