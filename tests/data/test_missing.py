"""Images that are missing: what is there by nearly the same name, and the remedy, tried."""

import shlex
import subprocess
import unicodedata

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from mlu.data.files import NO_FILE, ImageFiles
from mlu.data.missing import why_missing
from mlu.data.sets.csv import Csv

COMPOSED = unicodedata.normalize("NFC", "Zoë")
APART = unicodedata.normalize("NFD", "Zoë")
NEAR = {
    "another case": ("img_1.jpg", "IMG_1.jpg", "large and small letters differ"),
    "another case of the ending": ("1.jpg", "1.JPG", "large and small letters differ"),
    "another case of the folder": ("anna/1.jpg", "Anna/1.jpg", "large and small letters differ"),
    "no ending in the table": ("1", "1.jpg", "it lacks the ending"),
    "no ending on the disk": ("1.jpg", "1", "the file has no ending"),
    "another ending": ("1.png", "1.jpg", "it has another ending"),
    "jpeg for jpg": ("1.jpeg", "1.jpg", "it has another ending"),
    "backslashes": ("a\\1.jpg", "a/1.jpg", "\\\\ parts its folders"),
    "blanks as in the web": ("my%20dog.jpg", "my dog.jpg", "encoded as in a web address"),
    "letters as in the web": ("Zo%C3%AB.jpg", f"{COMPOSED}.jpg", "encoded as in a web address"),
    "encoded on the disk": ("my dog.jpg", "my%20dog.jpg", "encoded as in a web address"),
    "a blank before": (" 1.jpg", "1.jpg", "blanks at an end"),
    "a blank behind": ("1.jpg ", "1.jpg", "blanks at an end"),
    "composed": (f"{COMPOSED}.jpg", f"{APART}.jpg", "accents are composed otherwise"),
    "taken apart": (f"{APART}.jpg", f"{COMPOSED}.jpg", "accents are composed otherwise"),
    "a folder too many": ("images/1.jpg", "1.jpg", "another folder"),
    "a folder twice": ("images/images/1.jpg", "images/1.jpg", "another folder"),
    "a folder too few": ("1.jpg", "images/1.jpg", "another folder"),
    "another folder": ("train/1.jpg", "test/1.jpg", "another folder"),
    "several": ("Images\\IMG%201.png", "img 1.jpg", "\\\\ parts its folders and it is encoded"),
}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize("fault", NEAR)
def test_a_missing_image_is_told_with_what_is_there(fault, tmp_path):
    named, there, why = NEAR[fault]
    touch(tmp_path, there, "other.jpg")
    (line,) = why_missing(tmp_path, [named, "other.jpg"], [0]).values()
    assert f"the table says {named!r}, the folder has {there!r}: " in line
    assert why.replace("\\\\", "\\") in line
    assert "(so of 1 of 1 missing images)" in line


def test_the_reason_counts_those_that_share_it(tmp_path):
    names = [f"{number}.jpg" for number in range(9)]
    touch(tmp_path, *(name.upper() for name in names[:6]), "7.png", names[8])
    lines = why_missing(tmp_path, names, list(range(8)))
    assert list(lines) == list(range(8))
    assert all("(so of 6 of 8 missing images)" in lines[row] for row in range(6))
    assert lines[6] == ""
    assert "(so of 1 of 8 missing images)" in lines[7]


@pytest.mark.parametrize(
    "there",
    [
        [],
        ["2.jpg"],
        ["a/1.jpg", "b/1.jpg"],  # which of them is meant?
        ["1.png"],  # another image of the table
    ],
)
def test_nothing_is_made_up(there, tmp_path):
    touch(tmp_path, *there)
    assert why_missing(tmp_path, ["1.jpg", "1.png"], [0]) == {0: ""}


def test_what_is_nearest_is_meant(tmp_path):
    touch(tmp_path, "x/anna/1.JPG", "x/ben/1.JPG", "x/anna/1.png")
    (line,) = why_missing(tmp_path, ["anna/1.jpg"], [0]).values()
    assert "'x/anna/1.JPG'" in line


def csv_of(root, settings=()):
    """The csv data set with settings as they are typed, which Hydra reads."""
    given = OverridesParser.create().parse_overrides([*settings])
    fields = {one.key_or_group.removeprefix("dataset."): one.value() for one in given}
    fields = {"root": root, "table": "labels.csv", **fields}
    return Csv(name="csv", image_size=8, prepared=root / "prepared", **fields)


def missing_of(dataset):
    table = dataset.read()
    state = ImageFiles(table.folder, table.paths, 8).state()
    rows = np.flatnonzero(state[:, 0] == NO_FILE).tolist()
    return why_missing(table.folder, table.paths, rows, table.source)


def write_table(root, names):
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"{name},{number % 2}" for number, name in enumerate(names)]
    (root / "labels.csv").write_text("\n".join(["image,Bald", *lines]) + "\n")


@pytest.mark.parametrize(
    ("folder", "prefix", "root"),
    [
        ("images", "", "."),
        ("images/images", "images/", "."),
        (".", "photos/", "."),
        ("deep/down", "", "."),
        (".", "my photos/", "."),
        (".", "my [photos] (2)/", "."),
    ],
)
def test_the_settings_for_another_root_work_when_typed(folder, prefix, root, tmp_path):
    home = tmp_path / (prefix.strip("/") or "data")
    names = [f"{prefix}{number}.jpg" for number in range(4)]
    touch(home / folder, *(name.rpartition("/")[2] for name in names))
    write_table(home, names)
    lines = missing_of(csv_of(home))
    assert sorted(lines) == [0, 1, 2, 3]
    settings = [word for word in shlex.split(lines[0]) if word.startswith("dataset.")]
    assert len(settings) == 2
    assert missing_of(csv_of(home, settings)) == {}


@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("{}.jpg", "{}.png"),
        ("{}.jpg", "{}.JPG"),
        ("{}.jpeg", "{}.jpg"),
        ("my%20dog%20{}.jpg", "my dog {}.jpg"),
        ("a\\b\\{}.jpg", "a/b/{}.jpg"),
    ],
)
def test_the_command_that_mends_the_table_works_when_typed(named, there, tmp_path):
    root = tmp_path / "own photos"
    touch(root, *(there.format(number) for number in range(4)))
    write_table(root, [named.format(number) for number in range(4)])
    before = (root / "labels.csv").read_bytes()
    lines = missing_of(csv_of(root))
    assert lines
    command, _, setting = lines[0].partition("); ")[2].partition(", then ")
    subprocess.run(["sh", "-c", command], check=True)
    assert missing_of(csv_of(root, shlex.split(setting))) == {}
    assert (root / "labels.csv").read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path):
    lines = why_missing(tmp_path / "none", ["1.jpg"], [0], tmp_path / "labels.csv")
    assert lines == {0: f"there is no folder {tmp_path / 'none'}: name it with dataset.root=..."}
