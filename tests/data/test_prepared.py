import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlu.data import prepared as module
from mlu.data.files import ImageFiles
from mlu.data.prepared import Prepared, PreparedImages, leave_list
from mlu.system.errors import UserError
from tests.support.killing import state, until
from tests.support.photo_folder import SIZE, write_photos

pytestmark = pytest.mark.usefixtures("quick_processes")

PATHS = [f"people/{number:02}.png" for number in range(25)]
ROWS = 4
COMMAND = "python -m mlu.prepare dataset=photos"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", ROWS * 3 * SIZE**2)


@pytest.fixture
def photos(tmp_path):
    write_photos(tmp_path, PATHS)
    return tmp_path


def prepared(photos, paths=PATHS):
    return Prepared.of(photos / "arrays", "photos", ImageFiles(photos, paths, SIZE))


def written(arrays):
    return {file.name: file.stat().st_mtime_ns for file in arrays.folder.glob("*.npy")}


def test_prepared_images_are_those_of_the_files(photos):
    files = ImageFiles(photos, PATHS, SIZE)
    assert prepared(photos).opened(COMMAND) is not None
    assert isinstance(prepared(photos).opened(COMMAND), ImageFiles)
    assert prepared(photos).make(jobs=2) == {}
    images = prepared(photos).opened(COMMAND)
    assert isinstance(images, PreparedImages)
    assert len(images) == 25
    assert images.damaged() == []
    for rows in (np.arange(25), np.array([24, 0, 7, 7, 3]), np.array([], int)):
        found = images[rows]
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, files[rows])
    shutil.rmtree(photos / "people")  # the files are no longer needed
    np.testing.assert_array_equal(images[np.array([1])].shape, (1, 3, SIZE, SIZE))


def test_what_is_mapped_is_not_sent_to_another_process(photos):
    prepared(photos).make(jobs=1)
    images = prepared(photos).opened(COMMAND)
    before = images[np.arange(25)]
    sent = pickle.dumps(images)
    assert len(sent) < before.nbytes / 10
    np.testing.assert_array_equal(pickle.loads(sent)[np.arange(25)], before)


def test_one_shard_is_made_without_another_process(photos, monkeypatch):
    monkeypatch.setattr(module, "processes", None)
    few = prepared(photos, PATHS[:ROWS])
    assert few.make(jobs=2) == {}
    images = replace(few).opened(COMMAND)
    assert isinstance(images, PreparedImages)
    np.testing.assert_array_equal(images[np.arange(ROWS)], few.files[np.arange(ROWS)])
    # Control: of more than one they are asked for.
    with pytest.raises(TypeError):
        prepared(photos).make(jobs=2)


def test_a_second_call_makes_nothing(photos):
    prepared(photos).make(jobs=1)
    first = written(prepared(photos))
    prepared(photos).make(jobs=1)
    assert written(prepared(photos)) == first
    assert len(first) == 7


def test_a_changed_file_is_noticed_and_its_shard_alone_is_made_again(photos, caplog):
    prepared(photos).make(jobs=1)
    before, first = prepared(photos).opened(COMMAND)[np.arange(25)], written(prepared(photos))
    write_photos(photos, PATHS[9:10], seed=1)
    os.utime(photos / PATHS[9], ns=(1, 1))
    with caplog.at_level(logging.WARNING):
        stale = prepared(photos).opened(COMMAND)[np.arange(25)]
    assert "1 of 7 shards" in caplog.text
    assert COMMAND in caplog.text
    changed = (stale != before).any((1, 2, 3))
    np.testing.assert_array_equal(np.flatnonzero(changed), [9])
    prepared(photos).make(jobs=1)
    again = written(prepared(photos))
    assert {name for name in first if first[name] != again[name]} == {"00002.npy"}
    np.testing.assert_array_equal(prepared(photos).opened(COMMAND)[np.arange(25)], stale)


@pytest.mark.parametrize("damage", ["cut", "no record", "no array", "record cut"])
def test_a_half_written_shard_is_not_read(photos, damage):
    prepared(photos).make(jobs=1)
    arrays = prepared(photos)
    before = arrays.opened(COMMAND)[np.arange(25)]
    array, record = arrays.folder / "00003.npy", arrays.folder / "00003.json"
    if damage == "cut":
        array.write_bytes(array.read_bytes()[:-10])
    elif damage == "record cut":
        record.write_bytes(record.read_bytes()[:-10])
    else:
        (record if damage == "no record" else array).unlink()
    images = prepared(photos).opened(COMMAND)
    assert list(images.made) == [True, True, True, False, True, True, True]
    np.testing.assert_array_equal(images[np.arange(25)], before)
    prepared(photos).make(jobs=1)
    assert all(prepared(photos).opened(COMMAND).made)


def test_a_flipped_byte_is_found(photos):
    prepared(photos).make(jobs=1)
    file = prepared(photos).folder / "00001.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert prepared(photos).opened(COMMAND).damaged() == [file]


