"""Files that are no pictures one can train on: told by their first bytes, and how to convert them.

The ending of a name only says whether a file that begins like a TIFF comes raw from a camera.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlu.system.errors import first_line

HEAD_BYTES = 512
"""Bytes of a file that tell its kind."""

SMALL_BYTES = 1024
"""Files below this are always looked into: no photograph is so small, but error messages are."""

MOST_OPENED = 200_000
"""Files that are looked into at most, besides those whose size or name is strange."""

OPENED_AT_ONCE = 256
"""Files that a thread looks into before it takes others."""

RAW_ENDINGS = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos"}
    | {".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf"}
    | {".srw", ".x3f"}
)
"""Endings of cameras' raw files. Most are TIFFs: a reader of those finds a thumbnail in them."""

STRANGE_ENDINGS = RAW_ENDINGS | frozenset(
    {".avi", ".avif", ".eps", ".gz", ".heic", ".heif", ".hif", ".htm", ".html", ".jxl", ".m4v"}
    | {".mkv", ".mov", ".mp4", ".pdf", ".ps", ".psd", ".svg", ".svgz", ".webm", ".zip"}
)
"""Endings whose files are always looked into."""

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
"""First bytes of TIFF, two of them wrong, which Pillow reads all the same."""

DNG_VERSION, PHOTOMETRIC_TAG = 50706, 262
"""Tags of TIFF."""

SENSOR = (32803, 34892)
"""Values of PHOTOMETRIC_TAG for what a sensor saw: through coloured filters, or linear."""

HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
AVIF_BRANDS = frozenset({b"avif", b"avis"})


@dataclass(frozen=True)
class OtherKind:
    """A kind of file that is not read.

    Attributes:
        name: As people call it.
        remedy: A way out, with {source} and {target} for the file and for the picture it becomes,
            and {first} for the first picture in the file.
        ending: Of the picture that it becomes.
    """

    name: str
    remedy: str
    ending: str = ".jpg"

    def line(self, file: Path) -> str:
        """`it is HEIC: convert it with heif-convert a.heic a.jpg`, with names for a shell."""
        names = {"source": file, "first": f"{file}[0]", "target": file.with_suffix(self.ending)}
        words = {kind: shlex.quote(str(name)) for kind, name in names.items()}
        return f"it is {self.name}: {self.remedy.format(**words)}"


HEIC = OtherKind(
    "HEIC, as phones write it",
    "convert it with heif-convert {source} {target} (of libheif), "
    "on a Mac with sips -s format jpeg {source} --out {target}",
)
RAW = OtherKind(
    "a camera's raw file", "develop it into a JPEG, such as with darktable-cli {source} {target}"
)
AVIF = OtherKind(
    "AVIF, which this Pillow cannot read",
    "pip install 'pillow>=11.3', or convert it with avifdec {source} {target}",
    ".png",
)
VIDEO = OtherKind("a film", "save a frame with ffmpeg -i {source} -frames:v 1 {target}")
EMPTY = OtherKind("empty (0 bytes)", "copy or download it again")
POINTER = OtherKind("a pointer of Git LFS, not the picture", "fetch the pictures with git lfs pull")
PAGE = OtherKind(
    "a web page, such as the message of an error", "download the picture again, and look at it"
)
SVG = OtherKind("SVG", "draw it with rsvg-convert -o {target} {source}", ".png")
ARCHIVE = OtherKind("an archive", "unpack it, and name the pictures in it")
UNKNOWN = OtherKind("no picture of a kind that is read", "put an intact file there")
POSTSCRIPT = OtherKind(
    "PostScript, a program that is not run", "draw it yourself if you trust it", ".png"
)
JPEG_XL = OtherKind("JPEG XL", "convert it with djxl {source} {target}", ".png")
MAGICK = "convert it with magick {source} {target}"
FIRST_LAYER = "convert it with magick {first} {target}"

BEGINNINGS: Mapping[bytes, OtherKind] = {
    b"8BPS": OtherKind("a drawing of Photoshop (PSD)", FIRST_LAYER, ".png"),
    b"%PDF": OtherKind("PDF", "draw it with magick -density 150 {first} {target}", ".png"),
    b"%!": POSTSCRIPT,
    b"\xc5\xd0\xd3\xc6": POSTSCRIPT,
    b"\xff\x0a": JPEG_XL,
    b"\0\0\0\x0cJXL ": JPEG_XL,
    b"FUJIFILMCCD-RAW": RAW,
    b"IIRO": RAW,
    b"IIRS": RAW,
    b"MMOR": RAW,
    b"IIU\0": RAW,
    b"FOVb": RAW,
    b"\0MRM": RAW,
    b"\x1aE\xdf\xa3": VIDEO,
    b"\0\0\x01\xba": VIDEO,
    b"\0\0\x01\xb3": VIDEO,
    b"FLV": VIDEO,
    b"version https://git-lfs": POINTER,
    b"PK\x03\x04": ARCHIVE,
    b"\x1f\x8b": ARCHIVE,
    b"7z\xbc\xaf": ARCHIVE,
    b"Rar!": ARCHIVE,
    b"\0\x05\x16\x07": OtherKind(
        "what macOS keeps beside a file (AppleDouble)", "name the picture itself, without ._"
    ),
    b"\0\0\x01\0": OtherKind("an icon (ICO)", MAGICK, ".png"),
    b"gimp xcf": OtherKind("a drawing of GIMP (XCF)", "export it from GIMP as PNG", ".png"),
    b"v/1\x01": OtherKind("OpenEXR", MAGICK, ".png"),
    b"#?RADIANCE": OtherKind("Radiance HDR", MAGICK, ".png"),
    b"DDS ": OtherKind("DDS", MAGICK, ".png"),
    b"qoif": OtherKind("QOI", MAGICK, ".png"),
    b"SIMPLE  =": OtherKind("FITS", MAGICK, ".png"),
    b"\x93NUMPY": OtherKind("an array of NumPy", "save its images as PNG, one file each", ".png"),
    b"\x89HDF": OtherKind("HDF5", "save its images as PNG, one file each", ".png"),
    b"farbfeld": OtherKind("farbfeld", MAGICK, ".png"),
    b"BPG\xfb": OtherKind("BPG", "convert it with bpgdec -o {target} {source}", ".png"),
}
"""Kinds by the first bytes of their files."""

