import gzip
import struct

import numpy as np
import pytest

from mlu.data.sets.mnist import MNIST
from tests.support.array_files import TEST, TRAIN, idx, refusal, write_mnist

DIGITS = tuple("0123456789")


def mnist(root, **fields):
    return MNIST(**{"name": "mnist", "root": root, "image_size": 32, "labels": DIGITS, **fields})


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_what_was_written(tmp_path, zipped):
    written = write_mnist(tmp_path, zipped)
    data = mnist(tmp_path).load()
    for channel in range(3):
        np.testing.assert_array_equal(data.images[:, channel, 2:30, 2:30], written.pixels)
    assert data.images.sum() == 3 * written.pixels.sum()  # the margin is black
    np.testing.assert_array_equal(data.targets.argmax(1), written.classes)


def test_reads_the_very_bytes_of_the_format(tmp_path):
    write_mnist(tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    glyph = bytes(
        [7, 8, *[0] * 26, 9, *[0] * 755]
    )  # two pixels of the top row, then the first of the next row
    (raw / "t10k-images-idx3-ubyte").write_bytes(
        b"\0\0\x08\x03\0\0\0\x02\0\0\0\x1c\0\0\0\x1c" + glyph + bytes(784)
    )
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\x07\x00")
    data = mnist(tmp_path).load()
    image = data.images[-2]
    assert [image[0, 2, 2], image[1, 2, 3], image[2, 3, 2], image.sum()] == [7, 8, 9, 72]
    assert data.images[-1].sum() == 0
    np.testing.assert_array_equal(data.targets[-2:].argmax(1), [7, 0])


def test_equals_torchvisions_reader(tmp_path):
    torchvision = pytest.importorskip("torchvision.datasets")
    write_mnist(tmp_path)
    ours = mnist(tmp_path, split="official").load()
    for train in (True, False):
        theirs = torchvision.MNIST(str(tmp_path), train=train)
        rows = ours.split == (-1 if train else 2)
        np.testing.assert_array_equal(ours.images[rows][:, 0, 2:30, 2:30], theirs.data)
        np.testing.assert_array_equal(ours.targets[rows].argmax(1), theirs.targets)


def test_gzipped_and_plain_files_may_be_mixed_and_plain_ones_come_first(tmp_path):
    write_mnist(tmp_path, zipped=True, seed=1)
    plain = write_mnist(tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    (raw / "t10k-labels-idx1-ubyte").unlink()
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(plain.classes[plain.test])))
    data = mnist(tmp_path).load()
    np.testing.assert_array_equal(data.images[:, 0, 2:30, 2:30], plain.pixels)
    np.testing.assert_array_equal(data.targets.argmax(1), plain.classes)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def header(*numbers):
    return struct.pack(f">{len(numbers)}I", *numbers)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (IMAGES, header(0x803, 3, 28, 28) + bytes(2 * 784), ["3 x 28 x 28", "1,568 follow"]),
        (IMAGES, header(0x803, 3, 28, 28) + bytes(3 * 784 + 1), ["3 x 28 x 28", "2,353 follow"]),
        (IMAGES, header(0x803, 2**32 - 1, 28, 28) + bytes(784), ["4294967295 x 28 x 28"]),
        (IMAGES, header(0x803, 3, 27, 28) + bytes(3 * 27 * 28), ["28 x 28", "(3, 27, 28)"]),
        (IMAGES, header(0x803, 3), ["00000803"]),
        (IMAGES, header(0x801, 60) + bytes(60), ["00000803", "00000801"]),
        (IMAGES, header(0xD03, 3, 28, 28) + bytes(4 * 3 * 784), ["00000803", "00000d03"]),
        (IMAGES, struct.pack("<4I", 0x803, 3, 28, 28) + bytes(3 * 784), ["00000803", "03080000"]),
        (LABELS, header(0x801, TRAIN) + bytes(TRAIN - 1), [f"says {TRAIN} bytes", "59 follow"]),
        (LABELS, header(0x801, TRAIN + 1) + bytes(TRAIN + 1), ["61 labels", "60 images"]),
        (
            LABELS,
            header(0x801, TRAIN) + bytes([*[1] * 59, 10]),
            ["image 59", "label 10,", "0 to 9"],
        ),
        (LABELS, header(0x803, 3, 28, 28) + bytes(3 * 784), ["00000801", "00000803"]),
        (LABELS, b"", ["00000801", "''"]),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_malformed_file_is_named(tmp_path, name, content, says, zipped):
    write_mnist(tmp_path, zipped)
    file = tmp_path / "MNIST" / "raw" / (name + ".gz" * zipped)
    file.write_bytes(gzip.compress(content) if zipped else content)
    message = refusal(mnist(tmp_path))
    assert all(word in message for word in [str(file), *says, "intact"]), message


@pytest.mark.parametrize("damage", ["cut", "text", "middle", "checksum"])
def test_a_damaged_gzip_is_named(tmp_path, damage):
    write_mnist(tmp_path, zipped=True)
    file = tmp_path / "MNIST" / "raw" / f"{IMAGES}.gz"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[:-100]
    elif damage == "text":
        content = b"not gzip"
    else:
        place = len(content) // 2 if damage == "middle" else -6
        content[place] ^= 0xFF
    file.write_bytes(content)
    message = refusal(mnist(tmp_path))
    assert str(file) in message
    assert "intact" in message


def test_the_two_parts_may_not_lend_each_other_labels(tmp_path):
    write_mnist(tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    (raw / LABELS).write_bytes((raw / "t10k-labels-idx1-ubyte").read_bytes())
    message = refusal(mnist(tmp_path))
    assert all(word in message for word in (LABELS, f"{TEST} labels", f"{TRAIN} images"))
