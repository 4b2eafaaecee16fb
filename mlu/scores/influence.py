"""Influence of each training point on what a network says of a label (paper, Eq. 2).

I(x) = -g(x')^T H^-1 g(x), with g the gradient of the label's loss, x' a perturbed point and H a
matrix of curvature: the Gauss-Newton matrix of the label's loss, damped. `head_exact` does this for
the head's row of the label alone, where H is small and each point meets its own perturbation. The
others do it for all weights, with the mean of g over all perturbed points in place of each one's,
so that there is one system to solve instead of one for each point.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from mlu.data.split import Batch, Split
from mlu.models.network import Network
from mlu.models.tasks import Task
from mlu.scores.attention import plain_attention
from mlu.scores.gradients import all_weights
from mlu.scores.inverse import Iterative, LabelOdds, damped_inverse
from mlu.system.seeding import generator as seeded

Solver = Literal["head_exact", "cg", "kfac"]
Perturbation = Literal["label_flip", "label_prior", "input_noise"]

BATCH = 128
"""Points per forward pass."""

NOISE = 0.1
"""Standard deviation of `input_noise`, pixels in [0, 1]."""


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
    if not known.any():
        return found

    rows = known.nonzero().squeeze(1)
    pool = Pool(net, task, points.subset(rows), column, perturbation, float(rate), seed)
    if solver == "head_exact":
        found[rows] = pool.in_head(damping)
    else:
        found[rows] = pool.in_all(solver, damping, curvature)

    return found


class HeadView(NamedTuple):
    """The label's output as a linear model of the features.

    Attributes:
        features: Numbers that the head reads of each point and a 1, shape (points, features + 1).
        probs: Probability of the label, shape (points,).
        residuals: Probability less target, the loss's slope by the output, shape (points,).
    """

    features: Tensor
    probs: Tensor
    residuals: Tensor


def joined_views(views: Sequence[HeadView]) -> HeadView:
    """Views of several batches as one."""
    features, probs, residuals = (torch.cat(part) for part in zip(*views, strict=True))
    return HeadView(features, probs, residuals)


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
        """All points, as `ready` makes them."""
        for batch in self.points.batches(BATCH):
            yield self.ready(batch)

    def ready(self, batch: Batch) -> Batch:
        """A batch in the network's dtype and on its device, images in [0, 1] if it takes pixels."""
        batch = batch.to(self.device)
        images = batch.images.to(self.dtype)
        if self.net.pixels:
            images = images / 255
        return Batch(images, batch.targets.to(self.dtype), batch.known)

    def perturbed(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """Images and the label's targets of x', of batch `number`."""
        images, targets = batch.images, batch.targets[:, self.column]

        if self.perturbation == "input_noise":
            noise = torch.randn(images.shape, generator=seeded(self.seed, number)).to(images)
            return images + NOISE * noise, targets
        if self.perturbation == "label_flip":
            return images, 1 - targets

        return images, torch.full_like(targets, self.rate)

    @torch.no_grad()
    def in_head(self, damping: float) -> Tensor:
        """-(p' - y') (p - y) h^T G^-1 h', with h the features and a 1.

        G = E[p (1 - p) h h^T], damped.
        """
        plain, perturbed = [], []
        for number, batch in enumerate(self.batches()):
            plain.append(self.head_view(batch.images, batch.targets[:, self.column]))
            perturbed.append(self.head_view(*self.perturbed(batch, number)))

        own, twin = joined_views(plain), joined_views(perturbed)
        h, bend = own.features, own.probs * (1 - own.probs)
        matrix = (h * bend.unsqueeze(1)).T @ h / len(h)
        damped = matrix + damping * matrix.trace() / len(matrix) * torch.eye(len(matrix)).to(matrix)
        solved = torch.cholesky_solve(h.T, torch.linalg.cholesky(damped)).T

        products = (twin.features * solved).sum(1)

        return (-(twin.residuals * own.residuals) * products).to(self.dtype).cpu()

    def head_view(self, images: Tensor, targets: Tensor) -> HeadView:
        """View of some points, in float64."""
        features = self.net.features(images)
        odds = self.task.log_odds(self.net.head(features))[:, self.column]
        probs = odds.double().sigmoid()
        ones = torch.ones(len(features), 1).to(features)
        return HeadView(torch.cat([features, ones], 1).double(), probs, probs - targets)

    @plain_attention()
    @torch.enable_grad()
    def in_all(self, solver: Iterative, damping: float, curvature: Split) -> Tensor:
        """-v^T (G + d)^-1 g(x), with v the mean gradient over the perturbed points.

        One forward pass over them.
        """
        names = list(all_weights(self.net))
        model = LabelOdds(self.net, self.task, self.column)
        parameters = [self.net.get_parameter(name) for name in names]

        with differentiable(parameters), quiet_libraries():
            slope = self.mean_slope(model, parameters)
            ready = map(self.ready, curvature.batches(BATCH))
            data = [(batch.images, batch.targets[:, [self.column]]) for batch in ready]
            solve = damped_inverse(solver, model, parameters, data, damping, self.seed)
            return -self.inner_products(dict(zip(names, solve(slope), strict=True)))

    def mean_slope(self, model: LabelOdds, parameters: list[nn.Parameter]) -> list[Tensor]:
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

    def inner_products(self, direction: dict[str, Tensor]) -> Tensor:
        """direction^T g(x) of every point, by one forward pass.

        It is the derivative of all losses along one direction.
        """
        weights = tuple(self.net.get_parameter(name).detach() for name in direction)
        along = tuple(direction.values())

        found = []
        for batch in self.batches():
            losses = partial(self.losses, batch, list(direction))
            with torch.no_grad():
                found.append(jvp(losses, weights, along)[1].cpu())

        return torch.cat(found)

    def losses(self, batch: Batch, names: list[str], *weights: Tensor) -> Tensor:
        """The label's loss at each point of a batch, of the network with these weights."""
        changed = dict(zip(names, weights, strict=True))
        logits = functional_call(self.net, changed, batch.images)
        return self.task.label_loss(logits, batch.targets, [self.column]).squeeze(1)


@contextmanager
def differentiable(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Within it these parameters have gradients; afterwards each is as it was."""
    states = [parameter.requires_grad for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)

    try:
        yield
    finally:
        for parameter, state in zip(parameters, states, strict=True):
            parameter.requires_grad_(state)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within it nothing is heard that no user can help.

    Curvlinops and torch's own `jvp` import what torch deprecates, and torch pools slowly under
    vmap.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield
