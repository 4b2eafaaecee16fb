"""The forget set W_f of a run, and what the same method would choose for the other labels."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mlu.metrics.findings import Finding, part_of_path
from mlu.metrics.overlap import Choice, overlap_findings, share_findings
from mlu.models.network import Network, Weights
from mlu.models.tasks import ForgetRequest
from mlu.pipeline.context import Context
from mlu.pipeline.models import Models
from mlu.pipeline.unlearned import in_turn, problem_of
from mlu.system.progress import long_work
from mlu.system.seeding import mixed
from mlu.unlearning.contract import Method, Problem

PATH = "unlearned/forget_set"
RETAINED = "retained"
"""Name of the retained labels together."""


@dataclass(frozen=True)
class ForgetSet:
    """The weights that a method has chosen to treat, in its first round on the original.

    Attributes:
        weights: Bool, by layer; W_r is all that is left.
        findings: How many they are, and how many of them others would have been chosen for.
    """

    weights: Choice = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def forget_set_of(context: Context, models: Models) -> ForgetSet:
    """The forget set of a run; empty where nobody asked, or the method chooses no weights."""
    method = context.experiment.method
    if not context.experiment.forget_set or not isinstance(method, Method):
        return ForgetSet()

    with long_work(f"{method.name}: choosing weights for each label"):
        choices = context.team.run(choices_of, context, method, models.original.net)
    if not choices:
        return ForgetSet()

    ours = choices[""]
    found = [*share_findings(PATH, ours)]
    for name, theirs in choices.items():
        if name:
            found += overlap_findings(f"{PATH}/{name}", ours, theirs)
    for layer, chosen in ours.items():
        theirs = {layer: choices[RETAINED][layer]}
        found += overlap_findings(f"{PATH}/layer/{layer}", {layer: chosen}, theirs)

    return ForgetSet(ours, tuple(found))


def choices_of(context: Context, method: Method, original: Network) -> dict[str, Choice]:
    """Choices of a method for the first request, and for each other label in its place.

    Under no name for the first request, as in the run; under RETAINED for the retained labels
    together, and under `label/<Label>` for each of them, with random choices of its own. Nothing of
    a method that chooses no weights.
    """
    own = next(in_turn(context))
    problem = problem_of(own, original)
    method = method.within(problem)
    ours = method.choice(problem)
    if ours is None:
        return {}

    found: dict[str, Choice] = {"": as_arrays(ours)}
    for name, request in other_requests(own):
        theirs = method.choice(asked_for(problem, request))
        assert theirs is not None
        found[name] = as_arrays(theirs)

    return found


def other_requests(context: Context) -> Iterator[tuple[str, ForgetRequest]]:
    """Requests to forget what is to be retained: all of it, and each label of it."""
    request, labels = context.request, context.data.labels
    yield RETAINED, ForgetRequest(request.retained, request.forgotten)

    everything = sorted((*request.forgotten, *request.retained))
    for column in request.retained:
        others = tuple(other for other in everything if other != column)
        yield f"label/{part_of_path(labels[column])}", ForgetRequest((column,), others)


def asked_for(problem: Problem, request: ForgetRequest) -> Problem:
    """The problem with another request, and with random choices that it shares with none."""
    return replace(problem, request=request, seed=mixed(problem.seed, *request.forgotten))


def as_arrays(choice: Weights) -> dict[str, np.ndarray]:
    """A choice on the CPU, by the names of layers as figures have them."""
    found = {}
    for name, chosen in choice.items():
        layer = name.removeprefix("body.").removesuffix(".weight")
        found[layer] = chosen.cpu().numpy()
    return found