def test_an_unreadable_image_is_listed_with_its_row_and_the_others_are_made(photos):
    for row in (6, 20):
        (photos / PATHS[row]).write_bytes(b"not an image")
    unreadable = prepared(photos).make(jobs=2)
    assert sorted(unreadable) == [6, 20]
    assert PATHS[6] in unreadable[6]
    assert prepared(photos).unreadable == unreadable
    good = np.setdiff1d(np.arange(25), [6, 20])
    files = ImageFiles(photos, PATHS, SIZE)
    np.testing.assert_array_equal(prepared(photos).opened(COMMAND)[good], files[good])
    write_photos(photos, [PATHS[6]])
    assert sorted(prepared(photos).make(jobs=1)) == [20]


def test_missing_files_are_listed_and_may_come_later(photos):
    paths = [*PATHS, "x.png", "people/y.png"]
    assert sorted(prepared(photos, paths).unreadable) == [25, 26]
    unreadable = prepared(photos, paths).make(jobs=1)
    assert sorted(unreadable) == [25, 26]
    assert "x.png" in unreadable[25]
    pixels = write_photos(photos, ["x.png"])
    assert sorted(prepared(photos, paths).make(jobs=1)) == [26]
    np.testing.assert_array_equal(prepared(photos, paths).opened(COMMAND)[np.array([25])], pixels)


def test_another_size_or_list_has_other_arrays(photos):
    one = prepared(photos).folder
    assert prepared(photos).folder == one
    assert prepared(photos, PATHS[1:]).folder != one
    small = ImageFiles(photos, PATHS, 8)
    assert Prepared.of(photos / "arrays", "photos", small).folder != one


def test_a_full_disk_is_refused_before_anything_is_written(photos, monkeypatch):
    usage = shutil.disk_usage(photos)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"room for .* GB.*dataset\.prepared="):
        prepared(photos).make(jobs=1)
    assert written(prepared(photos)) == {}


def test_a_fault_while_writing_leaves_nothing_that_is_read(photos, monkeypatch):
    monkeypatch.setattr(np, "save", fail)
    arrays = prepared(photos)
    arrays.folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write .*00000\.npy: No space left"):
        module.make_shard(
            arrays.folder, 0, replace(arrays.files, paths=PATHS[:ROWS]), arrays.state[:ROWS]
        )
    monkeypatch.undo()
    assert list(arrays.folder.iterdir()) == []


def fail(*arguments):
    raise OSError("No space left on device")


STUCK = """
import sys, time
from pathlib import Path
from mlu.data import prepared as module
from mlu.data.files import ImageFiles
decode = ImageFiles.decode

def stuck(self, file):
    while file.name >= "060.png":
        time.sleep(1)
    return decode(self, file)

# In the processes that this one starts as well: they import this file.
ImageFiles.decode = stuck
if __name__ == "__main__":
    folder, rows, size, *paths = sys.argv[1:]
    module.SHARD_BYTES = int(rows) * 3 * int(size) ** 2
    files = ImageFiles(Path(folder), paths, int(size))
    module.Prepared.of(Path(folder) / "arrays", "photos", files).make(jobs=2)
"""


def test_a_killed_run_leaves_whole_shards_and_no_process_and_the_next_makes_the_rest(photos):
    # Half of the pictures are never done: it is killed in the midst of its work, however soon.
    many = [f"big/{number:03}.png" for number in range(120)]
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    (photos / "big").mkdir()
    from PIL import Image

    Image.fromarray(pixels).save(photos / many[0], compress_level=1)
    for path in many[1:]:
        shutil.copy(photos / many[0], photos / path)
    script = photos / "stuck.py"
    script.write_text(STUCK)
    command = [sys.executable, str(script), str(photos), str(ROWS), str(SIZE), *many]
    run = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    )
    arrays = Prepared.of(photos / "arrays", "photos", ImageFiles(photos, many, SIZE))
    until(lambda: len(list(arrays.folder.glob("*.json"))) >= 2)
    family = children(run.pid)
    run.send_signal(signal.SIGKILL)
    run.wait()
    until(lambda: all(state(one) == "Z" for one in family))
    made = [record is not None for record in replace(arrays).records]
    assert any(made)
    assert not all(made)
    first = written(arrays)
    kept = {f"{number:05}.npy" for number, there in enumerate(made) if there}
    replace(arrays).make(jobs=2)
    again = written(arrays)
    assert {name for name in kept if first[name] != again[name]} == set()
    images = replace(arrays).opened(COMMAND)
    assert all(images.made)
    np.testing.assert_array_equal(
        images[np.arange(120)], np.repeat(ImageFiles(photos, many, SIZE)[np.array([0])], 120, 0)
    )
    assert not list(arrays.folder.glob("*.draft"))


def children(process):
    return [
        int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def test_a_list_that_somebody_has_edited_is_left_alone(tmp_path):
    file = leave_list(tmp_path, "unreadable.txt", ["a.png"])
    assert leave_list(tmp_path, "unreadable.txt", ["b.png"]) == file
    file.write_text("b.png\nmine.png\n")
    other = leave_list(tmp_path, "unreadable.txt", ["c.png"])
    assert (other.name, other.read_text()) == ("unreadable_2.txt", "c.png\n")
    assert file.read_text() == "b.png\nmine.png\n"


def test_only_drafts_of_shards_are_cleared_away(photos):
    arrays = prepared(photos)
    arrays.folder.mkdir(parents=True)
    for name in ("00001.draft", "mine.draft"):
        (arrays.folder / name).touch()
    arrays.make(jobs=1)
    assert [file.name for file in arrays.folder.glob("*.draft")] == ["mine.draft"]
