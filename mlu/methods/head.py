from dataclasses import dataclass, field

from torch import Tensor

from mlu.contracts import Edit, Method, Problem, Tuning
from mlu.data.split import Batch
from mlu.methods.parts import frozen_rows, retained_loss, silent_head
from mlu.models.network import Network


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """Only the forgotten output is made constant: perfect forgetting to whoever reads that output alone.

    The features keep all they knew. It costs nothing, so it is the baseline that every method must beat elsewhere.
    """

    name: str
    tuning: Tuning = field(default_factory=Tuning)

    def edit(self, problem: Problem) -> Edit:
        return Edit(weights=silent_head(problem), radius=frozen_rows(problem))

    def objective(self, net: Network, batch: Batch, problem: Problem, epoch: int) -> Tensor:
        return retained_loss(net(batch.images), batch, problem, teacher=None, soft=0)
