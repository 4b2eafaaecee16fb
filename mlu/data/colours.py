"""Colour profiles: how the numbers of an image become those of sRGB, which screens show."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""Colour space that a profile of each mode of Pillow names."""

SAME = 2
"""Levels by which a colour may change that still is the same: profiles of sRGB differ by that."""

STEPS = 9
"""Levels of red, of green and of blue that are tried."""


@lru_cache(maxsize=64)
def to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The change of colours that a profile asks for.

    Args:
        profile: As it is in the image's file.
        mode: RGB, L or CMYK: what it is to be applied to.

    Returns:
        None where there is nothing to change: it is sRGB, of other images than this, or damaged.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != SPACES[mode]:
            return None

        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")

        return None if leaves_colours(transform, mode) else transform
    except Exception:  # Little CMS has a kind for each damage: viewers overlook such a profile
        return None


def leaves_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether colours all over the range stay what they are."""
    if mode == "CMYK":
        return False

    levels = np.linspace(0, 255, STEPS if mode == "RGB" else 256).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    tried = Image.fromarray(grid if mode == "RGB" else levels[None])

    before = np.asarray(tried.convert("RGB")).astype(int)
    after = np.asarray(transform.apply(tried)).astype(int)

    return bool(np.abs(after - before).max() <= SAME)
