"""Batch-norm statistics after weights were edited."""

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn

from mlu.models.network import Network


def batch_norms(net: nn.Module) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """Every batch norm by its name."""
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}


def recalibrate(net: Network, images: Iterable[Tensor], kept: Collection[str] = ()) -> None:
    """Replace the running mean and variance of every batch norm by the plain average over batches, in place.

    Editing a convolution changes what flows into the batch norm behind it, so that the stored statistics no longer
    describe it. Batches count alike, so they should be of one size. Uses images only, no targets. Leaves `net` in the
    mode it was in; without images nothing changes, nor do the batch norms whose names are in `kept`.
    """
    norms = [norm for name, norm in batch_norms(net).items() if name not in kept]
    images = list(images)
    if not images or not norms:
        return
    momenta, modes = [norm.momentum for norm in norms], {module: module.training for module in net.modules()}
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        with torch.no_grad():
            for batch in images:
                net.features(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
