import pytest

from tests.support.forked import warm
from tests.support.photo_commands import PATHS, photo_command, write_labelled_photos


@pytest.fixture
def root(tmp_path):
    return write_labelled_photos(tmp_path)


def test_images_that_cannot_be_read_are_listed_and_excluding_them_mends_it(root):
    (root / PATHS[5]).write_bytes(b"no image")
    done = photo_command("prepare", root)
    unreadable = next((root / "outputs/cache/prepared").glob("csv-24px-*/unreadable.txt"))
    assert done.code == 1, done.stderr
    assert "csv: 200 images of 24 x 24 pixels" in done.stdout
    assert "1 images cannot be read" in done.stdout
    assert f"dataset.exclude={unreadable}" in done.stdout
    assert unreadable.read_text() == "5.png\n"
    done = photo_command("prepare", root, f"dataset.exclude={unreadable}")
    assert done.code == 0, done.stdout + done.stderr
    assert "200 images" in done.stdout


def test_a_folder_that_cannot_be_is_one_line(root):
    done = photo_command("prepare", root, "dataset.prepared=/dev/null/x")
    assert done.code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cannot read or write /dev/null/x")


def test_images_that_come_in_arrays_need_no_preparation(tmp_path):
    done = warm("mlu.prepare", ["dataset=digits"], tmp_path)
    assert done.code == 0
    assert "nothing to prepare" in done.stdout
