"""Batch norm's statistics: after weights were edited, and over several processes."""

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mlu.models.network import Network
from mlu.system.collectives import all_reduce_batch
from mlu.system.errors import UserError


def batch_norms(net: nn.Module) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """Every batch norm by its name."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }


def recalibrate(net: Network, images: Iterable[Tensor], kept: Collection[str] = ()) -> None:
    """Replace the statistics of every batch norm by the plain average over batches, in place.

    Editing a convolution changes what flows into the batch norm behind it, so that the stored
    statistics no longer describe it. Batches count alike, so they should be of one size. Uses
    images only, no targets. Leaves `net` in the mode it was in; without images nothing changes, nor
    do the batch norms whose names are in `kept`.
    """
    norms = [norm for name, norm in batch_norms(net).items() if name not in kept]
    images = list(images)
    if not images or not norms:
        return

    momenta = [norm.momentum for norm in norms]
    modes = {module: module.training for module in net.modules()}
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


class SyncedNorm(nn.modules.batchnorm._BatchNorm):
    """In training, normalises by the mean and variance of the rows of all ranks.

    Where these are not `data_parallel` it does so by its own.
    """

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)

        values = images.to(torch.promote_types(images.dtype, torch.float32))
        axes = [axis for axis in range(values.ndim) if axis != 1]
        shape = [1, -1] + [1] * (values.ndim - 2)

        count = all_reduce_batch(values.new_tensor([values.numel() / values.shape[1]]))
        mean = all_reduce_batch(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = all_reduce_batch(centred.square().sum(axes)) / count
        self.remember(mean.detach(), variance.detach() * count / (count - 1))

        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)

        return scaled.to(images.dtype)

    @torch.no_grad()
    def remember(self, mean: Tensor, variance: Tensor) -> None:
        """Let the running statistics follow."""
        means, variances, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if means is None or variances is None or batches is None:
            return

        batches += 1
        share = 1 / batches.item() if self.momentum is None else self.momentum
        means.lerp_(mean.to(means), share)
        variances.lerp_(variance.to(variances), share)


class Synced1d(SyncedNorm, nn.BatchNorm1d):
    pass


class Synced2d(SyncedNorm, nn.BatchNorm2d):
    pass


class Synced3d(SyncedNorm, nn.BatchNorm3d):
    pass


_SYNCED: dict[type[Any], type[Any]] = {
    nn.BatchNorm1d: Synced1d,
    nn.BatchNorm2d: Synced2d,
    nn.BatchNorm3d: Synced3d,
}
_PLAIN = {synced: plain for plain, synced in _SYNCED.items()}


def sync_norms(net: nn.Module) -> None:
    """Make every batch norm see the rows of all ranks, in place.

    They stay the same objects, of another class.

    Raises:
        UserError: For a kind of batch norm that is not torch's own.
    """
    for name, norm in batch_norms(net).items():
        if type(norm) not in _SYNCED:
            raise UserError(
                f"{name} is a {type(norm).__name__}, which several devices cannot share: "
                "use trainer=default"
            )
        norm.__class__ = _SYNCED[type(norm)]


def unsync_norms(net: nn.Module) -> None:
    """Undo `sync_norms`; nothing happens where that was not done."""
    for norm in batch_norms(net).values():
        norm.__class__ = _PLAIN.get(type(norm), type(norm))
