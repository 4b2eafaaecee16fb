import multiprocessing
import os

import numpy as np
import pytest
from PIL import Image

from mlu.data.files import NO_FILE, ImageFiles, download, settle
from mlu.system.errors import UserError
from tests.support.photo_folder import SIZE, write_photos

PATHS = [f"{number}.png" for number in range(6)]


@pytest.mark.parametrize(("width", "height"), [(178, 218), (61, 40), (500, 700)])
def test_decoding_equals_a_plain_crop_and_resize(tmp_path, width, height):
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=95)
    left, top, side = (
        (width - min(width, height)) // 2,
        (height - min(width, height)) // 2,
        min(width, height),
    )
    plain = Image.fromarray(ramp[top : top + side, left : left + side]).resize(
        (32, 32), Image.Resampling.BILINEAR
    )
    png, jpeg = ImageFiles(tmp_path, ("a.png", "a.jpg"), 32)[np.array([0, 1])].astype(int)
    np.testing.assert_array_equal(png, np.asarray(plain).transpose(2, 0, 1))
    assert (
        np.abs(jpeg - png).max() <= 8
    )  # JPEG's own loss, and its decoding at a half or a quarter of the size


def test_every_kind_of_image_becomes_rgb(tmp_path):
    for mode in ("L", "P", "RGBA", "CMYK"):
        Image.new(mode, (20, 30)).save(tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}")
    images = ImageFiles(tmp_path, ("L.png", "P.png", "RGBA.png", "CMYK.jpg"), 8)
    assert images[np.arange(4)].shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "a/../../b.jpg", "/etc/hostname", "..\\b.jpg", "C:\\b.jpg", ".."]
)
def test_a_path_out_of_the_folder_is_refused(tmp_path, path):
    with pytest.raises(UserError) as error:
        ImageFiles(tmp_path, ("fine..name.jpg", path), 8)
    assert repr(path) in str(error.value)


def test_images_can_be_read_in_a_forked_process(tmp_path):
    write_photos(tmp_path, PATHS)
    images, rows = ImageFiles(tmp_path, PATHS, SIZE), np.arange(4)
    here = images[rows]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there = pool.apply_async(images.__getitem__, (rows,)).get(timeout=20)
    np.testing.assert_array_equal(here, there)


def test_images_come_by_rows_in_any_order(tmp_path):
    pixels = write_photos(tmp_path, PATHS)
    rows = np.array([5, 0, 5])
    np.testing.assert_array_equal(ImageFiles(tmp_path, PATHS, SIZE)[rows], pixels[rows])


def test_the_state_of_a_file_is_its_size_time_and_number_and_of_none_that_there_is_none(tmp_path):
    write_photos(tmp_path, PATHS[:1])
    os.utime(tmp_path / PATHS[0], ns=(5, 7))
    state = ImageFiles(tmp_path, PATHS[:2], SIZE).state()
    facts = (tmp_path / PATHS[0]).stat()
    assert state.tolist() == [[facts.st_size, 7, facts.st_dev, facts.st_ino], [NO_FILE] * 4]


def test_a_zero_byte_in_a_path_is_refused(tmp_path):
    with pytest.raises(UserError, match="has a zero byte"):
        ImageFiles(tmp_path, ("a\0.png",), SIZE)


def test_what_was_fetched_leaves_what_is_there(tmp_path):
    draft, home = tmp_path / "draft", tmp_path / "home"
    files = {"draft/in/a": "new", "draft/in/c": "c", "home/in/a": "mine", "home/in/b": "b"}
    for file, text in ((tmp_path / name, text) for name, text in files.items()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    settle(draft, home)
    assert {file.name: file.read_text() for file in (home / "in").iterdir()} == {
        "a": "mine",
        "b": "b",
        "c": "c",
    }
    assert not draft.exists()


def test_a_download_that_cannot_be_names_the_other_way(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"toy could not be downloaded to .*dataset\.root="):
        download("toy", "MNIST", tmp_path / "file")
