"""The trace of a run: what was seen while its method forgot, and the models it is held against."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlu.metrics.trace import RULE, TracePoint
from mlu.pipeline.context import Context
from mlu.pipeline.models import Models
from mlu.pipeline.watching import point_of_model
from mlu.training.meter import measure
from mlu.unlearning.watch import WATCHING

log = logging.getLogger(__name__)

MARKS = ("original", "retrain")
"""Models that the unlearned one is held against."""

PATH = "unlearned/trace"


@dataclass(frozen=True)
class Trace:
    """All that validation people showed in a run.

    Attributes:
        points: Those of MARKS, as far as there are such, and then of the unlearned model.
        seconds: What asking took.
        chosen: Which step of each request was kept, and by which rule, where one was chosen.
    """

    points: tuple[TracePoint, ...] = ()
    seconds: float = 0.0
    chosen: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def trace_of(context: Context, models: Models) -> Trace:
    """The trace of a run; empty where nobody was asked."""
    if context.experiment.trace is None:
        return Trace()

    nets = {name: model.net for name, model in models.judged().items()}
    with measure(context.device) as meter:
        there = [name for name in MARKS if name in nets]
        marks = [context.team.run(point_of_model, context, name, nets[name]) for name in there]
        own = models.unlearned.trace
        if not own:
            # Where Retrain is the method, there is no fine-tuning that anybody could have watched.
            seen = context.team.run(point_of_model, context, "unlearned", nets["unlearned"])
            own = (replace(seen, request=1, round=1, step=0, kept=True),)

    cost = models.unlearned.cost
    spent = 0.0 if cost is None else cost.seconds.get(WATCHING, 0.0)

    return Trace((*marks, *own), meter.seconds["total"] + spent, chosen_steps(context, own))


def chosen_steps(context: Context, points: Sequence[TracePoint]) -> dict[str, dict[str, str]]:
    """Which step each request has left and by which rule; empty where the last is kept.

    With several requests the path of each ends in its number.
    """
    if context.experiment.keep == "last":
        return {}

    chosen = {}
    for point in points:
        if point.kept:
            path = PATH if len(context.requests) == 1 else f"{PATH}/{point.request}"
            chosen[path] = {"step": str(point.step), "round": str(point.round), "rule": RULE}
            log.info("keep=best: step %d of round %d is kept", point.step, point.round)

    return chosen
