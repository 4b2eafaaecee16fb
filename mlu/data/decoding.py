"""An image file as a viewer shows it: the one way from bytes to pixels.

Turned as its EXIF or XMP says, its first frame, its colours in sRGB and in 8 bits, what is
transparent over white. What nobody can show truthfully is refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mlu.data.colours import to_srgb
from mlu.data.recognition import is_camera_raw, unreadable_kind
from mlu.system.errors import UserError, first_line

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF")
"""Kinds that an image file may have, whatever its name ends with.

Pillow knows more, and for one of them, EPS, it starts Ghostscript: a program that runs what is
written in the file.
"""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture of each orientation in EXIF comes upright."""

BACKGROUND = "white"
"""Colour behind what is transparent: the page on which most programs show a picture."""

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF."""

WHITE_IS_ZERO, SIGNED = 0, 2
"""Values of PHOTOMETRIC and of SAMPLE_FORMAT."""

NUMBERS = {1: "whole", SIGNED: "signed", 3: "floating", 5: "complex", 6: "complex"}
"""Kinds of numbers by SAMPLE_FORMAT."""

STRETCH = {"L;2": 85, "L;4": 17}
"""Levels of 8 bits to a level of a grey PNG with fewer: its transparent one is not stretched."""


@dataclass(frozen=True)
class Samples:
    """Meaning of the numbers in a file, which is known before its pixels are loaded.

    Attributes:
        most: The number that is white, for grey of more than 8 bits; a darker one where `negative`.
        negative: Whether grey of more than 8 bits has black as its largest number.
        key: The colour that is transparent, as in the pixels; None if there is none.
        box: Part of the picture that the first frame covers, or None for all.
    """

    most: int = 65535
    negative: bool = False
    key: Any = None
    box: tuple[int, int, int, int] | None = None

    @classmethod
    def of(cls, image: ImageFile) -> "Samples":
        """Meaning of the numbers of an image that is open and not loaded."""
        tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
        extents, rawmode = layout(image)
        key = image.info.get("transparency") if image.mode not in ("P", "PA") else None
        if key is not None and image.mode == "1":
            key = 255 if key else 0
        elif isinstance(key, int):
            key *= STRETCH.get(rawmode, 1)

        part = image.format == "GIF" and extents not in (None, (0, 0, *image.size))

        return cls(
            most=2 ** max(tags.get(BITS_PER_SAMPLE, (16,))) - 1,
            negative=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
            key=key,
            box=extents if part else None,
        )


def decoded(file: Path, size: int) -> np.ndarray:
    """The picture in a file, cut to the square in its middle, uint8, shape (size, size, 3).

    Raises:
        UserError: If it is missing, damaged, of far too many pixels, no image, or of a kind that
            cannot be shown truthfully.
    """
    try:
        with opened_image(file) as image:
            # A JPEG decodes faster at 1/2, 1/4 or 1/8; kept at twice the size at least, so that the
            # resize still antialiases.
            image.draft("RGB", (2 * size, 2 * size))
            return np.asarray(square(shown(file, image), size))

    except UserError:
        raise
    # Pillow has a dozen kinds for damaged files, and struct and zlib add theirs.
    except Exception as fault:
        raise UserError(f"cannot read the image {file}: {why_not(file, fault)}") from fault


def why_not(file: Path, fault: Exception) -> str:
    """The reason why a file cannot be read, and the remedy."""
    if kind := unreadable_kind(file):
        return kind
    if isinstance(fault, UnidentifiedImageError):
        return (
            f"it is damaged, or of a mode that nothing here can show{tiff_mode(file)}; "
            "put an intact file there, with 8 bits per channel"
        )
    return f"{first_line(fault)}; put an intact file there"


def tiff_mode(file: Path) -> str:
    """Bits of each channel of a TIFF, and what kind of numbers they are; empty for other files."""
    try:
        with file.open("rb") as stream:
            tags = ImageFileDirectory_v2(stream.read(8))
            stream.seek(tags.next)
            tags.load(stream)
    except Exception:  # no TIFF, or none that is whole
        return ""

    kinds = [NUMBERS.get(kind, "other") for kind in tags.get(SAMPLE_FORMAT, (1,))]
    bits = "+".join(str(number) for number in tags.get(BITS_PER_SAMPLE, (1,)))

    return f" (TIFF, {bits} bits, {kinds[0]} numbers)"


@contextmanager
def opened_image(file: Path) -> Iterator[ImageFile]:
    """An image file whose pixels are not loaded yet."""
    # A stream, not a name: what Pillow maps into memory by its name, it does not turn rightly (an
    # uncompressed TIFF that lies on its side comes in shreds).
    with file.open("rb") as stream, Image.open(stream, formats=readable_formats()) as image:
        yield image


@cache
def readable_formats() -> tuple[str, ...]:
    """FORMATS without those that this Pillow cannot read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def square(image: Image.Image, size: int) -> Image.Image:
    """The largest square in the middle, resized to size x size; bilinear, with antialiasing."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    return middle.resize((size, size), Image.Resampling.BILINEAR)


def shown(file: Path, image: ImageFile) -> Image.Image:
    """The first frame of an open file as a viewer shows it, RGB."""
    refuse_untrue(file, image)
    samples = Samples.of(image)
    image.load()

    picture, alpha = coloured(image, samples), opacity(image, samples)
    if alpha is not None:
        page = Image.new("RGB", picture.size, BACKGROUND)
        page.paste(picture, mask=alpha)
        picture = page

    # Last, since it is the same for all; and of a TIFF Pillow forgets the orientation when it loads
    # it, since it turns it by itself.
    turn = TURNS.get(orientation(image))

    return picture if turn is None else picture.transpose(turn)


def refuse_untrue(file: Path, image: ImageFile) -> None:
    """Raises UserError for a file whose numbers do not say which of them is white."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if is_camera_raw(file, tags):
        raise UserError(f"cannot read the image {file}: {unreadable_kind(file, raw=True)}")

    why = None
    if image.mode == "F":
        why = "numbers with a fraction"
    elif SIGNED in tags.get(SAMPLE_FORMAT, ()):
        why = "numbers with a sign"
    elif image.mode == "I" and tags:
        why = "numbers of 32 bits"
    elif image.mode == "RGB" and "transparency" in image.info and layout(image)[1] == "RGB;16B":
        why = "a transparent colour of 16 bits, which 8 bits cannot tell from its neighbours"

    if why:
        raise UserError(
            f"cannot read the image {file}: its pixels (mode {image.mode}) are {why}, "
            "so that no viewer can say how bright they are: save it with 8 bits per channel"
        )


