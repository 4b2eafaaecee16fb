"""A limit on the work of forgetting: a share of what training anew would take."""

import math
from dataclasses import dataclass, replace

from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Problem

FEWEST = 2_000
"""Training images below which the limit falls no further: too few steps would forget too little."""

PASSES_TO_SCORE = 3
"""Of a scored image: forward, and backward for the forgotten and for the retained labels."""


@dataclass(frozen=True)
class Work:
    """The work of a round of a method.

    Attributes:
        tuning: Its fine-tuning.
        images: Images that are scored.
        refit: Images that the head is fitted to.
    """

    tuning: Tuning
    images: int = 0
    refit: int = 0

    def passes(self, train: int, soft: float) -> int:
        """Image passes, forward and backward counted apart, up to what an epoch rounds.

        Args:
            train: Images in an epoch.
            soft: With a teacher (> 0) each image of a step takes a pass more.
        """
        tuning = self.tuning
        in_steps = tuning.steps_over(train) * min(tuning.batch_size, train) * (3 if soft else 2)
        afterwards = min(tuning.recalibrate, train) + min(self.refit, train)
        return in_steps + afterwards + PASSES_TO_SCORE * self.images

    def times(self, factor: float, train: int) -> "Work":
        """So many times the work, of one step and two scored images at least where there are any.

        Args:
            factor: In (0, 1].
            train: Images in an epoch.
        """
        tuning, steps = self.tuning, self.tuning.steps_over(train)
        if factor == 1:
            return self
        if tuning.makes_steps:
            recalibrate = math.floor(factor * tuning.recalibrate)
            tuning = replace(
                tuning, steps=max(1, math.floor(factor * steps)), recalibrate=recalibrate
            )

        images = max(2, math.floor(factor * self.images)) if self.images else 0

        return Work(tuning, images, math.floor(factor * self.refit))


def within_share(
    work: Work, problem: Problem, share: float | None, soft: float = 0, rounds: int = 1
) -> Work:
    """The work, or as much less as keeps it within a share of training anew.

    Below FEWEST training images the limit is that of FEWEST: there quality comes first. Where it is
    not known what training takes, there is no limit.

    Args:
        work: Of a round, as it would be without a limit.
        problem: It says what training anew takes.
        share: Most of that which all rounds together may take, > 0; None for any.
        soft: Share of a teacher in the targets.
        rounds: Of the method.
    """
    train = len(problem.train)
    passes = rounds * work.passes(train, soft)
    if share is None or problem.retraining is None or not passes:
        return work

    limit = share * problem.retraining * max(1.0, FEWEST / train)

    return work.times(min(1.0, limit / passes), train)
