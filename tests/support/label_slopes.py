"""Slopes of one label's log-odds by all weights, image by image, and a network to take them of."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from mlu.data.split import Split
from mlu.models.network import Network
from mlu.scores.gradients import all_weights

IMAGES, LABELS, COLUMN = 22, 3, 1


def smooth_net() -> Network:
    """Two convolutions with a batch norm, in float64; its loss has all derivatives."""
    torch.manual_seed(0)
    first = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), act=nn.Tanh()))
    pool = nn.AdaptiveAvgPool2d(1)
    last = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(4, 2, 1), act=nn.Tanh(), pool=pool, flat=nn.Flatten())
    )
    net = Network(OrderedDict(first=first, last=last), 2, LABELS).double()
    first.bn.running_mean.normal_()
    first.bn.running_var.uniform_(0.5, 2)
    return net.eval()


def points_of(task, images=IMAGES, side=4, known=1.0):
    random = np.random.default_rng(1)
    targets = torch.from_numpy(random.integers(0, 2, (images, LABELS)))
    if task.name == "singlelabel":
        targets = F.one_hot(torch.from_numpy(random.integers(0, LABELS, images)), LABELS)
    return Split(
        images=random.integers(0, 256, (images, 3, side, side), dtype=np.uint8),
        rows=np.arange(images),
        targets=targets.float(),
        known=torch.from_numpy(random.random((images, LABELS)) < known),
        identities=np.arange(images),
    )


def pixels(points):
    return torch.from_numpy(points.images[points.rows]).double() / 255


class Slopes(NamedTuple):
    """Of the label's log-odds at some images by all weights, shape (images, weights), and its
    probability there."""

    jacobian: Tensor
    prob: Tensor

    def of_loss(self, targets):
        return (self.prob - targets).unsqueeze(1) * self.jacobian

    def curvature(self):
        """Of the mean loss: the Gauss-Newton matrix."""
        weighted = (self.prob * (1 - self.prob)).unsqueeze(1) * self.jacobian
        return self.jacobian.T @ weighted / len(self.prob)


def slopes_of(net, task, images):
    weights = all_weights(net)
    sizes = [value.numel() for value in weights.values()]

    def odds(vector):
        parts = [
            part.view_as(value)
            for part, value in zip(vector.split(sizes), weights.values(), strict=True)
        ]
        prob = task.probs(functional_call(net, dict(zip(weights, parts, strict=True)), images))[
            :, COLUMN
        ]
        return (prob / (1 - prob)).log()

    vector = torch.cat([value.flatten() for value in weights.values()])
    return Slopes(jacrev(odds)(vector), odds(vector).sigmoid())
