"""How much each training point bears on what a network says of a label (paper, Eq. 2).

I(x) = -g(x')^T H^-1 g(x), with g the gradient of the label's loss, x' a perturbed point and H a
matrix of curvature: the Gauss-Newton matrix of the label's loss, damped. `head_exact` does this for
the head's row of the label alone, where H is small and each point meets its own perturbation. The
others do it for all weights, with the mean of g over all perturbed points in place of each one's,
so that there is one system to solve instead of one for each point.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from mlu.data.split import Batch, Split
from mlu.models.network import Network
from mlu.models.tasks import Task
from mlu.scores.attention import plain_attention
from mlu.scores.gradients import all_weights, random_signs
from mlu.system.errors import UserError
from mlu.system.seeding import generator as seeded

Solver = Literal["head_exact", "cg", "kfac"]
Perturbation = Literal["label_flip", "label_prior", "input_noise"]

BATCH = 128

DRAWS = 32
"""Of random signs for the mean curvature: each covers as few images as that leaves."""

NOISE = 0.1
"""Standard deviation of `input_noise`, pixels in [0, 1]."""

ITERATIONS, TOLERANCE = 50, 1e-3
"""Of conjugate gradients: at most so many, until the residual is this share of the right side."""


def influence(
    solver: Solver,
    net: Network,
    task: Task,
    points: Split,
    column: int,
    perturbation: Perturbation,
    damping: float,
    curvature: Split,
    seed: int,
) -> Tensor:
    """Influence of each point on one label, shape (points,), in nats and the network's dtype.

    To first order, training without the point changes the label's loss at x' by -I / n; so a point
    helps there if I < 0. Where x' has the inverted label, no point's own influence is negative
    (`head_exact`).

    Args:
        solver: `head_exact` (a Cholesky factor of one row's curvature), `cg` (conjugate gradients)
            or `kfac` (Kronecker-factored curvature), see the module's text.
        net: In evaluation mode; not changed.
        task: Of the outputs.
        points: Training points; where the label is unknown the influence is 0.
        column: The label.
        perturbation: Of x': the label inverted, the label replaced by its base rate, or noise on
            the image.
        damping: Added to the diagonal of the curvature, as a share of its mean, > 0.
        curvature: Images that the curvature of `cg` and `kfac` is computed on; better none of the
            points, since those that it covers seem less influential than the others. Its targets
            are not read.
        seed: Of the noise.
    """
    known = points.known[:, column]
    rate = points.base_rates()[column]
    found = torch.zeros(len(points), dtype=net.head.weight.dtype)
    if known.any():
        rows = known.nonzero().squeeze(1)
        pool = Pool(net, task, points.subset(rows), column, perturbation, float(rate), seed)
        found[rows] = (
            pool.in_head(damping)
            if solver == "head_exact"
            else pool.in_all(solver, damping, curvature)
        )

    return found


class Pool:
    """Points whose label is known, and their perturbed twins."""

    def __init__(
        self,
        net: Network,
        task: Task,
        points: Split,
        column: int,
        perturbation: Perturbation,
        rate: float,
        seed: int,
    ) -> None:
        self.net, self.task, self.points, self.column = net, task, points, column
        self.perturbation, self.rate, self.seed = perturbation, rate, seed
        self.device, self.dtype = net.head.weight.device, net.head.weight.dtype

    def batches(self) -> Iterator[Batch]:
        """All points, images in [0, 1] (or as the network takes them), in its dtype and on its
        device."""
        for batch in self.points.batches(BATCH):
            yield self.ready(batch)

    def ready(self, batch: Batch) -> Batch:
        batch = batch.to(self.device)
        images = batch.images.to(self.dtype)
        return Batch(
            images / 255 if self.net.pixels else images, batch.targets.to(self.dtype), batch.known
        )

    def perturbed(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """Images and the label's targets of x', of batch `number`."""
        images, targets = batch.images, batch.targets[:, self.column]
        if self.perturbation == "input_noise":
            noise = torch.randn(images.shape, generator=seeded(self.seed, number)).to(images)
            return images + NOISE * noise, targets
        return images, 1 - targets if self.perturbation == "label_flip" else torch.full_like(
            targets, self.rate
        )

    @torch.no_grad()
    def in_head(self, damping: float) -> Tensor:
        """-(p' - y') (p - y) h^T G^-1 h', with G = E[p (1 - p) h h^T] and h the features and a 1."""
        sides: tuple[list[tuple[Tensor, ...]], ...] = ([], [])
        for number, batch in enumerate(self.batches()):
            plain = (batch.images, batch.targets[:, self.column])
            for side, (images, targets) in zip(
                sides, (plain, self.perturbed(batch, number)), strict=True
            ):
                features = self.net.features(images)
                prob = (
                    self.task.log_odds(self.net.head(features))[:, self.column].double().sigmoid()
                )
                ones = torch.ones(len(features), 1).to(features)
                side.append((torch.cat([features, ones], 1).double(), prob, prob - targets))

        (h, p, residual), (twin, _, twin_residual) = (
            [torch.cat(part) for part in zip(*side, strict=True)] for side in sides
        )
        matrix = (h * (p * (1 - p)).unsqueeze(1)).T @ h / len(h)
        damped = matrix + damping * matrix.trace() / len(matrix) * torch.eye(len(matrix)).to(matrix)
        solved = torch.cholesky_solve(h.T, torch.linalg.cholesky(damped)).T

        return (-(twin_residual * residual) * (twin * solved).sum(1)).to(self.dtype).cpu()

    @plain_attention()
    @torch.enable_grad()
    def in_all(self, solver: Solver, damping: float, curvature: Split) -> Tensor:
        """-v^T (G + d)^-1 g(x), with v the mean gradient over the perturbed points; one forward
        pass over them."""
        names = list(all_weights(self.net))
        model = LabelOdds(self.net, self.task, self.column)
        parameters = [self.net.get_parameter(name) for name in names]
        states = [parameter.requires_grad for parameter in parameters]
        for parameter in parameters:
            parameter.requires_grad_(True)

        try:
            with warnings.catch_warnings():
                # No user can help that curvlinops and torch's own `jvp` import what torch
                # deprecates, and that torch pools slowly under vmap.
                warnings.simplefilter("ignore", FutureWarning)
                warnings.filterwarnings("ignore", "There is a performance drop")
                slope = self.mean_slope(model, parameters)
                solve = self.solver(solver, model, parameters, damping, curvature)
                return -self.inner_products(dict(zip(names, solve(slope), strict=True)))
        finally:
            for parameter, state in zip(parameters, states, strict=True):
                parameter.requires_grad_(state)

    def mean_slope(self, model: "LabelOdds", parameters: list[nn.Parameter]) -> list[Tensor]:
        """Gradient of the label's mean loss over the perturbed points."""
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for number, batch in enumerate(self.batches()):
            images, targets = self.perturbed(batch, number)
            loss = nn.functional.binary_cross_entropy_with_logits(
                model(images).squeeze(1), targets, reduction="sum"
            )
            for sum_, slope in zip(total, torch.autograd.grad(loss, parameters), strict=True):
                sum_ += slope
        return [sum_ / len(self.points) for sum_ in total]

    def solver(
        self,
        solver: Solver,
        model: "LabelOdds",
        parameters: list[nn.Parameter],
        damping: float,
        curvature: Split,
    ) -> Callable[[list[Tensor]], list[Tensor]]:
        """v -> (G + d)^-1 v."""
        # Here: it takes half a second to import, and few runs need it.
        from curvlinops import (
            CGInverseLinearOperator,
            FisherType,
            GGNLinearOperator,
            KFACInverseLinearOperator,
            KFACLinearOperator,
        )
        from curvlinops.examples import IdentityLinearOperator

        ready = map(self.ready, curvature.batches(BATCH))
        data = [(batch.images, batch.targets[:, [self.column]]) for batch in ready]
        loss, settings = nn.BCEWithLogitsLoss(), {"check_deterministic": False}
        absolute = damping * self.mean_curvature(model, parameters, [images for images, _ in data])
        if solver == "kfac":
            try:
                kronecker = KFACLinearOperator(
                    model, loss, parameters, data, fisher_type=FisherType.TYPE2, **settings
                )
            except NotImplementedError as fault:
                raise UserError(
                    "method.influence=kfac factors convolutions and linear layers alone, and this network has weights "
                    "elsewhere (such as torch's MultiheadAttention): use cg or head_exact"
                ) from fault

            inverse = KFACInverseLinearOperator(kronecker, damping=absolute, use_exact_damping=True)
            return lambda vector: list(inverse @ vector)

        matrix = GGNLinearOperator(model, loss, parameters, data, **settings)
        identity = IdentityLinearOperator(
            [parameter.shape for parameter in parameters], self.device, self.dtype
        )
        inverse = CGInverseLinearOperator(
            matrix + absolute * identity,
            max_iter=ITERATIONS,
            tolerance=TOLERANCE,
            max_tridiag_iter=0,
            # Its default, 1e-10 whatever the matrix, takes small curvature for none and stops
            # short.
            eps=torch.finfo(self.dtype).tiny,
        )

        return lambda vector: list(inverse @ vector)

    def mean_curvature(
        self, model: "LabelOdds", parameters: list[nn.Parameter], images: list[Tensor]
    ) -> float:
        """Mean of the diagonal of the matrix, estimated by random signs."""
        random, total = seeded(self.seed), 0.0
        count = sum(map(len, images))
        for chunk in (chunk for batch in images for chunk in batch.split(math.ceil(count / DRAWS))):
            odds = model(chunk)
            prob = odds.detach().sigmoid()
            signed = random_signs(odds, random) * (prob * (1 - prob)).sqrt() * odds
            total += sum(
                slope.square().sum().item()
                for slope in torch.autograd.grad(signed.sum(), parameters)
            )

        return total / count / sum(parameter.numel() for parameter in parameters)

    def inner_products(self, direction: dict[str, Tensor]) -> Tensor:
        """direction^T g(x) of every point: the derivative of all losses along one direction, in one
        forward pass."""
        names = list(direction)
        weights = tuple(self.net.get_parameter(name).detach() for name in names)
        found = []
        for batch in self.batches():

            def losses(*values: Tensor, batch: Batch = batch) -> Tensor:
                logits = functional_call(
                    self.net, dict(zip(names, values, strict=True)), batch.images
                )
                return self.task.label_loss(logits, batch.targets, [self.column]).squeeze(1)

            with torch.no_grad():
                along = jvp(losses, weights, tuple(direction.values()))[1]
            found.append(along.cpu())

        return torch.cat(found)


class LabelOdds(nn.Module):
    """A network that gives one label's log-odds, shape (batch, 1)."""

    def __init__(self, net: Network, task: Task, column: int) -> None:
        super().__init__()
        self.net, self.task, self.column = net, task, column

    def forward(self, images: Tensor) -> Tensor:
        return self.task.log_odds(self.net(images))[:, [self.column]]
