"""One photograph by several paths: read once, refused twice, left out by any of them."""

import logging
import os
import unicodedata

import numpy as np
import pytest

from mlu.data.files import NO_FILE, ImageFiles
from mlu.data.same_files import equal_files, named_rows, paths_of_files
from mlu.data.sets.csv import Csv
from tests.support.photo_folder import SIZE, write_lines, write_photos
from tests.support.reading import refusal

NFC = unicodedata.normalize("NFC", "b/größe.png")
NFD = unicodedata.normalize("NFD", NFC)
FILES = ["a.png", "b/a.png", "b/c.png", NFC]
SPELLINGS = {
    "./a.png": "a.png", "b//a.png": "b/a.png", "b/./a.png": "b/a.png", "b/../a.png": "a.png",
    "b\\a.png": "b/a.png", ".\\b\\a.png": "b/a.png", "b\\..\\a.png": "a.png",
    " b/c.png ": "b/c.png", "b/c.png\u00a0": "b/c.png", "\ufeffa.png": "a.png", NFD: NFC,
    NFD.replace("/", "\\"): NFC, f"./{NFC}": NFC,
}  # fmt: skip
"""Spellings of the files, and how these lie in the folder."""


@pytest.fixture
def root(tmp_path):
    write_photos(tmp_path, FILES)
    return tmp_path


def photos(root, paths, exclude=None):
    rows = [f'"{path}",{row % 2},{row % 3 % 2}' for row, path in enumerate(paths)]
    write_lines(root / "labels.csv", "image,Bald,Young", *rows)
    return Csv(
        name="csv", root=root, table="labels.csv", image_size=SIZE, prepared=root / "prepared",
        exclude=exclude,
    )  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS)
def test_a_path_is_read_however_it_is_spelt(path, root):
    assert paths_of_files(root, [path, "x.png"]) == [SPELLINGS[path], "x.png"]
    data = photos(root, [path]).load()
    assert data.paths == [SPELLINGS[path]]
    assert data.fingerprint == photos(root, [SPELLINGS[path]]).load().fingerprint
    assert data.images[np.array([0])].shape == (1, 3, SIZE, SIZE)


@pytest.mark.parametrize("path", SPELLINGS)
def test_a_path_spelt_twice_is_refused(path, root):
    message = refusal(photos(root, ["b/x.png", SPELLINGS[path], path]))
    assert f"row {SPELLINGS[path]} is there twice, as " in message
    assert repr(SPELLINGS[path]) in message


@pytest.mark.parametrize("path", SPELLINGS)
@pytest.mark.parametrize("swapped", [False, True])
def test_an_exclusion_covers_all_spellings(path, swapped, root, caplog):
    listed, named = (SPELLINGS[path], path) if swapped else (path, SPELLINGS[path])
    exclude = root / "out.txt"
    exclude.write_text(f"{listed}\n", encoding="utf-8")
    others = [other for other in FILES if other != SPELLINGS[path]]
    with caplog.at_level(logging.INFO):
        assert photos(root, [named, *others], exclude).load().paths == others
    assert "1 of 4 images are left out" in caplog.text
    assert "dataset.exclude names" not in caplog.text


def test_a_name_with_a_backslash_is_its_own_where_there_is_such_a_file(root):
    write_photos(root, ["b\\a.png"], seed=1)
    assert photos(root, ["b\\a.png"]).load().paths == ["b\\a.png"]


def test_plain_paths_are_the_same_object(root):
    paths = ["a.png", "b/a.png", "none.png", "A b.png"]
    assert paths_of_files(root, paths) is paths


def test_a_path_to_nothing_is_spelt_plainly(root):
    assert paths_of_files(root, ["./x\\y.png", "../x.png", "b/../../x.png"]) == [
        "x/y.png", "../x.png", "b/../../x.png"
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["b/../../a.png", "b\\..\\..\\a.png", "./../a.png", " /a.png"])
def test_a_path_that_leads_out_is_refused_in_any_spelling(path, root):
    assert "leads out of" in refusal(photos(root, ["a.png", path]))


LINKS = {"hard": os.link, "symbolic": lambda file, link: link.symlink_to(file)}


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_beside_its_file_is_refused(kind, root):
    LINKS[kind](root / "b/c.png", root / "link.png")
    message = refusal(photos(root, ["a.png", "link.png", "b/c.png"]))
    assert "row link.png is there twice: b/c.png is the same file" in message
    assert photos(root, ["a.png", "link.png"]).load().paths == ["a.png", "link.png"]


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("listed", ["link.png", "b/c.png", "./b//c.png", "{root}/b/c.png"])
def test_an_exclusion_covers_links(kind, listed, root):
    LINKS[kind](root / "b/c.png", root / "link.png")
    exclude = write_lines(root / "out.txt", listed.format(root=root))
    for paths in (["a.png", "link.png"], ["link.png", "a.png", "b/c.png"], ["a.png", "b/c.png"]):
        assert photos(root, paths, exclude).load().paths == ["a.png"]


def test_a_linked_folder_is_one_too(root):
    (root / "again").symlink_to(root / "b")
    message = refusal(photos(root, ["b/a.png", "again/a.png"]))
    assert "row b/a.png is there twice: again/a.png is the same file" in message


def test_equal_copies_are_no_links(root):
    (root / "copy.png").write_bytes((root / "a.png").read_bytes())
    assert len(photos(root, ["a.png", "copy.png"]).load().paths) == 2


def test_missing_files_are_not_one(root):
    exclude = write_lines(root / "out.txt", "x.png")
    data = photos(root, ["a.png", "x.png", "y.png", "z.png"], exclude).load()
    assert data.paths == ["a.png", "y.png", "z.png"]


@pytest.mark.parametrize(
    ("rows", "pairs"),
    [
        ([[1, 2, 3, 9], [1, 2, 3, 9]], [[0, 1]]),
        ([[1, 2, 3, 9], [1, 2, 4, 9], [1, 2, 3, 9]], [[0, 2]]),
        ([[1, 2, 3, 9], [1, 2, 4, 9]], []),  # of two devices
        ([[1, 2, 3, 9], [5, 2, 3, 9]], []),  # a file system that gives numbers twice
        ([[1, 2, 3, 0], [1, 2, 3, 0]], []),  # ... or none
        ([[NO_FILE] * 4, [NO_FILE] * 4], []),
        ([[1, 2, 3, 9]] * 3, [[0, 1], [1, 2]]),
    ],
)
def test_files_are_one_by_device_and_number(rows, pairs):
    assert sorted(equal_files(np.array(rows)).tolist()) == pairs


def test_lines_that_name_nothing_are_given_back(root):
    paths = ["a.png", "b/a.png", "none.png"]
    state = ImageFiles(root, paths, SIZE).state()
    lines = {"./a.png", "b/c.png", "other\0.png", "none.png"}
    found, unknown = named_rows(root, paths, state, lines)
    assert found.tolist() == [True, False, True]
    assert unknown == {"b/c.png", "other\0.png"}
