import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from mlu.data.split import Batch
from mlu.methods.parts.losses import forgotten_loss, retained_loss
from mlu.methods.parts.passes import repeated
from mlu.models.network import Network
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class NegGrad(Method):
    """NegGrad+: descends on the retained loss and ascends on the forgotten one.

    Kurmanji et al. (2023). The loss is alpha L_retained - (1 - alpha) L_forgotten, both means over
    one batch of all training images. Ascent without an end turns a binary label round, which an
    attacker reads as well as the label itself; so a batch on which the forgotten output is as wrong
    as its base rate pushes no further. Momentum and other batches may still carry it past that
    point, since nothing pulls it back: keep steps small.

    Attributes:
        alpha: Weight of the retained loss, in [0, 1].
        capped: Whether a batch stops pushing at the loss of the constant base rate; the source does
            not stop.
        tuning: Fine-tuning.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    alpha: float
    capped: bool
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def passes(self, problem: Problem) -> Sequence[Pass]:
        forgotten = problem.request.forgotten

        cap = math.inf
        if self.capped:
            cap = problem.task.ignorance(problem.train.base_rates(), forgotten)

        loss = partial(self.loss, problem, cap)

        return repeated(self.tuning, Pass(images=problem.train, loss=loss))

    def loss(self, problem: Problem, cap: float, net: Network, batch: Batch) -> Tensor:
        """Retained loss less the forgotten one, which counts up to `cap`."""
        logits = net(batch.images)
        ascent = forgotten_loss(logits, batch, problem).clamp(max=cap)
        return self.alpha * retained_loss(logits, batch, problem) - (1 - self.alpha) * ascent
