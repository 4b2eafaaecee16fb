"""The unlearned model: a method carried out on a copy of the original, request after request."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from mlu.metrics.trace import TracePoint
from mlu.models.concepts import with_probes
from mlu.models.network import Network
from mlu.models.tasks import ForgetRequest
from mlu.pipeline.context import Context
from mlu.pipeline.entries import Model, facts_of
from mlu.pipeline.outputs import outputs_by_split
from mlu.pipeline.verification import verification_of
from mlu.pipeline.watching import watch_of
from mlu.system.store import now
from mlu.training.meter import Cost, Meter, measure, phase
from mlu.unlearning.contract import Method, Problem
from mlu.unlearning.unlearner import carry_out


@dataclass(frozen=True)
class Seen:
    """Answers of validation people while a method forgot.

    Attributes:
        trace: Those who were only looked at; empty where nobody watched.
        readings: Balanced accuracy of the strongest reader after each round, of all requests; empty
            where nothing was verified.
    """

    trace: tuple[TracePoint, ...] = ()
    readings: tuple[float, ...] = ()


def unlearned_model(context: Context, method: Method, source: Model) -> Model:
    """Score, edit and fine-tune a copy of the original; everything that it costs is measured.

    It is made anew in every run, so that its trace is always that of this run.
    """
    watched = context.experiment.trace is not None
    net, meter, seen = context.team.run(watched_in_turn, context, method, source.net, watched)
    cost = Cost(**facts_of(meter, context), date=now(), cached=False)
    if same_weights(net, source.net):
        return Model(net, source.outputs, cost, seen.trace, seen.readings)

    remedy = method.tuning.remedy(method.name)
    outputs = context.team.run(outputs_by_split, context, net, remedy)

    return Model(net, outputs, cost, seen.trace, seen.readings)


def same_weights(one: Network, other: Network) -> bool:
    """Whether both say the same of every image."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name].to(ours[name])) for name in ours
    )


def unlearn_in_turn(context: Context, method: Method, source: Network) -> tuple[Network, Meter]:
    """The network after all requests; watched only where that decides which step is kept."""
    watched = context.experiment.keep == "best"
    net, meter, _ = watched_in_turn(context, method, source, watched)
    return net, meter


def watched_in_turn(
    context: Context, method: Method, source: Network, watched: bool
) -> tuple[Network, Meter, Seen]:
    """The network after all requests: what one leaves, the next one takes for the original.

    Args:
        context: Of the run, or of a shadow model.
        method: How to forget.
        source: The original.
        watched: Whether validation people are asked meanwhile.

    Returns:
        The network, what it has cost, and what was seen; nothing where nobody watched.
    """
    net, trace, readings, steps = source, list[TracePoint](), list[float](), 0
    with measure(context.device) as meter:
        net = read_by_probes(context, net) if context.experiment.concept else net
        for number, own in enumerate(in_turn(context), 1):
            watch = watch_of(own, number, steps) if watched else None
            verified = verification_of(own, method)
            problem, loader = problem_of(own, net), context.data.train_batches
            net = carry_out(method, problem, context.trainer, loader, watch, verified)
            if watch is not None:
                trace += watch.points
                steps = watch.steps
            if verified is not None:
                readings += verified.readings

        if context.experiment.concept:
            context.task.silence(net.head, context.request.forgotten, context.train.base_rates())

    return net, meter, Seen(tuple(trace), tuple(readings))


def read_by_probes(context: Context, source: Network) -> Network:
    """A copy of the original whose silent outputs of concepts are read from its features."""
    net, columns = copy.deepcopy(source).to(context.device), context.request.forgotten
    names = [context.data.labels[column] for column in columns]
    with phase("score"):
        return with_probes(net, context.train, columns, names, context.experiment.seeds.method)


def in_turn(context: Context) -> Iterator[Context]:
    """The context of each request.

    What an earlier one withdrew is no longer learnt from, nor retained.
    """
    gone: tuple[int, ...] = ()
    for forgotten in context.requests:
        train = context.task.without(context.train, gone) if gone else context.train
        gone += forgotten
        retained = tuple(column for column in range(len(context.data.labels)) if column not in gone)
        yield replace(context, request=ForgetRequest(forgotten, retained), train=train)


def problem_of(context: Context, source: Network) -> Problem:
    """A method's problem, with a copy of the original that no gradient reaches, on the device."""
    net = copy.deepcopy(source).requires_grad_(False).to(context.device)

    return Problem(
        net=net,
        original=net,
        task=context.task,
        request=context.request,
        train=context.train,
        validation=context.data.splits["validation"],
        seed=context.experiment.seeds.method,
        retraining=passes_of_retraining(context),
    )


def passes_of_retraining(context: Context) -> int:
    """Image passes, forward and backward, of training on what the problem trains on."""
    return 2 * context.experiment.training.epochs * len(context.train)
