"""The paper's training augmentation (Section 6), and what else a method may want in its place.

It is drawn for each image and applied to whole batches at once.
"""

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mlu.data.split import Batch

MAX_SHEAR = 10.0
"""Degrees, along the horizontal axis."""

SCALES = (0.8, 1.2)
"""Least and most magnification."""

JITTER = 0.2
"""Largest relative change of brightness, contrast and saturation."""

DRAWS = 6
"""Random numbers for each image."""

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey, as in torchvision."""


BORDER = 8
"""Size of an image in widths of the border that it is cut out of: 4 pixels around 32."""

AugmentName = Literal["paper", "crop", "none"]


def augmented(batch: Batch, generator: torch.Generator, kind: AugmentName = "paper") -> Batch:
    """A batch with its images augmented as if all of them were here, whichever part is."""
    if kind == "none":
        return batch

    draws = torch.rand(DRAWS, len(batch), generator=generator)[:, batch.part]
    change = augment if kind == "paper" else crop
    return replace(batch, images=change(batch.images, draws))


def crop(images: Tensor, draws: Tensor) -> Tensor:
    """Each image cut out of itself with a black border, and mirrored by a coin.

    Args:
        images: uint8, or float in [0, 1], shape (batch, 3, height, width).
        draws: In [0, 1), on the CPU; the first three rows count, shape (rows, batch).

    Returns:
        Floats in [0, 1], same shape.
    """
    if images.dtype == torch.uint8:
        images = images.float() / 255

    height, width = images.shape[-2:]
    border = height // BORDER
    top, left = ((2 * border + 1) * draws[1:3].to(images.device)).long()
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    mirrored = (draws[0] < 0.5).to(images.device)[:, None]
    columns = torch.where(mirrored, columns.flip(1), columns)

    around = F.pad(images, [border] * 4).movedim(1, -1)
    number = torch.arange(len(images), device=images.device)[:, None, None]
    return around[number, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


def augment(images: Tensor, draws: Tensor) -> Tensor:
    """Flip, shear, scale and colour jitter, each image by its own draw.

    Args:
        images: uint8, or float in [0, 1], shape (batch, 3, height, width).
        draws: In [0, 1), on the CPU, so that every device sees the same, shape (6, batch).

    Returns:
        Floats in [0, 1], same shape.
    """
    if images.dtype == torch.uint8:
        images = images.float() / 255

    draws = draws.to(images)
    flips = draws[0] < 0.5
    shears = torch.deg2rad(MAX_SHEAR * (2 * draws[1] - 1))
    scales = SCALES[0] + (SCALES[1] - SCALES[0]) * draws[2]
    brightness, contrast, saturation = 1 + JITTER * (2 * draws[3:] - 1)

    return jitter(warp(images, flips, shears, scales), brightness, contrast, saturation)


def warp(images: Tensor, flips: Tensor, shears: Tensor, scales: Tensor) -> Tensor:
    """Mirror, then shear and scale about the centre, bilinearly, black outside.

    Args:
        images: Floats, shape (batch, 3, height, width).
        flips: Which to mirror, bool, shape (batch,).
        shears: Angles along the horizontal axis, in radians, shape (batch,).
        scales: Magnifications, shape (batch,).
    """
    mirror = 1 - 2 * flips.to(scales)
    zero = torch.zeros_like(scales)
    across = torch.stack([mirror / scales, mirror * shears.tan() / scales, zero], 1)
    down = torch.stack([zero, 1 / scales, zero], 1)
    from_output = torch.stack([across, down], 1)
    grid = F.affine_grid(from_output, list(images.shape), align_corners=False)

    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def jitter(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Brightness, contrast and saturation, in this order.

    Each is changed by one factor per image, shape (batch,); 1 changes nothing.
    """
    brightness, contrast, saturation = (
        factor.view(-1, 1, 1, 1) for factor in (brightness, contrast, saturation)
    )
    images = (images * brightness).clamp_(0, 1)
    images = images.lerp(grey_levels(images).mean((2, 3), keepdim=True), 1 - contrast).clamp_(0, 1)
    return images.lerp(grey_levels(images), 1 - saturation).clamp_(0, 1)


def grey_levels(images: Tensor) -> Tensor:
    """Luminance, shape (batch, 1, height, width)."""
    red, green, blue = images.unbind(1)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue).unsqueeze(1)
