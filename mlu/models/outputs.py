"""What a model says about every image, computed once and read by every metric and attack."""

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
        features: Pooled features before the head, float32, shape (images, features); None where they were not kept.
    """

    logits: Tensor
    targets: Tensor
    known: Tensor
    identities: np.ndarray
    features: Tensor | None = None

    def subset(self, rows: Tensor) -> "Outputs":
        features = None if self.features is None else self.features[rows]
        return Outputs(self.logits[rows], self.targets[rows], self.known[rows], self.identities[rows.numpy()], features)


@torch.no_grad()
def respond(net: Network, split: Split) -> tuple[Tensor, Tensor]:
    """Logits and pooled features of all images of a split, without augmentation, on the CPU. One pass."""
    device = next(net.parameters()).device
    net.eval()
    logits, features = [], []
    for batch in split.batches(BATCH):
        pooled = net.features(batch.images.to(device))
        logits.append(net.head(pooled).float().cpu())
        features.append(pooled.float().cpu())
    return torch.cat(logits), torch.cat(features)


def outputs_of(split: Split, logits: Tensor, features: Tensor | None = None) -> Outputs:
    return Outputs(logits, split.targets, split.known, split.identities, features)
