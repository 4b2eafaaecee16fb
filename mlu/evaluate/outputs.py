"""What a model says about every image, computed once and read by every metric."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlu.data.split import Split
from mlu.models.network import Network

BATCH = 512


@dataclass(frozen=True)
class Outputs:
    """A model's outputs on one split, on the CPU.

    Attributes:
        logits: float32, shape (images, labels).
        targets: 0 or 1, shape (images, labels).
        known: False where a target is undefined, shape (images, labels).
        identities: Number of the person on each image, shape (images,).
    """

    logits: Tensor
    targets: Tensor
    known: Tensor
    identities: np.ndarray

    def subset(self, rows: Tensor) -> "Outputs":
        return Outputs(self.logits[rows], self.targets[rows], self.known[rows], self.identities[rows.numpy()])


@torch.no_grad()
def logits_of(net: Network, split: Split) -> Tensor:
    """Logits of all images of a split, without augmentation, shape (images, labels), on the CPU."""
    device = next(net.parameters()).device
    net.eval()
    return torch.cat([net(batch.images.to(device)).float().cpu() for batch in split.batches(BATCH)])


def outputs_of(logits: Tensor, split: Split) -> Outputs:
    return Outputs(logits, split.targets, split.known, split.identities)
