import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from mlu.data.split import Batch, count_batches
from mlu.methods.parts.losses import forgotten_loss, retained_loss_by_image
from mlu.methods.parts.passes import repeated
from mlu.methods.parts.projection import orthogonal
from mlu.methods.parts.readings import Scope
from mlu.models.batch_norm import batch_norms
from mlu.models.network import Network
from mlu.system.collectives import all_gather_batch, mean_of_batch, row_by_row
from mlu.system.errors import UserError
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class OrthoGrad(Method):
    """OrthoGrad: ascends on the forgotten loss where no retained image of the batch minds.

    Shamsian et al. (2025, Go Beyond Your Means: Unlearning with Per-Sample Gradient
    Orthogonalization, arXiv 2503.02312). With the gradients of each retained image's
    loss as columns of G, an orthonormal basis Q of what they span, and the gradient g of the
    forgotten loss, a step goes down alpha mean(G) - (1 - alpha) (g - Q Q^T g): to first order the
    ascent changes no retained image's loss. With the mean of G for G it would be NegGrad+ with its
    conflict taken out on average only.

    Where we leave the source: all weights move, not low-rank ones beside them; a step is plain
    descent unless momentum is asked for; the ascent ends where the forgotten output is as wrong as
    its base rate (`capped`), and there is no early stop. Batch norms keep their statistics, so that
    an image's gradient is its own. Written from the equations as others cite them and from public
    code that takes each layer by itself, the paper's own text not being at hand.

    Attributes:
        alpha: Weight of the retained loss, in [0, 1]; 0 ascends alone.
        capped: Whether a batch stops pushing at the loss of the constant base rate.
        scope: Whether the ascent is at right angles to each image's gradient over all weights
            (`global`), or in each `layer` by itself, which protects more and moves less.
        retain_batch_size: Retained images per step, each of which is passed by itself.
        tuning: Fine-tuning on what is forgotten.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    alpha: float
    capped: bool
    scope: Scope
    retain_batch_size: int
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def passes(self, problem: Problem) -> Sequence[Pass]:
        if not count_batches(len(problem.forget), self.tuning.batch_size):
            return []
        if len(problem.retain) < 2:
            raise UserError(
                "orthograd protects what it sees of the rest, and no two training images are "
                "retained: use method=head"
            )
        if self.tuning.statistics != "kept" and batch_norms(problem.net):
            raise UserError(
                "orthograd takes the gradient of each retained image by itself, which "
                f"method.tuning.statistics={self.tuning.statistics} mixes with others: use kept"
            )

        cap = math.inf
        if self.capped:
            cap = problem.task.ignorance(problem.train.base_rates(), problem.request.forgotten)

        one = Pass(
            images=problem.forget,
            beside=problem.retain,
            beside_size=self.retain_batch_size,
            loss=partial(self.loss, problem, cap),
        )

        return repeated(self.tuning, one)

    def loss(
        self, problem: Problem, cap: float, net: Network, batch: Batch, beside: Batch
    ) -> Tensor:
        """Retained loss less the forgotten one, whose slope is that of the projected step.

        Args:
            problem: Task and columns.
            cap: Forgotten loss up to which a batch pushes, in nats.
            net: The network that is tuned.
            batch: What is forgotten.
            beside: What is retained.
        """
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        forgotten = forgotten_loss(net(batch.images), batch, problem).clamp(max=cap)
        own = torch.autograd.grad(forgotten, weights, materialize_grads=True)
        ascent = [mean_of_batch(slope) for slope in own]

        retained, protected = slopes_by_image(problem, net, beside, weights)
        free = orthogonal(ascent, protected, self.scope)
        value = (self.alpha * retained.mean() - (1 - self.alpha) * forgotten).detach()

        # Nothing in value, and in its slope the step.
        steered = torch.zeros_like(value)
        for weight, each, part in zip(weights, protected, free, strict=True):
            step = self.alpha * each.mean(0) - (1 - self.alpha) * part
            steered = steered + ((weight - weight.detach()) * step).sum()

        return value + steered


def slopes_by_image(
    problem: Problem, net: Network, batch: Batch, weights: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Retained loss of each image of a batch, and its gradient, by layer.

    Each image is passed by itself, so that no pass goes through the others.

    Args:
        problem: Task and columns.
        net: Whose batch norms have statistics of their own.
        batch: Images that several processes may share.
        weights: To differentiate by.

    Returns:
        Shape (batch,), and shapes (batch, *layer).
    """
    losses = [weights[0].new_zeros(0)]
    slopes = [[weight.new_zeros(0, *weight.shape)] for weight in weights]

    rows = range(len(batch))[batch.part]
    with row_by_row():
        for image, row in zip(batch.images.unsqueeze(1), rows, strict=True):
            one = Batch(image, batch.targets[[row]], batch.known[[row]])
            loss = retained_loss_by_image(net(image), one, problem)
            found = torch.autograd.grad(loss.sum(), list(weights), materialize_grads=True)
            losses.append(loss.detach())
            for layer, slope in zip(slopes, found, strict=True):
                layer.append(slope.unsqueeze(0))

    return (
        all_gather_batch(torch.cat(losses)),
        [all_gather_batch(torch.cat(layer)) for layer in slopes],
    )
