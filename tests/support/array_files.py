"""Small CIFAR-10, MNIST and SVHN folders, byte for byte in the format of the real ones.

For tests.
"""

import gzip
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mlu.system.errors import UserError

CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
TRAIN, TEST = 60, 20
BATCH = TRAIN // 5


@dataclass(frozen=True)
class Facts:
    """What is written: uint8 of shape (images, 32, 32, 3) or (images, 28, 28), 0 to 9 of shape
    (images,), test part."""

    pixels: np.ndarray
    classes: np.ndarray
    test: np.ndarray


def facts(*shape: int, train: int = TRAIN, test: int = TEST, seed: int = 0) -> Facts:
    """Random pixels; each class is on a tenth of the images of either part."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (train + test, *shape), dtype=np.uint8)
    classes = np.concatenate([rng.permutation(np.arange(part) % 10) for part in (train, test)])
    return Facts(pixels, classes, np.arange(train + test) >= train)


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike as Python 2 wrote its `str`."""

    def save_str(self, value):
        value = value.encode("ascii") if isinstance(value, str) else value
        short = len(value) < 256
        code = pickle.SHORT_BINSTRING if short else pickle.BINSTRING
        self.write(code + struct.pack("<B" if short else "<i", len(value)) + value)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, str: save_str, bytes: save_str}  # noqa: RUF012


def dump(file: Path, content: object, protocol: int | None = None) -> None:
    """Pickle `content` as Python 3 does by this protocol; None: as Python 2 did, with numpy's names
    of its time."""
    with file.open("wb") as stream:
        if protocol is not None:
            pickle.dump(content, stream, protocol)
            return
        draft = file.with_suffix(".draft")
        with draft.open("wb") as other:
            Python2Pickler(other, 2).dump(content)
        stream.write(draft.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))
        draft.unlink()


def cifar_batch(pixels: np.ndarray, classes: np.ndarray) -> dict:
    """Content of a batch file.

    Red, green and blue plane of each image in a row of 3,072 numbers.
    """
    planes = [pixels[..., channel].reshape(len(pixels), -1) for channel in range(3)]
    names = [f"picture_{number}.png" for number in range(len(pixels))]
    return {
        "batch_label": "a batch",
        "labels": [int(number) for number in classes],
        "data": np.concatenate(planes, axis=1),
        "filenames": names,
    }


def in_bytes(content: dict) -> dict:
    """With bytes for keys and texts."""
    return {
        key.encode(): [one.encode() if isinstance(one, str) else one for one in value]
        if isinstance(value, list)
        else value
        for key, value in content.items()
    }


def write_cifar(root: Path, protocol: int | None = None, keys=dict, **options) -> Facts:
    """Write `root/cifar-10-batches-py`: five files for training, one for the test."""
    made, folder = facts(32, 32, 3, **options), root / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    batch = int((~made.test).sum()) // 5
    for number in range(5):
        rows = slice(number * batch, (number + 1) * batch)
        dump(
            folder / f"data_batch_{number + 1}",
            keys(cifar_batch(made.pixels[rows], made.classes[rows])),
            protocol,
        )
    dump(
        folder / "test_batch",
        keys(cifar_batch(made.pixels[made.test], made.classes[made.test])),
        protocol,
    )
    meta = {"num_cases_per_batch": batch, "label_names": list(CIFAR_CLASSES), "num_vis": 3072}
    dump(folder / "batches.meta", keys(meta), protocol)
    return made


def idx(array: np.ndarray) -> bytes:
    return (
        struct.pack(f">{array.ndim + 1}i", 0x800 + array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


def write_mnist(root: Path, zipped: bool = False, **options) -> Facts:
    """Write `root/MNIST/raw`: images and labels of `train` and `t10k`."""
    made, folder = facts(28, 28, **options), root / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", ~made.test), ("t10k", made.test)):
        for kind, array in (
            ("images-idx3", made.pixels[rows]),
            ("labels-idx1", made.classes[rows]),
        ):
            file = folder / f"{name}-{kind}-ubyte{'.gz' if zipped else ''}"
            file.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    return made


def write_svhn(root: Path, **options) -> Facts:
    """Write `root/train_32x32.mat` and `root/test_32x32.mat`."""
    made = facts(32, 32, 3, **options)
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", ~made.test), ("test", made.test)):
        write_mat(root / f"{name}_32x32.mat", made.pixels[rows], made.classes[rows])
    return made


def write_mat(file: Path, pixels: np.ndarray, classes: np.ndarray) -> None:
    digits = np.where(classes == 0, 10, classes).astype(np.uint8)[:, None]
    savemat(file, {"X": np.moveaxis(pixels, 0, 3), "y": digits}, format="5", do_compression=True)


def refusal(dataset) -> str:
    """The message of the UserError that loading ends with: one line."""
    with pytest.raises(UserError) as error:
        dataset.load()
    assert "\n" not in str(error.value)
    return str(error.value)
