from dataclasses import dataclass, field

from torch import Tensor

from mlu.contracts import Edit, Method, Problem, Tuning
from mlu.data.split import Batch
from mlu.methods.parts import retained_loss
from mlu.models.network import Network


@dataclass(frozen=True, kw_only=True)
class Original(Method):
    """Forgets nothing: the original as it is, the row that every other one is read against."""

    name: str
    tuning: Tuning = field(default_factory=Tuning)

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def objective(self, net: Network, batch: Batch, problem: Problem, epoch: int) -> Tensor:
        return retained_loss(net(batch.images), batch, problem, teacher=None, soft=0)
