"""Fine-tuning passes that several methods make."""

from functools import partial

import torch

from mlu.data.split import Split, count_batches
from mlu.methods.parts.decorrelation import Decorrelation, residual_of
from mlu.methods.parts.losses import edited_loss, loss_of_retained
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Pass, Problem


def repeated(tuning: Tuning, one: Pass) -> list[Pass]:
    """The same pass for as many epochs as the tuning has or needs for its steps."""
    batches = count_batches(len(one.images), one.batch_size or tuning.batch_size)
    return [one] * tuning.epochs_of(batches)


def retain_passes(problem: Problem, tuning: Tuning) -> list[Pass]:
    """Plain fine-tuning on what may be retained."""
    return repeated(tuning, Pass(images=problem.retain, loss=partial(loss_of_retained, problem)))


def tune_passes(
    problem: Problem, tuning: Tuning, soft: float, decorrelation: Decorrelation
) -> list[Pass]:
    """Fine-tuning after an edit; without decorrelation on what may be retained alone."""
    images = problem.train if decorrelation.is_on else problem.retain
    # Without a penalty there is no residual to fit, and no forgotten target is looked at.
    residual = residual_of(problem, decorrelation.conditional and decorrelation.is_on)
    loss = partial(edited_loss, problem, soft, decorrelation, residual)
    return repeated(tuning, Pass(images=images, loss=loss))


def share_of(split: Split, fraction: float, generator: torch.Generator) -> Split:
    """A seeded fraction of a split's images, at least one."""
    count = max(1, round(fraction * len(split)))
    return split.subset(torch.randperm(len(split), generator=generator)[:count].sort().values)
