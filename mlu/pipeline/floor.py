"""The floor: what the true retained labels alone tell of the forgotten ones, before training."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from mlu.attacks.attribute import told_by_retained
from mlu.attacks.parts.readers import LINEAR, logistic_regression
from mlu.data.split import Split, people_drawn
from mlu.metrics.findings import Trial
from mlu.metrics.trials import balanced_accuracy_of
from mlu.models.tasks import ForgetRequest, Task
from mlu.pipeline.context import Context

log = logging.getLogger(__name__)

NEARLY_TOLD = 0.90
"""Balanced accuracy from which on the retained labels tell a forgotten one nearly completely.

A run says so before it starts: what a model that keeps them shows lies between there and 1, so
there is little that forgetting could take away.
"""

MOST_READ = 5_000
"""Images on either side that the floor is found from; of more, people are drawn."""

_STRENGTH = 1.0
"""Inverse of the logistic regression's penalty, as in `conf/attack/aia.yaml`."""


def say_floor(context: Context) -> None:
    """One line for each forgotten label that the retained ones tell nearly completely."""
    data, seed = context.data, context.experiment.seeds.split
    found = floors(context.task, context.request, data.splits, seed)
    for line in floor_lines(data.labels, found):
        log.info("%s", line)


def floors(
    task: Task, request: ForgetRequest, splits: Mapping[str, Split], seed: int
) -> dict[int, float]:
    """The floor of each forgotten column: what attackers who know no model reach.

    It is the figure `proxy/attack/aia/label/<Label>/folded_balanced_accuracy` of a run, but for the
    people: a logistic regression learns from validation people, as there, and is judged on those of
    training, who are strangers to it as well. No test image is read.

    Args:
        task: What targets mean; of classes there is no floor, since the others tell a class by
            definition.
        request: The columns to tell, and those that tell them.
        splits: `train` and `validation` at least.
        seed: Draws people where there are more than MOST_READ images.

    Returns:
        Balanced accuracy in [0.5, 1] by column; without those that cannot be learnt.
    """
    if not task.withholds_labels or not request.retained:
        return {}

    makers = {LINEAR: partial(logistic_regression, _STRENGTH)}
    sides = some_people(splits["validation"], seed), some_people(splits["train"], seed)
    told = told_by_retained(task, request, makers, sides, seed=None)

    found = {}
    for column, trials in told.items():
        (trial,) = trials.values()
        if isinstance(trial, Trial):
            reached = balanced_accuracy_of(trial)
            found[column] = max(reached, 1 - reached)

    return found


def some_people(split: Split, seed: int) -> Split:
    """A split, or MOST_READ images of people drawn from it."""
    (rows,) = people_drawn(split.identities, [MOST_READ], seed)
    return split.subset(rows)


def floor_lines(labels: Sequence[str], found: Mapping[int, float]) -> list[str]:
    """A line for each label whose floor is at NEARLY_TOLD or above; `found` is as in `floors`."""
    return [
        f"{labels[column]}: the retained labels alone tell it to {value:.2f} of balanced accuracy: "
        "nothing below that can be had without losing them"
        for column, value in found.items()
        if value >= NEARLY_TOLD
    ]
