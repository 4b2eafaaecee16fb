import logging

import numpy as np
import pytest

from mlu.data.divided import ImageData
from mlu.data.sets.csv import Csv
from mlu.system.errors import UserError
from tests.support.photo_folder import SIZE, write_lines, write_photos

pytestmark = pytest.mark.usefixtures("quick_processes")

PATHS = [f"bild {number} ü.png" for number in range(60)]


@pytest.fixture
def root(tmp_path):
    write_photos(tmp_path, PATHS)
    rows = []
    for row, path in enumerate(PATHS):
        young = "" if row % 5 == 0 else row % 3 // 2
        rows.append(f"{path},person {row // 2},{row % 2},{young}")
    write_lines(tmp_path / "labels.csv", "image,who,Bald,Young", *rows)
    return tmp_path


def photos(root, **fields):
    given = {"identity_column": "who", "image_size": SIZE, "prepared": root / "prepared"} | fields
    return Csv(name="csv", root=root, table="labels.csv", **given)


def prepare(root):
    dataset = photos(root)
    return dataset.arrays(dataset.read()).make(jobs=1)


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("files", [1, 2])
def test_excluded_images_are_left_out_of_everything(root, ready, files, caplog):
    whole = photos(root).load()
    if ready:
        prepare(root)
    gone = [3, 17, 18]
    lists = [
        write_lines(root / "a.txt", PATHS[3], "", PATHS[17]),
        write_lines(root / "b.txt", PATHS[18], "who.png"),
    ]
    if files == 1:
        write_lines(lists[0], *(PATHS[row] for row in gone), "who.png")
    with caplog.at_level(logging.INFO):
        rest = photos(root, exclude=lists[0] if files == 1 else lists).load()
    kept = np.setdiff1d(np.arange(60), gone)
    assert rest.paths == [PATHS[row] for row in kept]
    for name in ("targets", "known", "identities"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(whole, name)[kept])
    assert len(rest.images) == 57
    np.testing.assert_array_equal(rest.images[np.array([5, 36, 2])], whole.images[kept[[5, 36, 2]]])
    assert "3 of 60 images are left out" in caplog.text
    assert "1 images that csv lacks, such as who.png" in caplog.text
    assert rest.fingerprint != whole.fingerprint


def test_an_exclusion_list_that_is_not_there_is_named(root):
    with pytest.raises(UserError, match=r"dataset\.exclude=.*none\.txt"):
        photos(root, exclude=root / "none.txt").load()


def test_preparing_changes_neither_pixels_nor_fingerprint(root):
    before = photos(root).load()
    prepare(root)
    after = photos(root).load()
    assert type(before.images) is not type(after.images)
    assert before.fingerprint == after.fingerprint
    np.testing.assert_array_equal(before.images[np.arange(60)], after.images[np.arange(60)])


def test_the_fingerprint_does_not_depend_on_where_the_files_lie(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_photos(other, PATHS)
    (other / "labels.csv").write_bytes((root / "labels.csv").read_bytes())
    assert photos(root).load().fingerprint == photos(other).load().fingerprint
    (other / PATHS[0]).write_bytes((other / PATHS[0]).read_bytes() + b" ")
    assert photos(root).load().fingerprint != photos(other).load().fingerprint


def test_known_unreadable_images_stop_a_run_before_it_starts_and_excluding_them_mends_it(root):
    for row in (4, 11):
        (root / PATHS[row]).write_bytes(b"\xff\xd8 cut")
    assert sorted(prepare(root)) == [4, 11]
    data = photos(root).load()
    with pytest.raises(UserError) as error:
        ImageData(data, seed=0, batch_size=8)
    words = (
        "2 of the 60 images",
        PATHS[4],
        "dataset.exclude=FILE",
        "python -m mlu.doctor dataset=csv",
    )
    assert all(word in str(error.value) for word in words)
    mended = photos(root, exclude=write_lines(root / "bad.txt", PATHS[4])).load()
    assert sorted(mended.unreadable) == [10]  # the eleventh moved up
    ImageData(
        photos(root, exclude=write_lines(root / "bad.txt", PATHS[4], PATHS[11])).load(),
        seed=0,
        batch_size=8,
    )


def test_pictures_that_are_no_pictures_stop_a_run_before_it_starts(root):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 2000
    (root / PATHS[3]).write_bytes(heic)
    (root / PATHS[9]).write_bytes(b"")
    data = photos(root).load()
    assert sorted(data.unreadable) == [3, 9]
    with pytest.raises(UserError, match=r"2 of the 60 images .* it is HEIC.*heif-convert"):
        ImageData(data, seed=0, batch_size=8)
    prepare(root)
    assert {row: why.partition(": ")[2] for row, why in photos(root).load().unreadable.items()} == {
        row: why.partition(": ")[2] for row, why in data.unreadable.items()
    }


def test_images_of_which_none_is_there_are_told_with_what_is(root):
    for path in PATHS:
        (root / path).rename(root / path.upper())
    with pytest.raises(UserError, match=r"none of the 60 .*large and small letters differ") as told:
        photos(root).load()
    assert f"the folder has {PATHS[0].upper()!r}" in str(told.value)
