"""Verification within forgetting: validation people are asked after each round of a method.

Paper, Section 4.1: a "secondary verification process" by attacks. The pipeline hands the rounds a
function; methods see no attack.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from lightning.pytorch.utilities.seed import isolate_rng

from mlu.metrics.findings import Finding
from mlu.metrics.trace import TOLD, TracePoint
from mlu.models.network import Network
from mlu.pipeline.context import Context
from mlu.pipeline.watching import audience_of, point_of
from mlu.training.meter import phase
from mlu.unlearning.contract import Method

log = logging.getLogger(__name__)

PATH = "unlearned/verified"

VERIFYING = "verify"
"""Phase that asking is counted under: it is a part of forgetting, and of what that costs."""


@dataclass
class Verification:
    """Asks about what a round has left, and says whether the rounds may end.

    Attributes:
        bound: Most balanced accuracy that any reader may find of any forgotten label.
        ask: Shows a network to validation people.
        readings: What the strongest reader found after each round.
    """

    bound: float
    ask: Callable[[Network], TracePoint]
    readings: list[float] = field(default_factory=list)

    def __call__(self, net: Network) -> bool:
        """Whether no reader finds more of the network than may be found."""
        with phase(VERIFYING), isolate_rng():
            found = strongest_told(self.ask(copy.deepcopy(net)))

        self.readings.append(found)
        number, enough = len(self.readings), found <= self.bound
        then = "enough" if enough else "not enough"
        log.info("verification after round %d: read to %.3f, %s", number, found, then)

        return enough


def verification_of(context: Context, method: Method) -> Verification | None:
    """The verification of one request; None where the method asks for none."""
    if method.verify is None:
        return None
    return Verification(
        method.verify, partial(point_of, context, audience_of(context), "unlearned", None)
    )


def strongest_told(point: TracePoint) -> float:
    """Most that is told of any label, by its output or a reader; 1 where nothing can be read.

    What was not finite, or is not shown both ways, is not verified.
    """
    told = [one for one in point.labels.values() if one is not None]
    if not told:
        return 1.0
    return max(float(getattr(one, name)) for one in told for name in TOLD)


def verification_findings(readings: Sequence[float]) -> Iterator[Finding]:
    """`unlearned/verified/rounds` and `round_<number>/balanced_accuracy` of all requests."""
    if readings:
        yield Finding(f"{PATH}/rounds", float(len(readings)))
    for number, reading in enumerate(readings, 1):
        yield Finding(f"{PATH}/round_{number}/balanced_accuracy", reading)
