import numpy as np
import pytest
from scipy.io import savemat

from mlu.data.sets.svhn import SVHN
from tests.support.array_files import TEST, refusal, write_svhn

DIGITS = tuple("0123456789")


def svhn(root, **fields):
    return SVHN(**{"name": "svhn", "root": root, "image_size": 32, "labels": DIGITS, **fields})


def test_reads_what_was_written(tmp_path):
    written = write_svhn(tmp_path)
    data = svhn(tmp_path).load()
    np.testing.assert_array_equal(data.images.transpose(0, 2, 3, 1), written.pixels)
    np.testing.assert_array_equal(data.targets.argmax(1), written.classes)


@pytest.mark.parametrize("numbers", [np.uint8, np.float64, np.int64])
def test_the_axes_are_row_column_channel_image_and_ten_is_the_digit_zero(tmp_path, numbers):
    write_svhn(tmp_path)
    pixels = np.zeros((32, 32, 3, 2), np.uint8)
    pixels[0, 1, 0, 0], pixels[1, 0, 1, 0], pixels[5, 6, 2, 1] = 7, 8, 9
    savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.array([[10], [1]], dtype=numbers)})
    data = svhn(tmp_path).load()
    first, second = data.images[-2:]
    assert [first[0, 0, 1], first[1, 1, 0], first.sum()] == [7, 8, 15]
    assert [second[2, 5, 6], second.sum()] == [9, 9]
    assert [data.labels[column] for column in data.targets[-2:].argmax(1)] == ["0", "1"]


def test_equals_torchvisions_reader(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision.datasets.svhn")
    monkeypatch.setattr(torchvision, "check_integrity", lambda *_: True)
    write_svhn(tmp_path)
    ours = svhn(tmp_path, split="official").load()
    for split, number in (("train", -1), ("test", 2)):
        theirs = torchvision.SVHN(str(tmp_path), split=split)
        rows = ours.split == number
        np.testing.assert_array_equal(ours.images[rows], theirs.data)
        np.testing.assert_array_equal(ours.targets[rows].argmax(1), theirs.labels)


PIXELS, LABELS = np.zeros((32, 32, 3, 4), np.uint8), np.array([[1], [2], [3], [10]], np.uint8)


def labelled(*numbers):
    return {"X": PIXELS, "y": np.array(numbers)[:, None]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"X": PIXELS}, ["no variable y"]),
        ({"y": LABELS}, ["no variable X"]),
        ({"X": PIXELS.astype(float), "y": LABELS}, ["uint8", "float64"]),
        ({"X": PIXELS.transpose(3, 0, 1, 2), "y": LABELS}, ["(32, 32, 3, n)", "(4, 32, 32, 3)"]),
        ({"X": PIXELS[:31], "y": LABELS}, ["(31, 32, 3, 4)"]),
        ({"X": PIXELS[..., 0], "y": LABELS}, ["(32, 32, 3)"]),
        ({"X": "text", "y": LABELS}, ["(32, 32, 3, n)"]),
        ({"X": PIXELS, "y": LABELS.T}, ["(n, 1)", "(1, 4)"]),
        ({"X": PIXELS, "y": LABELS[:3]}, ["3 labels", "4 images"]),
        ({"X": PIXELS, "y": "text"}, ["y must be"]),
        (labelled(1, 0, 3, 4), ["image 1", "label 0", "1 to 10"]),
        (labelled(1, 2, 3, 11), ["image 3", "label 11", "1 to 10"]),
        (labelled(1, 2, 3.5, 4), ["image 2", "3.5"]),
        (labelled(1, 2, np.nan, 4), ["image 2", "nan"]),
        (labelled(1, 2, 3, 4j), ["image 0"]),
    ],
)
@pytest.mark.parametrize("name", ["train", "test"])
def test_a_malformed_file_is_named(tmp_path, name, content, says):
    write_svhn(tmp_path)
    file = tmp_path / f"{name}_32x32.mat"
    savemat(file, content)
    message = refusal(svhn(tmp_path))
    assert all(word in message for word in [str(file), *says, "intact"]), message


@pytest.mark.parametrize("damage", ["cut", "text", "middle", "hdf5"])
def test_a_damaged_file_is_named(tmp_path, damage):
    write_svhn(tmp_path)
    file = tmp_path / "train_32x32.mat"
    content = bytearray(file.read_bytes())
    if damage == "middle":
        content[len(content) // 3 : len(content) // 2] = bytes(
            len(content) // 2 - len(content) // 3
        )
    file.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "text": b"not a MATLAB file" * 20,
            "middle": content,
            "hdf5": b"MATLAB 7.3 MAT-file".ljust(124)
            + b"\x00\x02IM"
            + b"\x89HDF\r\n\x1a\n"
            + bytes(600),
        }[damage]
    )
    message = refusal(svhn(tmp_path))
    assert str(file) in message
    assert "intact" in message


def test_the_extra_images_are_not_needed_and_not_read(tmp_path):
    written = write_svhn(tmp_path)
    (tmp_path / "extra_32x32.mat").write_bytes(b"whatever")
    assert len(svhn(tmp_path).load().images) == len(written.classes)
    assert (svhn(tmp_path, split="official").load().split == 2).sum() == TEST
