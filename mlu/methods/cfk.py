from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlu.methods.parts.anew import new_start
from mlu.methods.parts.passes import retain_passes
from mlu.methods.parts.silence import frozen_rows, silent_head
from mlu.models.network import Network, matrices
from mlu.scores.gradients import every_weight
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class CFk(Method):
    """CF-k: fine-tunes the last k layers on the retained labels; EU-k: trains them anew.

    Goel et al. (2022). Layers are counted from the output: convolutions, linear layers, and what
    attention reads its tokens by. The norms among them move too. All that comes before is frozen,
    with the statistics of its batch norms. The head's forgotten row gets no gradient, and the
    features before the last k layers are the original's, so CF-k barely forgets anything in a
    multi-label task.

    Attributes:
        k: Number of layers, >= 1.
        reinit: Whether they start anew (EU-k): Kaiming-normal weights, zero biases, neutral norms
            (the source leaves those as they were trained), and all else, such as positions, drawn
            with the mean and spread that it had. The forgotten output, which nothing trains then,
            is set to its base rate.
        tuning: Fine-tuning.
    """

    reads_forgotten: ClassVar[bool] = False
    name: str
    k: int
    reinit: bool
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        moving = last_layers(problem.net, self.k)
        frozen = torch.zeros((), device=problem.device)

        radius = {}
        for name in every_weight(problem.net):
            if name.rpartition(".")[0] not in moving:
                radius[name] = frozen

        if not self.reinit:
            return Edit(radius=radius)

        anew = self.anew(problem, moving)

        return Edit(weights=anew | silenced(problem, anew), radius=radius | frozen_rows(problem))

    def anew(self, problem: Problem, moving: list[str]) -> dict[str, Tensor]:
        """Initial weights of the layers that move."""
        generator, anew = problem.generator(), {}
        for name, value in every_weight(problem.net).items():
            if name.rpartition(".")[0] in moving:
                anew[name] = new_start(name, value, generator).to(value)

        return anew

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return retain_passes(problem, self.tuning)


def silenced(problem: Problem, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The head's new weights with the forgotten rows silent."""
    rows, silent = list(problem.request.forgotten), silent_head(problem)
    head = {name: weights[name].clone() for name in silent}
    for name, value in head.items():
        value[rows] = silent[name][rows]

    return head


def last_layers(net: Network, k: int) -> list[str]:
    """Names of the last k layers, and of all else with parameters among and behind them."""
    names, found = [], 0
    for name, module in reversed(list(net.named_modules())):
        if next(module.parameters(recurse=False), None) is not None:
            names.append(name)
        found += bool(matrices(module))
        if found == k:
            break

    return names
