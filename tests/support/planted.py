"""A network of two separate halves: channels 0 and 1 carry the forgotten label, channels 2 and 3
the retained ones."""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from mlu.data.split import Split
from mlu.models.network import Network
from mlu.models.tasks import ForgetRequest, MultiLabel
from mlu.unlearning.contract import Problem

FORGOTTEN, RETAINED = slice(0, 2), slice(2, 4)


def planted_net() -> Network:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    stages = OrderedDict(
        conv=conv, relu=nn.ReLU(), pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    net = Network(stages, features=4, labels=3)
    with torch.no_grad():
        net.head.weight[0, RETAINED] = 0
        net.head.weight[1:, FORGOTTEN] = 0
    return net.eval()


def planted_problem(images: int = 64) -> Problem:
    """Label 0 is to be forgotten, of three; pixels and targets are random."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (images, 3, 8, 8), generator=generator, dtype=torch.uint8)
    targets = torch.randint(0, 2, (images, 3), generator=generator).float()
    train = Split(
        pixels.numpy(),
        np.arange(images),
        targets,
        torch.ones_like(targets, dtype=torch.bool),
        np.arange(images),
    )
    net = planted_net().requires_grad_(False)
    return Problem(net, net, MultiLabel(), ForgetRequest((0,), (1, 2)), train, train, seed=0)


def entangled_problem() -> Problem:
    """The planted network with a full head: every weight matters to every label."""
    problem = planted_problem()
    torch.nn.init.normal_(problem.net.head.weight, generator=torch.Generator().manual_seed(5))
    return problem
