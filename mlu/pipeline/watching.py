"""Validation people who are asked about a network while a method forgets, and what they show."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from mlu.attacks.parts.cases import Cases, Side
from mlu.attacks.parts.readers import (
    KernelMachine,
    learnt_scores,
    logistic_regression,
    on_standardised,
    side_by_side,
)
from mlu.data.split import Split, people_drawn
from mlu.evaluate.utility import retained_accuracy_finding
from mlu.metrics.trace import Told, TracePoint
from mlu.models.network import Network
from mlu.models.outputs import Answers, Outputs, outputs_of, respond
from mlu.pipeline.context import Context
from mlu.system.collectives import all_gather, current_rank
from mlu.system.errors import UserError
from mlu.unlearning.watch import Watch

MOST_ASKED = 4_000
"""Validation images that are shown to a network at each look; people are drawn where there are
more. A kernel of half of them takes 32 MB."""

FEWEST = 10
"""Images with a label, and without, that either half must have, else the label is not read."""

STRENGTH = 1.0
"""Inverse of the logistic regression's L2 penalty, as in `attack=aia`."""

_VIEW = "features"


@dataclass(frozen=True)
class Audience:
    """Validation people who are asked; nobody of the test split.

    Attributes:
        split: All images that are shown.
        taught: Rows of those that readers learn from.
        judged: Rows of those that readers are judged on, which show other people.
    """

    split: Split
    taught: torch.Tensor
    judged: torch.Tensor

    def can_read(self, column: int) -> bool:
        """Whether both halves show a label both ways often enough."""
        halves = (self.split.subset(rows) for rows in (self.taught, self.judged))
        return all(Side(half).cases(column).fewest >= FEWEST for half in halves)


def audience_of(context: Context) -> Audience:
    """The validation people of a run, in two halves that share no person; by the split's seed."""
    split, seed = context.data.splits["validation"], context.experiment.seeds.split
    if len(split) > MOST_ASKED:
        split = split.subset(people_drawn(split.identities, [MOST_ASKED], seed)[0])

    half = len(split) // 2
    taught, judged = people_drawn(split.identities, [half, len(split) - half], seed)

    return Audience(split, taught, judged)


def try_watching(context: Context) -> None:
    """Refuse to choose a step, or to verify, by labels that cannot be read, before training."""
    verifies = getattr(context.experiment.method, "verify", None) is not None
    if context.experiment.keep != "best" and not verifies:
        return

    asked, instead = ("keep=best", "keep=last")
    if verifies:
        asked, instead = ("method.verify", "method.verify=null")

    audience, labels = audience_of(context), context.data.labels
    for forgotten in context.requests:
        if not any(audience.can_read(column) for column in forgotten):
            names = ", ".join(labels[column] for column in forgotten)
            raise UserError(
                f"{asked}: the validation people show {names} too rarely both ways to read it, "
                f"each half needs {FEWEST} images with it and without: set {instead}"
            )


def watch_of(context: Context, request: int, steps: int) -> Watch:
    """The watch of one request.

    Args:
        context: Of that request.
        request: Its number, from 1.
        steps: Those of earlier requests.
    """
    experiment = context.experiment
    assert experiment.trace is not None

    return Watch(
        every=experiment.trace,
        chooses=experiment.keep == "best",
        show=partial(point_of, context, audience_of(context), "unlearned", request),
        told=partial(log_look, context),
        steps=steps,
    )


def log_look(context: Context, point: TracePoint) -> None:
    """Log one look, as points of curves."""
    if context.logger is not None:
        figures = {f"trace/{path}": value for path, value in point.figures().items()}
        context.logger.log_metrics(figures, point.step)


def point_of_model(context: Context, model: str, net: Network) -> TracePoint:
    """The point that one of a run's models makes."""
    net = copy.deepcopy(net).to(context.device)
    return point_of(context, audience_of(context), model, None, net)


def point_of(
    context: Context, audience: Audience, model: str, request: int | None, net: Network
) -> TracePoint:
    """The point that a network makes before the audience: of all that is not retained any more.

    By several processes together, of which the first one reads.
    """
    logits, features = respond(net, audience.split)
    outputs = outputs_of(audience.split, Answers(logits, {_VIEW: features}))

    found: dict[int, TracePoint] = {}
    if current_rank() == 0:
        found[0] = seen_in(context, audience, outputs, model, request)

    return all_gather(found)[0]


def seen_in(
    context: Context, audience: Audience, outputs: Outputs, model: str, request: int | None
) -> TracePoint:
    """The point that the answers of a network make; without figures where they are not finite."""
    retained, labels = context.request.retained, context.data.labels
    columns = [column for column in range(len(labels)) if column not in retained]
    accuracy: float | None = None
    told: dict[str, Told | None] = dict.fromkeys(labels[column] for column in columns)

    if outputs.logits.isfinite().all() and outputs.stages[_VIEW].isfinite().all():
        accuracy = accuracy_of_retained(context, outputs)
        for column in columns:
            told[labels[column]] = told_of(context, audience, outputs, column)

    return TracePoint(model=model, request=request, retained=accuracy, labels=told)


def accuracy_of_retained(context: Context, outputs: Outputs) -> float | None:
    """`validation/retained/accuracy` of the images that were shown."""
    task, columns = context.task, list(context.request.retained)
    asked = task.images_of(outputs.targets, outputs.known, columns)
    return retained_accuracy_finding(
        task, outputs.subset(asked.nonzero().squeeze(1)), columns
    ).value


def told_of(context: Context, audience: Audience, outputs: Outputs, column: int) -> Told | None:
    """Readings of one forgotten label by its output and by the two quick readers."""
    if not audience.can_read(column):
        return None

    features = outputs.stages[_VIEW].double().numpy()
    said = context.task.predictions(outputs.logits)[:, column].numpy()
    whole = Side(outputs, {_VIEW: features, "said": said}).cases(column)
    fit, asked = (
        Side(outputs.subset(rows), {_VIEW: features[rows]}).cases(column)
        for rows in (audience.taught, audience.judged)
    )

    linear, kernel = readings(fit, asked)

    return Told(folded_accuracy(whole.seen["said"], whole.truth), linear, kernel)


def readings(fit: Cases, asked: Cases) -> list[float]:
    """Readings of images by a logistic regression and a kernel machine that learnt from others."""
    makers = (partial(logistic_regression, STRENGTH), partial(on_standardised, KernelMachine))
    tasks = [partial(learnt_scores, make, _VIEW, fit, asked) for make in makers]
    scores: Sequence[np.ndarray] = side_by_side(tasks, [False] * len(tasks))
    return [folded_accuracy(found > 0, asked.truth) for found in scores]


def folded_accuracy(said: np.ndarray, truth: np.ndarray) -> float:
    """Balanced accuracy of answers, turned round where it is below 0.5."""
    balanced = (said[truth].mean() + (~said[~truth]).mean()) / 2
    return float(0.5 + abs(balanced - 0.5))
