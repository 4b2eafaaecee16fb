import pytest
from PIL import ExifTags, Image

from tests.support.photo_commands import PATHS, photo_command, write_labelled_photos


@pytest.fixture
def root(tmp_path):
    return write_labelled_photos(tmp_path)


def test_faults_are_said_listed_and_drawn_and_excluding_them_mends_it(root):
    (root / PATHS[5]).write_bytes(b"no image")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    Image.open(root / PATHS[7]).save(root / PATHS[7], exif=exif)
    done = photo_command("doctor", root)
    assert "1 images are turned upright, as EXIF or XMP says, such as 7.png" in done.stdout
    assert (root / "outputs/doctor/csv/turned.txt").read_text() == "7.png\n"
    listed = root / "outputs/doctor/csv/unreadable.txt"
    assert done.code == 1
    assert "is not fit" in done.stdout
    assert f"dataset.exclude={listed}" in done.stdout
    assert listed.read_text() == "5.png\n"
    assert (root / "outputs/doctor/csv/labels.png").read_bytes().startswith(b"\x89PNG")
    done = photo_command("doctor", root, f"dataset.exclude={listed}")
    assert done.code == 0, done.stdout + done.stderr
    assert "is fit for training and measuring: 0 faults" in done.stdout


def test_prepared_images_whose_bytes_have_changed_are_a_fault(root):
    (root / PATHS[5]).write_bytes(b"no image")
    assert photo_command("prepare", root).code == 1
    (listed,) = (root / "outputs/cache/prepared").glob("csv-24px-*/unreadable.txt")
    done = photo_command("doctor", root, f"dataset.exclude={listed}")
    assert done.code == 0, done.stdout + done.stderr
    shard = next((root / "outputs/cache/prepared").glob("*/00000.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    done = photo_command("doctor", root, f"dataset.exclude={listed}")
    assert done.code == 1
    assert f"{shard} is damaged" in done.stdout