OWN_BEGINNINGS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"\0\0\0\x0cjP  \r\n",
    b"\xff\x4f\xff\x51",
    b"BM",
    *(b"P" + letter for letter in (b"1", b"2", b"3", b"4", b"5", b"6", b"f", b"0CMYK", b"y")),
    *TIFF_HEADS,
)
"""First bytes of files that are read; where one of these is damaged, decoding says how."""


def unreadable_kind(file: Path, raw: bool = False) -> str | None:
    """Kind of a file that is no picture, and how it becomes one.

    Args:
        file: Which need not be there.
        raw: Whether it is known to come raw from a camera.

    Returns:
        None where nothing can be told.
    """
    if raw:
        return RAW.line(file)
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except FileNotFoundError:  # told where it is looked for
        return None
    except OSError as fault:
        return f"{first_line(fault)}; put a picture there that may be read"

    kind = kind_of(head, file.suffix.lower())

    return None if kind is None else kind.line(file)


def kind_of(head: bytes, ending: str) -> OtherKind | None:
    """The kind of a file that is not read, by its first bytes and its lower-case ending."""
    if not head:
        return EMPTY
    if head.startswith(OWN_BEGINNINGS):
        return RAW if ending in RAW_ENDINGS and head.startswith(TIFF_HEADS) else None
    if head[4:8] == b"ftyp":
        return kind_of_media(head)
    if head.startswith(b"RIFF"):
        return None if head[8:12] == b"WEBP" else VIDEO

    for beginning, kind in BEGINNINGS.items():
        if head.startswith(beginning):
            return kind

    return kind_of_text(head)


def kind_of_media(head: bytes) -> OtherKind | None:
    """The kind of a file in ISO's container, which HEIC, AVIF, CR3 and films share."""
    from PIL import features  # here: what only counts files needs no Pillow

    length = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, length, 4))}
    if brands & AVIF_BRANDS:
        return None if features.check("avif") else AVIF
    if brands & HEIC_BRANDS:
        return HEIC

    return RAW if head[8:12] == b"crx " else VIDEO


def kind_of_text(head: bytes) -> OtherKind:
    """The kind of a text that goes by the name of a picture, or of anything else."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text and text.startswith(b"<"):
        return SVG
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<error")):
        return PAGE
    if text.startswith((b'{"', b"{\n", b"not found", b"404", b"403", b"access denied")):
        return PAGE

    return UNKNOWN


def is_camera_raw(file: Path, tags: Mapping[int, Any]) -> bool:
    """Whether a TIFF comes raw from a camera: what opens it would show its thumbnail."""
    named = bool(tags) and file.suffix.lower() in RAW_ENDINGS
    return named or DNG_VERSION in tags or tags.get(PHOTOMETRIC_TAG) in SENSOR


def strangers(
    folder: Path,
    paths: Sequence[str],
    sizes: np.ndarray,
    rows: np.ndarray,
    threads: Executor,
) -> dict[int, str]:
    """Rows whose files are of no kind that can be read, and what they are.

    All files of a strange size or name are looked into, and MOST_OPENED of the others, evenly over
    all of them.

    Args:
        folder: That holds the files.
        paths: Of all files, relative to it.
        sizes: Of all files in bytes, shape (files,); negative where there is none.
        rows: Which of them count.
        threads: What opens files beside each other.
    """
    there = rows[sizes[rows] >= 0]
    ending = [os.path.splitext(paths[row])[1].lower() for row in there]  # noqa: PTH122
    odd = np.array([one in STRANGE_ENDINGS for one in ending], bool) | (sizes[there] < SMALL_BYTES)
    others = there[~odd]
    step = max(1, -(-len(others) // MOST_OPENED))
    opened = np.concatenate([there[odd], others[::step]])

    batches = np.array_split(opened, -(-len(opened) // OPENED_AT_ONCE) or 1)
    found: dict[int, str] = {}
    for some in threads.map(partial(kinds_in, folder, paths), batches):
        found |= some

    return dict(sorted(found.items()))


def kinds_in(folder: Path, paths: Sequence[str], rows: np.ndarray) -> dict[int, str]:
    """Rows, among some, that are no pictures, and what their files are instead."""
    found = {}
    for row in rows.tolist():
        file = folder / paths[row]
        if kind := unreadable_kind(file):
            found[row] = f"cannot read the image {file}: {kind}"

    return found
