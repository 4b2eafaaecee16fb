"""What is no picture is told by its first bytes, before anything is trained."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mlu.data import recognition as module
from mlu.data.recognition import kind_of, strangers, unreadable_kind


def box(brand, *others):
    brands = b"".join(others)
    return (16 + len(brands)).to_bytes(4) + b"ftyp" + brand + b"\0\0\0\0" + brands + b"\0" * 40


KINDS = {
    "a.heic": (box(b"heic", b"mif1", b"heic"), "HEIC", "heif-convert"),
    "an iphone's.jpg": (box(b"heix"), "HEIC", "sips -s format jpeg"),
    "a.heif": (box(b"mif1", b"heic"), "HEIC", "heif-convert"),
    "a.cr3": (box(b"crx "), "a camera's raw file", "darktable-cli"),
    "a.cr2": (b"II*\0\x10\0\0\0CR\x02\0", "a camera's raw file", "darktable-cli"),
    "a.NEF": (b"MM\0*\0\0\0\x08", "a camera's raw file", "darktable-cli"),
    "a.raf": (b"FUJIFILMCCD-RAW 0201", "a camera's raw file", "darktable-cli"),
    "a.rw2": (b"IIU\0\x18\0\0\0", "a camera's raw file", "darktable-cli"),
    "a.psd": (b"8BPS\0\x01", "Photoshop", "[0]"),
    "a.pdf": (b"%PDF-1.7", "PDF", "magick"),
    "a.eps": (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript", "if you trust it"),
    "windows.eps": (b"\xc5\xd0\xd3\xc6\x20", "PostScript", "if you trust it"),
    "a.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", "djxl"),
    "bare.jxl": (b"\xff\x0a\xfa", "JPEG XL", "djxl"),
    "a.svg": (b"<?xml version='1.0'?>\n<svg xmlns='x'>", "SVG", "rsvg-convert"),
    "a.mp4": (box(b"isom", b"mp42"), "a film", "ffmpeg"),
    "a.mov": (box(b"qt  "), "a film", "ffmpeg"),
    "a.webm": (b"\x1aE\xdf\xa3\x01", "a film", "ffmpeg"),
    "a.avi": (b"RIFF\0\0\0\0AVI LIST", "a film", "ffmpeg"),
    "page.jpg": (b"\n<!DOCTYPE html><html>404", "a web page", "download the picture again"),
    "denied.png": (b'{"error": "denied"}', "a web page", "download the picture again"),
    "denied.jpg": (b"<Error><Code>AccessDenied", "a web page", "download the picture again"),
    "empty.jpg": (b"", "empty (0 bytes)", "copy or download it again"),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS", "git lfs pull"),
    "a.zip": (b"PK\x03\x04", "an archive", "unpack it"),
    "._a.jpg": (b"\0\x05\x16\x07\0\x02", "AppleDouble", "without ._"),
    "a.ico": (b"\0\0\x01\0\x01", "an icon", "magick"),
    "a.npy": (b"\x93NUMPY\x01", "an array of NumPy", "save its images"),
    "other.jpg": (b"\x01\x02\x03", "no picture of a kind that is read", "intact file"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_no_picture_is_named_with_its_remedy(name, tmp_path):
    content, kind, remedy = KINDS[name]
    (tmp_path / name).write_bytes(content)
    line = unreadable_kind(tmp_path / name)
    assert line.startswith("it is ")
    assert kind in line
    assert remedy in line


@pytest.mark.parametrize(
    ("head", "ending"),
    [
        (b"\xff\xd8\xff\xe1", ".heic"),
        (b"\xff\xd8\xff\xe1", ".nef"),
        (b"\x89PNG\r\n\x1a\n", ".jpg"),
        (b"GIF89a", ".gif"),
        (b"BM\0\0", ".bmp"),
        (b"P6 1 1", ".ppm"),
        (b"II*\0", ".tif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", ".webp"),
        (b"\0\0\0\x0cjP  \r\n", ".jp2"),
    ],
)
def test_what_is_read_is_told_by_its_bytes_whatever_its_name(head, ending):
    assert kind_of(head + b"\0" * 20, ending) is None


@pytest.mark.parametrize(("there", "kind"), [(True, None), (False, module.AVIF)])
def test_avif_is_read_where_pillow_can(there, kind, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: there)
    assert kind_of(box(b"mif1", b"avif", b"miaf"), ".avif") is kind


def test_the_command_that_converts_works_for_any_name(tmp_path):
    file = tmp_path / "Mother's day; 1.heic"
    file.write_bytes(box(b"heic"))
    command = unreadable_kind(file).partition("convert it with ")[2].partition(" (of libheif)")[0]
    said = subprocess.run(
        ["sh", "-c", command.replace("heif-convert", "printf '%s\\n'")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines() == [str(file), str(file.with_suffix(".jpg"))]


def test_a_folder_and_a_file_that_may_not_be_read_are_told(tmp_path):
    assert "Is a directory" in unreadable_kind(tmp_path)
    assert unreadable_kind(tmp_path / "none.jpg") is None


def looked_at(folder, paths, sizes, rows):
    with ThreadPoolExecutor(2) as threads:
        return strangers(folder, paths, np.array(sizes), np.array(rows, int), threads)


def test_strange_names_and_sizes_are_looked_into_and_a_part_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_OPENED", 3)
    monkeypatch.setattr(module, "OPENED_AT_ONCE", 2)
    paths = ["a.heic", "small.jpg", *(f"{number}.jpg" for number in range(6)), "gone.jpg"]
    for path in paths[:-1]:
        (tmp_path / path).write_bytes(box(b"heic") + b"\0" * 2000)
    sizes = [5000, 100, *[5000] * 6, -1]
    found = looked_at(tmp_path, paths, sizes, range(9))
    assert sorted(found) == [0, 1, 2, 4, 6]
    assert found[0].startswith(f"cannot read the image {tmp_path / 'a.heic'}: it is HEIC")
    assert looked_at(tmp_path, paths, sizes, [1, 3]).keys() == {1, 3}
    assert looked_at(tmp_path, paths, sizes, []) == {}
