"""Scores of the weights that a set of labels depends on, from first derivatives."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from mlu.data.split import Batch
from mlu.models.network import Network, Weights, matrices
from mlu.models.tasks import Task
from mlu.system.collectives import all_reduce, round_robin

Columns = Sequence[int]


def body_weights(net: Network) -> Weights:
    """The weights of `all_weights` below the head: what scores rank and edits change."""
    return {name: value for name, value in all_weights(net).items() if name.startswith("body.")}


def all_weights(net: Network) -> Weights:
    """The weights of convolutions, linear layers and attention, head included.

    No biases, no norms, no tokens.
    """
    weights = {}
    for name, module in net.named_modules():
        for own in matrices(module):
            weights[f"{name}.{own}"] = getattr(module, own).detach()

    return weights


def every_weight(net: Network) -> Weights:
    """All parameters: convolutions, linear layers, biases, batch norms."""
    return {name: value.detach() for name, value in net.named_parameters()}


@torch.enable_grad()
def sensitivity(
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
) -> dict[str, Weights]:
    """|dL/dw| of the mean loss of each set of columns (paper, Eq. 1), in loss per unit of weight.

    Args:
        net: In evaluation mode; not changed.
        task: Of the outputs.
        batches: Images to average over.
        columns: Name -> the columns whose loss is differentiated.
        weights: What to differentiate by: names and values of parameters of `net`.

    Returns:
        Name -> parameter name -> scores >= 0 in the parameter's shape.
    """
    means = Means(weights, columns)
    for batch, mine in round_robin(batches):
        if not mine:
            continue

        logits, tracked = forward(net, batch, weights)
        terms = task.terms(logits, batch.targets)
        for name, chosen in columns.items():
            scope = task.scope(batch.targets, batch.known, chosen)
            means.add(name, scope, slopes((terms * scope).sum(), tracked))

    found: dict[str, Weights] = {}
    for name, slope in means.found().items():
        found[name] = {layer: value.abs() for layer, value in slope.items()}

    return found


@torch.enable_grad()
def squared_slopes(
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
    generator: torch.Generator,
    numbers: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Weights]:
    """Sum of the squared gradients of each image's numbers over the number of terms in scope.

    Unbiased and without per-image gradients: signs s = +-1 drawn at random for every number give
    E[(d/dw sum_n s_n l_n)^2] = sum_n (d l_n / dw)^2. Its relative error falls with the number of
    *batches* (about sqrt(2 / batches)), so many small ones are better than few large ones.

    Args:
        net: In evaluation mode; not changed.
        task: Of the outputs.
        batches: Images to average over.
        columns: Name -> the columns whose losses count.
        weights: What to differentiate by: names and values of parameters of `net`.
        generator: Draws the signs; on the CPU.
        numbers: Of logits and targets, in the shape of a scope or with one for each label.

    Returns:
        Name -> parameter name -> scores >= 0 in the parameter's shape.
    """
    means = Means(weights, columns)
    for batch, mine in round_robin(batches):
        # Of any logits the numbers have this shape: so every process draws the signs of all
        # batches.
        signs = random_signs(numbers(batch.targets, batch.targets), generator)
        if not mine:
            continue

        logits, tracked = forward(net, batch, weights)
        signed = signs * numbers(logits, batch.targets)
        for name, chosen in columns.items():
            scope = task.scope(batch.targets, batch.known, chosen)
            mask = scope if scope.shape == signed.shape else task.rows(scope, signed.shape[1])
            found = slopes((signed * mask).sum(), tracked)
            means.add(name, scope, [slope.square() for slope in found])

    return means.found()


def fisher(
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
    generator: torch.Generator,
) -> dict[str, Weights]:
    """Mean squared gradient of each image's and label's loss.

    It is the diagonal of the empirical Fisher matrix. Arguments and result as of `squared_slopes`;
    in squared loss per squared unit of weight.
    """
    return squared_slopes(net, task, batches, columns, weights, generator, task.terms)


@torch.enable_grad()
def batch_squares(
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
) -> dict[str, Weights]:
    """Mean over batches of the squared gradient of each batch's mean loss.

    Of batches of n images it is about the squared mean gradient plus 1 / n of the images' spread
    around that, so it depends on n; `fisher` is that of n = 1. Arguments and result as of
    `sensitivity`; in squared loss per squared unit of weight.
    """
    means = Means(weights, columns)
    for batch, mine in round_robin(batches):
        if not mine:
            continue

        logits, tracked = forward(net, batch, weights)
        for name, chosen in columns.items():
            scope = task.scope(batch.targets, batch.known, chosen)
            found = slopes(task.loss(logits, batch.targets, scope), tracked)
            means.add(name, torch.ones(1), [slope.square() for slope in found])

    return means.found()


@torch.enable_grad()
def output_slopes(
    net: Network,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
) -> dict[str, Weights]:
    """Mean over batches of |d/dw of the mean squared length of a batch's outputs|.

    It asks how far outputs move with a weight (Aljundi et al. 2018), and reads no target. Of
    batches of one image the paper's mean over images; of larger ones slopes cancel before their
    size is taken, so it depends on the size. Arguments and result as of `sensitivity`; `columns`
    are the outputs whose squares count, and scores are in squared logits per unit of weight.
    """
    means = Means(weights, columns)
    for batch, mine in round_robin(batches):
        if not mine:
            continue

        logits, tracked = forward(net, batch, weights)
        for name, chosen in columns.items():
            length = logits[:, list(chosen)].square().sum(1).mean()
            means.add(name, torch.ones(1), [slope.abs() for slope in slopes(length, tracked)])

    return means.found()


class Means:
    """Means over the terms of a loss, of something that each weight has, by sets of columns."""

    def __init__(self, weights: Weights, columns: Mapping[str, Columns]) -> None:
        self.sums: dict[str, dict[str, Tensor]] = {}
        for name in columns:
            self.sums[name] = {layer: torch.zeros_like(value) for layer, value in weights.items()}
        self.counts = {name: torch.zeros((), dtype=torch.double) for name in columns}

    def add(self, name: str, scope: Tensor, values: Sequence[Tensor]) -> None:
        """Sums over the terms in scope, by weight."""
        self.counts[name] += scope.sum().cpu()
        for total, value in zip(self.sums[name].values(), values, strict=True):
            total += value

    def found(self) -> dict[str, Weights]:
        """Name -> parameter name -> mean, over what all processes have added."""
        everything = list(self.counts.values())
        for sums in self.sums.values():
            everything += sums.values()

        all_reduce(everything)

        means: dict[str, Weights] = {}
        for name, sums in self.sums.items():
            count = max(self.counts[name].item(), 1)
            means[name] = {layer: total / count for layer, total in sums.items()}

        return means


def forward(net: Network, batch: Batch, weights: Weights) -> tuple[Tensor, list[Tensor]]:
    """Logits of a batch, and the weights that they can be differentiated by."""
    tracked = {name: value.detach().requires_grad_() for name, value in weights.items()}
    return functional_call(net, tracked, batch.images), list(tracked.values())


def slopes(loss: Tensor, tracked: list[Tensor]) -> list[Tensor]:
    """Gradient of a scalar, zero where it does not depend on a weight.

    The graph stays for the next one.
    """
    return list(torch.autograd.grad(loss, tracked, retain_graph=True, materialize_grads=True))


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """+1 or -1 with equal chance, in the shape of `like`."""
    return (2 * torch.randint(0, 2, like.shape, generator=generator) - 1).to(like)
