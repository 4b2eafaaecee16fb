import numpy as np
import pytest

from tests.support.forked import warm
from tests.support.photo_folder import write_lines, write_photos

PATHS = [f"{number}.png" for number in range(200)]


@pytest.fixture
def root(tmp_path):
    write_photos(tmp_path, PATHS)
    signs = np.random.default_rng(0).integers(0, 2, (200, 2))
    rows = (f"{path},{one},{two}" for path, (one, two) in zip(PATHS, signs, strict=True))
    write_lines(tmp_path / "labels.csv", "image,Bald,Young", *rows)
    return tmp_path


def command(name, root, *overrides):
    given = [
        "dataset=csv",
        f"dataset.root={root}",
        "dataset.image_size=24",
        f"outputs={root / 'outputs'}",
        *overrides,
    ]
    return warm(f"mlu.{name}", given, root / "said")


def test_prepare_then_doctor_then_exclude(root):
    (root / PATHS[5]).write_bytes(b"no image")
    done = command("prepare", root)
    unreadable = next((root / "outputs/cache/prepared").glob("csv-24px-*/unreadable.txt"))
    assert done.code == 1, done.stderr
    assert "csv: 200 images of 24 x 24 pixels" in done.stdout
    assert "1 images cannot be read" in done.stdout
    assert f"dataset.exclude={unreadable}" in done.stdout
    assert unreadable.read_text() == "5.png\n"
    done = command("doctor", root)
    listed = root / "outputs/doctor/csv/unreadable.txt"
    assert done.code == 1
    assert "is not fit" in done.stdout
    assert f"dataset.exclude={listed}" in done.stdout
    assert listed.read_text() == "5.png\n"
    assert (root / "outputs/doctor/csv/labels.png").read_bytes().startswith(b"\x89PNG")
    for name, says in (
        ("prepare", "200 images"),
        ("doctor", "is fit for training and measuring: 0 faults"),
    ):
        done = command(name, root, f"dataset.exclude={listed}")
        assert done.code == 0, done.stdout + done.stderr
        assert says in done.stdout
    shard = next((root / "outputs/cache/prepared").glob("*/00000.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    done = command("doctor", root, f"dataset.exclude={listed}")
    assert done.code == 1
    assert f"{shard} is damaged" in done.stdout


def test_a_folder_that_cannot_be_is_one_line(root):
    done = command("prepare", root, "dataset.prepared=/dev/null/x")
    assert done.code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cannot read or write /dev/null/x")


def test_images_that_come_in_arrays_need_no_preparation(tmp_path):
    done = warm("mlu.prepare", ["dataset=digits"], tmp_path)
    assert done.code == 0
    assert "nothing to prepare" in done.stdout
