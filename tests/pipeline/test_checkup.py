"""What the doctor says of a data set, by its command."""

import math

import pytest
from PIL import ExifTags, Image

from tests.support.photo_commands import PATHS, photo_command, write_labelled_photos
from tests.support.photo_folder import write_lines


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


def test_it_says_what_the_test_people_can_show_and_what_that_assumes(root):
    done = photo_command("doctor", root, "policy.max_excess=0.05")
    said = done.stdout.split("what the test people can show of forgetting")[1]
    rows = {cells[0]: cells[1:] for line in said.splitlines() if (cells := columns_of(line))}
    having, lacking = (int(count) for count in rows["Bald"][:2])
    assert 15 < having + lacking < 25
    half = 1.95996 * (0.25 * (1 / having + 1 / lacking) / 4) ** 0.5
    assert rows["Bald"][2] == f"{100 * half:.1f} points"
    needed = math.ceil(min(having, lacking) * (half / 0.05) ** 2)
    assert rows["Bald"][3] == f"{needed:,} people"
    assert "correlate by 0.5" in said


@pytest.mark.parametrize("same", [True, False])
def test_it_warns_of_a_label_that_the_others_tell(same, root):
    if same:
        rows = (root / "labels.csv").read_text().splitlines()[1:]
        rows = [f"{path},{one},{one}" for path, one, _ in (row.split(",") for row in rows)]
        write_lines(root / "labels.csv", "image,Bald,Young", *rows)
    done = photo_command("doctor", root)
    for label in ("Bald", "Young"):
        line = f"warning: {label}: the retained labels alone tell it to 1.00 of balanced accuracy"
        assert (line in done.stdout) == same, done.stdout


def columns_of(line):
    """Cells of a line of a table."""
    return [cell.strip() for cell in line.strip("│").split("│")] if line.startswith("│") else []


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
