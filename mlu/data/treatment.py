"""Changes that picture files undergo before they are learnt, for those who wonder."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL.ImageFile import ImageFile

from mlu.data.base import Images, LabelledImages
from mlu.data.colours import to_srgb
from mlu.data.decoding import BACKGROUND, Samples, layout, opacity, opened_image, orientation
from mlu.data.files import ImageFiles, threads
from mlu.data.folder import all_images
from mlu.data.prepared import PreparedImages

TREATMENTS = {
    "turned": "turned upright, as EXIF or XMP says",
    "composed": f"transparent in part, and laid over {BACKGROUND}",
    "converted": "brought to sRGB of 8 bits, from other colours or more bits",
    "animated": "animated or of several pages, of which the first is taken",
}
"""What may be done to a picture, for those who wonder what is learnt."""

OTHER_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")
"""Modes of Pillow that are neither grey nor red, green and blue."""

LOOKED_INTO = 1024
"""Files whose treatment is asked for at a time."""


def treated_rows(data: LabelledImages, done: Callable[[int], None]) -> dict[str, list[int]]:
    """Rows whose pictures are learnt otherwise than their files' bytes have them.

    Args:
        data: Of any kind; only where its images are files there are any.
        done: Told how many were looked at.

    Returns:
        Rows, ascending, by what is done to them (`TREATMENTS`).
    """
    files, paths = image_files(data.images), data.paths or ()
    if files is None:
        return {}

    found: dict[str, list[int]] = {}
    for start in range(0, len(paths), LOOKED_INTO):
        some = [files.folder / path for path in paths[start : start + LOOKED_INTO]]
        for row, names in enumerate(threads(os.getpid()).map(treatments, some), start):
            for name in names:
                found.setdefault(name, []).append(row)

        done(len(some))

    return {name: found[name] for name in TREATMENTS if name in found}


def image_files(images: Images) -> ImageFiles | None:
    """The files that images come from; None where they are none."""
    images = all_images(images)
    if isinstance(images, PreparedImages):
        images = images.files

    return images if isinstance(images, ImageFiles) else None


def treatments(file: Path) -> list[str]:
    """Names in TREATMENTS of what is done to a file; none where it cannot be read."""
    try:
        with opened_image(file) as image:
            # In this order: some of it is forgotten when the pixels are loaded.
            samples = Samples.of(image)
            found = {
                "converted": converts(image),
                "turned": orientation(image) != 1,
                "composed": see_through(image, samples),
                "animated": getattr(image, "is_animated", False),
            }
    except Exception:  # told where it is decoded
        return []

    return [name for name in TREATMENTS if found[name]]


def see_through(image: ImageFile, samples: Samples) -> bool:
    """Whether a pixel of an open image is not opaque; its pixels are loaded if one may be."""
    if samples.key is None and samples.box is None and not image.has_transparency_data:
        return False

    image.load()
    alpha = opacity(image, samples)

    return alpha is not None and bool(np.asarray(alpha).min() < 255)


def converts(image: ImageFile) -> bool:
    """Whether an open image's colours become others in `coloured`, or have fewer bits."""
    if "16" in layout(image)[1] or image.mode in OTHER_COLOURS or image.mode.startswith("I"):
        return True

    profile = image.info.get("icc_profile")
    bases = ("L", "RGB") if image.mode in ("1", "L", "LA", "La") else ("RGB",)

    return bool(profile) and any(to_srgb(profile, base) is not None for base in bases)
