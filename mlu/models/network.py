"""The one shape that every model has here: a body that gives pooled features, and a linear head."""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's colour channels, for images in [0, 1]."""

POOL = "pool"
"""Name of the stage that pools maps to features."""

ERASER = "erase"
"""Name of the stage that `Network.erase` adds."""

WHOLE = "whole"
"""Name of the only stage of a network that was made elsewhere."""

Weights = Mapping[str, Tensor]
"""Tensors by the names of a network's parameters."""


class Body(nn.Sequential):
    """Named stages from normalised images to pooled features, shape (batch, features)."""


class Network(nn.Module):
    """A classifier of images, uint8 or float in [0, 1], with one logit per label.

    Attributes:
        body: Stages in order; the last pools and flattens.
        head: Linear map from features to logits; row k belongs to label k.
        pixels: Whether images are what is said above, and normalised here; else they are whatever the body takes, which
            gets them as they are.
    """

    mean: Tensor
    std: Tensor
    pixels: bool = True

    def __init__(self, stages: "OrderedDict[str, nn.Module]", features: int, labels: int) -> None:
        super().__init__()
        self.body = Body(stages)
        self.head = nn.Linear(features, labels)
        # Constants of the architecture, no state: a user's weights need not hold them.
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        # Convolutions, on CPUs and GPUs alike, are fastest when the channels of a pixel lie side by side.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def around(cls, body: nn.Module, head: nn.Linear) -> "Network":
        """A network that was made elsewhere: `body` gives pooled features of whatever its images are."""
        net = cls(OrderedDict(), head.in_features, head.out_features)
        net.body.add_module(WHOLE, body)
        net.head, net.pixels = head, False
        return net

    def erase(self, matrix: Tensor, offset: Tensor) -> None:
        """Add a last stage to the body: features become `matrix @ features + offset`; a second one joins the first."""
        earlier = getattr(self.body, ERASER, None)
        if earlier is not None:
            matrix, offset = matrix @ earlier.weight.detach(), matrix @ earlier.bias.detach() + offset
        layer = nn.Linear(len(offset), len(offset)).to(offset)
        layer.load_state_dict({"weight": matrix, "bias": offset})
        self.body.add_module(ERASER, layer)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features, shape (batch, features)."""
        if not self.pixels:
            return self.body(images)
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        images = (images - self.mean) / self.std
        return self.body(images.contiguous(memory_format=torch.channels_last))

    def denormalised(self, images: Tensor) -> Tensor:
        """What the network takes, of normalised images: in [0, 1] and beyond, shape (batch, 3, height, width)."""
        return images * self.std + self.mean if self.pixels else images

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, labels)."""
        return self.head(self.features(images))
