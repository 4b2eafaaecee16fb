"""(G + d)^-1 v for all weights, with G the Gauss-Newton matrix of a label's loss."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mlu.models.network import Network
from mlu.models.tasks import Task
from mlu.scores.gradients import random_signs
from mlu.system.errors import UserError
from mlu.system.seeding import generator as seeded

Iterative = Literal["cg", "kfac"]

DRAWS = 32
"""Draws of random signs for the mean curvature: each covers as few images as that leaves."""

ITERATIONS, TOLERANCE = 50, 1e-3
"""Most steps of conjugate gradients, and the share of the right side that may be left of it."""

SETTINGS: dict[str, Any] = {"check_deterministic": False}


class LabelOdds(nn.Module):
    """A network that gives one label's log-odds, shape (batch, 1)."""

    def __init__(self, net: Network, task: Task, column: int) -> None:
        super().__init__()
        self.net, self.task, self.column = net, task, column

    def forward(self, images: Tensor) -> Tensor:
        return self.task.log_odds(self.net(images))[:, [self.column]]


Data = list[tuple[Tensor, Tensor]]
"""Images and the label's targets of each batch, shapes (batch, ...) and (batch, 1)."""


def damped_inverse(
    solver: Iterative,
    model: LabelOdds,
    parameters: list[nn.Parameter],
    data: Data,
    damping: float,
    seed: int,
) -> Callable[[list[Tensor]], list[Tensor]]:
    """The map v -> (G + d)^-1 v, with d the damping in units of the mean diagonal of G.

    Args:
        solver: `cg`, by conjugate gradients, or `kfac`, by the Kronecker factors of G.
        model: Gives the label's log-odds.
        parameters: Weights of the model that G and v are of.
        data: Images that G is computed on.
        damping: Share of the mean diagonal that is added to it, > 0.
        seed: Seed of the estimate of that mean.
    """
    images = [batch for batch, _ in data]
    absolute = damping * mean_curvature(model, parameters, images, seed)
    make = {"cg": conjugate_gradients, "kfac": kronecker_factors}[solver]
    inverse = make(model, parameters, data, absolute)
    return lambda vector: list(inverse @ vector)


def mean_curvature(
    model: LabelOdds, parameters: list[nn.Parameter], images: list[Tensor], seed: int
) -> float:
    """Mean of the diagonal of G, estimated by random signs."""
    random, total = seeded(seed), 0.0
    count = sum(map(len, images))
    for chunk in (chunk for batch in images for chunk in batch.split(math.ceil(count / DRAWS))):
        odds = model(chunk)
        prob = odds.detach().sigmoid()
        signed = random_signs(odds, random) * (prob * (1 - prob)).sqrt() * odds
        slopes = torch.autograd.grad(signed.sum(), parameters)
        total += sum(slope.square().sum().item() for slope in slopes)

    return total / count / sum(parameter.numel() for parameter in parameters)


def conjugate_gradients(
    model: LabelOdds, parameters: list[nn.Parameter], data: Data, damping: float
) -> Any:
    """The inverse of G + damping as an operator that iterates."""
    # Here: it takes half a second to import, and few runs need it.
    from curvlinops import CGInverseLinearOperator, GGNLinearOperator
    from curvlinops.examples import IdentityLinearOperator

    device, dtype = parameters[0].device, parameters[0].dtype
    shapes = [parameter.shape for parameter in parameters]
    matrix = GGNLinearOperator(model, nn.BCEWithLogitsLoss(), parameters, data, **SETTINGS)

    return CGInverseLinearOperator(
        matrix + damping * IdentityLinearOperator(shapes, device, dtype),
        max_iter=ITERATIONS,
        tolerance=TOLERANCE,
        max_tridiag_iter=0,
        # Its default, 1e-10 whatever the matrix, takes small curvature for none and stops
        # short.
        eps=torch.finfo(dtype).tiny,
    )


def kronecker_factors(
    model: LabelOdds, parameters: list[nn.Parameter], data: Data, damping: float
) -> Any:
    """The inverse of a matrix of Kronecker factors near G, plus the damping, as an operator."""
    # Here: it takes half a second to import, and few runs need it.
    from curvlinops import FisherType, KFACInverseLinearOperator, KFACLinearOperator

    loss, kind = nn.BCEWithLogitsLoss(), FisherType.TYPE2
    try:
        matrix = KFACLinearOperator(model, loss, parameters, data, fisher_type=kind, **SETTINGS)
    except NotImplementedError as fault:
        raise UserError(
            "method.influence=kfac factors convolutions and linear layers alone, and this network "
            "has weights elsewhere (such as torch's MultiheadAttention): use cg or head_exact"
        ) from fault

    return KFACInverseLinearOperator(matrix, damping=damping, use_exact_damping=True)
