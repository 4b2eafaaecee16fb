"""The retained outputs, fitted anew on the features that fine-tuning leaves."""

import copy

import torch
from torch import Tensor, nn

from mlu.methods.parts.decorrelation import standardised
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.unlearning.contract import Problem

RIDGE = 1e-3
"""Penalty on squared weights of standardised features, beside the mean loss."""

STEPS = 50
"""Most iterations of the fit; it converges within some 20."""


def refit_head(problem: Problem, net: Network, images: int) -> Network:
    """A network whose retained outputs are fitted to plain training images, in place.

    A regularised logistic regression by L-BFGS, from where the rows are: a few steps of fine-tuning
    leave a head that lags behind its features. Forgotten targets are not read.

    Args:
        problem: Its training images, its task and its columns.
        net: In evaluation mode.
        images: How many, drawn by the seed; at most all.
    """
    rows = torch.randperm(len(problem.retain), generator=problem.generator())[:images]
    split = problem.retain.subset(rows.sort().values)
    if len(split) < 2:
        return net

    _, features = respond(net, split)
    fitted = fit(problem, net.head, features.double(), split.targets.double(), split.known)

    retained = list(problem.request.retained)
    with torch.no_grad():
        net.head.weight[retained] = fitted.weight[retained].to(net.head.weight)
        net.head.bias[retained] = fitted.bias[retained].to(net.head.bias)

    return net


@torch.enable_grad()
def fit(
    problem: Problem, head: nn.Linear, features: Tensor, targets: Tensor, known: Tensor
) -> nn.Linear:
    """A head, float64 on the CPU, whose retained rows minimise loss and penalty.

    Args:
        problem: Its task and its columns.
        head: To start from.
        features: Shape (images, features), float64.
        targets: Shape (images, labels).
        known: Likewise.
    """
    task, retained = problem.task, problem.request.retained
    inputs, mean = standardised(features), features.mean(0)
    scale = features.std(0, correction=0).clamp(min=1e-4)

    fitted = copy.deepcopy(head).double().cpu()
    # On standardised features, so that one penalty suits all.
    weight = (fitted.weight.detach() * scale).requires_grad_()
    bias = (fitted.bias.detach() + fitted.weight.detach() @ mean).requires_grad_()
    scope = task.scope(targets, known, retained)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = task.loss(inputs @ weight.T + bias, targets, scope)
        loss = loss + RIDGE * weight[list(retained)].square().sum() / len(retained)
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        fitted.weight.copy_(weight / scale)
        fitted.bias.copy_(bias - fitted.weight @ mean)

    return fitted
