from dataclasses import replace

import numpy as np
import pytest
from PIL import ExifTags, Image

from mlu.data.sets.csv import Csv
from mlu.data.treatment import treated_rows, treatments
from tests.support.photo_folder import SIZE, write_lines, write_photos

pytestmark = pytest.mark.usefixtures("quick_processes")

PATHS = [f"{number}.png" for number in range(60)]


@pytest.fixture
def root(tmp_path):
    write_photos(tmp_path, PATHS)
    write_lines(tmp_path / "labels.csv", "image,Bald", *(f"{path},{path[0]}" for path in PATHS))
    return tmp_path


def photos(root, **fields):
    given = {"table": "labels.csv", "class_column": "Bald", "prepared": root / "prepared"}
    return Csv(name="csv", root=root, image_size=SIZE, **given, **fields)


def test_a_file_that_cannot_be_read_has_no_treatment(tmp_path):
    assert treatments(tmp_path / "none.png") == []


@pytest.mark.parametrize("ready", [False, True])
def test_pictures_that_are_learnt_otherwise_than_stored_are_named(root, ready):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    plain = Image.open(root / PATHS[0])
    plain.save(root / PATHS[2], exif=exif)
    plain.convert("RGBA").save(root / PATHS[4])  # opaque all over
    half = plain.convert("RGBA")
    half.putalpha(100)
    half.save(root / PATHS[6], exif=exif)
    plain.convert("L").convert("I;16").save(root / PATHS[7])
    plain.save(root / PATHS[9], save_all=True, append_images=[plain.convert("L").convert("RGB")])
    if ready:
        dataset = photos(root)
        dataset.arrays(dataset.read()).make(jobs=1)
    done = []
    data = photos(root, exclude=write_lines(root / "out.txt", PATHS[0])).load()
    found = treated_rows(data, done.append)
    assert found == {"turned": [1, 5], "composed": [5], "converted": [6], "animated": [8]}
    assert sum(done) == 59
    assert treated_rows(replace(data, images=np.zeros((59, 3, 8, 8))), done.append) == {}
