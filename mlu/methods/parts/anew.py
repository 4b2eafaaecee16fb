"""Weights to start from anew, without those that were learnt."""

import torch
from torch import Tensor, nn


def new_start(name: str, old: Tensor, generator: torch.Generator) -> Tensor:
    """Value that a parameter starts from anew, on the CPU."""
    start = torch.zeros(old.shape)
    if name.endswith("weight") and old.ndim > 1:
        return nn.init.kaiming_normal_(start, nonlinearity="relu", generator=generator)
    if name.endswith("weight"):
        return start + 1
    if name.endswith("bias"):
        return start

    mean, spread = old.mean().item(), old.std(correction=0).item()

    return nn.init.normal_(start, mean, spread, generator=generator)
