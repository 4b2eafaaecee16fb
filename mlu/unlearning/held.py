"""A method that may not touch some rows of the head: those that only stand for what comes below."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from mlu.models.network import Network
from mlu.unlearning.contract import Edit, Method, Pass, Problem

_WEIGHT, _BIAS = "head.weight", "head.bias"


@dataclass(frozen=True, kw_only=True)
class HeldHead(Method):
    """A method whose retained rows of the head stay as they are.

    Of a model without a head they give its embedding as it is, and are taken away in the end: what
    they would learn would be lost. So nothing is fitted to them after fine-tuning either.

    Attributes:
        method: Does all the rest.
    """

    reads_forgotten: ClassVar[bool] = True
    method: Method

    @classmethod
    def around(cls, method: Method) -> "HeldHead":
        """A method, held, by its own name and with its own fine-tuning."""
        held = cls(method=method)
        for name in ("name", "tuning", "rounds"):
            object.__setattr__(held, name, getattr(method, name))
        return held

    def within(self, problem: Problem) -> Method:
        return HeldHead.around(self.method.within(problem))

    def edit(self, problem: Problem) -> Edit:
        edit, kept = self.method.edit(problem), list(problem.request.retained)
        head = dict(problem.net.named_parameters())
        weights, radius = dict(edit.weights), dict(edit.radius)

        for name in (_WEIGHT, _BIAS):
            value = head[name].detach()
            if name in weights:
                weights[name] = weights[name].clone()
                weights[name][kept] = value[kept]

            free = torch.full_like(value, torch.inf)
            bound = radius.get(name, free).expand_as(value).clone()
            bound[kept] = 0
            radius[name] = bound

        return replace(edit, weights=weights, radius=radius)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return self.method.passes(problem)

    def finish(self, problem: Problem, net: Network) -> Network:
        """The network as it is: a last touch would be one to its head."""
        return net
