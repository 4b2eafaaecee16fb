"""Files of images written byte by byte, so that no library decides what is in them."""

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Kinds of colours of PNG."""


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def packed_bits(values: np.ndarray, bits: int) -> bytes:
    """One row of numbers of so many bits each, big-endian."""
    if bits == 16:
        return values.astype(">u2").tobytes()
    text = "".join(f"{value:0{bits}b}" for value in values.ravel().tolist())
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8) if text else b""


def png(values: np.ndarray, colour: int, bits: int = 8, **chunks: bytes) -> bytes:
    """A PNG of these numbers, shape (height, width) or (height, width, channels).

    Args:
        values: As they stand in the file.
        colour: Kind of colours.
        bits: Of each number.
        **chunks: Others before the pixels, such as tRNS.
    """
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + packed_bits(row, bits) for row in values)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    others = b"".join(chunk(kind.encode(), content) for kind, content in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + others
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff(
    pixels: bytes,
    width: int,
    height: int,
    bits: Sequence[int],
    photometric: int,
    tags: Mapping[int, Sequence[int]] | None = None,
    order: str = "<",
) -> bytes:
    """A TIFF of one strip.

    Args:
        pixels: As they stand in the file.
        width: In pixels.
        height: In pixels.
        bits: Of each channel.
        photometric: What the numbers mean.
        tags: Others, whose values are of 16 bits.
        order: `<` or `>`: of the bytes.
    """
    entries: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: list(bits),
        259: [1],
        262: [photometric],
        277: [len(bits)],
        278: [height],
        **(tags or {}),
    }
    first = 8 + 2 + 12 * (len(entries) + 2) + 4
    beyond, table = b"", []
    for tag, values in entries.items():
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", first + len(beyond))
            beyond += packed
        else:
            place = packed.ljust(4, b"\0")
        table.append((tag, struct.pack(f"{order}HHI", tag, 3, len(values)) + place))
    for tag, value in ((273, first + len(beyond)), (279, len(pixels))):
        table.append((tag, struct.pack(f"{order}HHII", tag, 4, 1, value)))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return (
        mark
        + struct.pack(f"{order}IH", 8, len(table))
        + b"".join(entry for _, entry in sorted(table))
        + struct.pack(f"{order}I", 0)
        + beyond
        + pixels
    )
