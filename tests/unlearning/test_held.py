from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from mlu.data.split import Split
from mlu.models.network import Network
from mlu.models.tasks import ForgetRequest, MultiLabel
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Problem
from mlu.unlearning.held import HeldHead

TUNING = Tuning(steps=7)


@dataclass(frozen=True, kw_only=True)
class Zeroes(Method):
    """Sets the whole head to zero, and wants it to be free but for its last row."""

    reads_forgotten: ClassVar[bool] = False
    name: str = "zeroes"
    tuning: Tuning = TUNING

    def edit(self, problem):
        head = {"head.weight": torch.zeros(3, 2), "head.bias": torch.zeros(3)}
        last = torch.tensor([torch.inf, torch.inf, 0.0])
        body = {"body.whole.weight": torch.tensor(0.5)}
        return Edit(head, radius={"head.weight": last[:, None], **body})

    def passes(self, problem):
        return ("a pass",)

    def finish(self, problem, net):
        raise AssertionError("the head is touched")


def problem_of():
    net = Network.around(nn.Linear(2, 2), nn.Linear(2, 3)).requires_grad_(False)
    targets = torch.zeros(4, 3)
    split = Split(np.zeros((4, 2)), np.arange(4), targets, targets == 0, np.arange(4))
    request = ForgetRequest((2,), (0, 1))
    return Problem(net, net, MultiLabel(), request, split, split, 0)


def test_retained_rows_stay_and_all_else_is_the_methods():
    problem, held = problem_of(), HeldHead.around(Zeroes())
    edit, head = held.edit(problem), problem.net.head
    assert torch.equal(edit.weights["head.weight"][:2], head.weight[:2])
    assert torch.equal(edit.weights["head.bias"][:2], head.bias[:2])
    assert not edit.weights["head.weight"][2].any()
    assert edit.radius["head.weight"].tolist() == [[0, 0]] * 3
    assert edit.radius["head.bias"].tolist() == [0, 0, torch.inf]
    assert edit.radius["body.whole.weight"] == 0.5
    assert held.passes(problem) == ("a pass",)
    assert held.finish(problem, problem.net) is problem.net


def test_it_goes_by_the_methods_name_and_fine_tuning():
    held = HeldHead.around(replace(Zeroes(), tuning=Tuning(steps=3)))
    assert (held.name, held.tuning.steps, held.rounds) == ("zeroes", 3, 1)
    within = held.within(problem_of())
    assert isinstance(within, HeldHead)
    assert within.tuning == held.tuning
