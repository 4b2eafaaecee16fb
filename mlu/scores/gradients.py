"""Which weights a set of labels depends on, from first derivatives."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mlu.data.split import Batch
from mlu.models.network import Network, Weights
from mlu.tasks import Task

Columns = Sequence[int]


def body_weights(net: Network) -> Weights:
    """The weights of convolutions and linear layers below the head: what scores rank and edits change."""
    return {name: value for name, value in all_weights(net).items() if name.startswith("body.")}


def all_weights(net: Network) -> Weights:
    """The weights of convolutions and linear layers, head included; no biases, no batch norm."""
    return {
        f"{name}.weight": module.weight.detach()
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def sensitivity(
    net: Network, task: Task, batches: Iterable[Batch], columns: Mapping[str, Columns], weights: Weights
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
    sums = {name: zeros_like(weights) for name in columns}
    counts = dict.fromkeys(columns, 0.0)
    for batch, logits, tracked in forward(net, batches, weights):
        terms = task.terms(logits, batch.targets)
        for name, chosen in columns.items():
            scope = task.scope(batch.targets, batch.known, chosen)
            counts[name] += scope.sum().item()
            add(sums[name], slopes((terms * scope).sum(), tracked))
    return {
        name: {layer: (value / max(counts[name], 1)).abs() for layer, value in sums[name].items()} for name in columns
    }


def squared_slopes(
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
    generator: torch.Generator,
    numbers: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Weights]:
    """Sum of the squared gradients of each image's numbers, divided by the number of loss terms in scope.

    Unbiased and without per-image gradients: signs s = +-1 drawn at random for every number give
    E[(d/dw sum_n s_n l_n)^2] = sum_n (d l_n / dw)^2. Its relative error falls with the number of *batches* (about
    sqrt(2 / batches)), so many small ones are better than few large ones.

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
    sums = {name: zeros_like(weights) for name in columns}
    counts = dict.fromkeys(columns, 0.0)
    for batch, logits, tracked in forward(net, batches, weights):
        values = numbers(logits, batch.targets)
        signed = random_signs(values, generator) * values
        for name, chosen in columns.items():
            scope = task.scope(batch.targets, batch.known, chosen)
            counts[name] += scope.sum().item()
            mask = scope if scope.shape == values.shape else task.rows(scope, values.shape[1])
            add(sums[name], [slope.square() for slope in slopes((signed * mask).sum(), tracked)])
    return {name: {layer: value / max(counts[name], 1) for layer, value in sums[name].items()} for name in columns}


def fisher(
    net: Network,
    task: Task,
    batches: Iterable[Batch],
    columns: Mapping[str, Columns],
    weights: Weights,
    generator: torch.Generator,
) -> dict[str, Weights]:
    """Mean squared gradient of each image's and label's loss: the diagonal of the empirical Fisher matrix.

    Arguments and result as of `squared_slopes`; in squared loss per squared unit of weight.
    """
    return squared_slopes(net, task, batches, columns, weights, generator, task.terms)


def forward(net: Network, batches: Iterable[Batch], weights: Weights) -> Iterator[tuple[Batch, Tensor, list[Tensor]]]:
    """Logits of each batch, and the weights that they can be differentiated by."""
    tracked = {name: value.detach().requires_grad_() for name, value in weights.items()}
    for batch in batches:
        with torch.enable_grad():
            yield batch, functional_call(net, tracked, batch.images), list(tracked.values())


def slopes(loss: Tensor, tracked: list[Tensor]) -> list[Tensor]:
    """Gradient of a scalar; the graph stays for the next one. Zero where the loss does not depend on a weight."""
    return list(torch.autograd.grad(loss, tracked, retain_graph=True, materialize_grads=True))


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """+1 or -1 with equal chance, in the shape of `like`."""
    return (2 * torch.randint(0, 2, like.shape, generator=generator) - 1).to(like)


def zeros_like(weights: Weights) -> Weights:
    return {name: torch.zeros_like(value) for name, value in weights.items()}


def add(sums: Weights, values: list[Tensor]) -> None:
    for total, value in zip(sums.values(), values, strict=True):
        total += value