def layout(image: ImageFile) -> tuple[tuple[int, int, int, int] | None, str]:
    """The part of the picture that a file's first tile covers, and how Pillow calls its pixels."""
    if not image.tile:
        return None, image.mode
    _, extents, _, arguments = image.tile[0]
    rawmode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return extents, str(rawmode)


def coloured(image: Image.Image, samples: Samples) -> Image.Image:
    """The colours of a loaded image without its transparency, RGB."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):
        image = eight_bits(image, samples)
    elif image.has_transparency_data and samples.key is None:
        image = with_alpha(image)

    base = "L" if image.mode == "L" else "CMYK" if image.mode == "CMYK" else "RGB"
    transform = to_srgb(profile, base) if profile else None
    if transform is None and base == "L" and profile:
        base, transform = "RGB", to_srgb(profile, "RGB")

    image.info.pop("transparency", None)
    wanted = base if transform else "RGB"
    plain = image if image.mode == wanted else image.convert(wanted)

    return plain if transform is None else transform.apply(plain)


def eight_bits(image: Image.Image, samples: Samples) -> Image.Image:
    """Grey of more bits, brought to 8 by its range, mode L."""
    levels = (np.arange(samples.most + 1) * 510 + samples.most) // (2 * samples.most)
    if samples.negative:
        levels = levels[::-1]
    return Image.fromarray(levels.astype(np.uint8)[np.asarray(image)])


def with_alpha(image: Image.Image) -> Image.Image:
    """An image that is transparent in part, RGBA."""
    # Of grey with premultiplied alpha Pillow knows this way only.
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def opacity(image: Image.Image, samples: Samples) -> Image.Image | None:
    """Alpha of a loaded image, mode L; None where all of it is opaque."""
    alpha = None
    if samples.key is not None:
        values = np.asarray(image.convert("L") if image.mode == "1" else image)
        apart = values != np.array(samples.key)
        opaque = apart.any(-1) if apart.ndim == 3 else apart
        alpha = Image.fromarray(opaque.astype(np.uint8) * 255)
    elif image.has_transparency_data:
        alpha = with_alpha(image).getchannel("A")

    if samples.box is not None:
        whole = alpha or Image.new("L", image.size, 255)
        alpha = Image.new("L", image.size, 0)
        alpha.paste(whole.crop(samples.box), samples.box)

    # Many programs leave the fourth byte of a BMP empty: nobody shows that as nothing at all.
    if alpha is not None and image.format == "BMP" and not alpha.getbbox():
        return None

    return alpha


def orientation(image: Image.Image) -> int:
    """The orientation in EXIF, or in XMP where EXIF has none; 1, which is upright, without both."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as many kinds as there are ways to damage EXIF: viewers overlook it
        return 1

    return int(found) if found in TURNS else 1
