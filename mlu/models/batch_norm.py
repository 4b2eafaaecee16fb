"""Batch-norm statistics after weights were edited."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mlu.models.network import Network


def recalibrate(net: Network, images: Iterable[Tensor]) -> None:
    """Replace the running mean and variance of every batch norm by the plain average over batches, in place.

    Editing a convolution changes what flows into the batch norm behind it, so that the stored statistics no longer
    describe it. Batches count alike, so they should be of one size. Uses images only, no targets. Leaves `net` in the
    mode it was in; without images nothing changes.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
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
