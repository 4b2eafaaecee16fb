"""CIFAR-10: 60,000 photographs of ten kinds of things, 32 x 32 pixels.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009;
www.cs.toronto.edu/~kriz/cifar.html. Its files are pickles, which could run any code when they are
read; here they cannot.
"""

import codecs
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlu.data.arrays import SMALL_SIDE, ImageArrays, Part, classes_of, decoding, malformed
from mlu.data.files import download

_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST, _META = "test_batch", "batches.meta"

NUMBERS = 3 * SMALL_SIDE * SMALL_SIDE
"""Numbers in the row of an image."""


@dataclass(frozen=True, kw_only=True)
class CIFAR10(ImageArrays):
    """CIFAR-10 as torchvision lays it out.

    `cifar-10-batches-py/` below `root`, or `root` itself, holds these pickles:

    - `data_batch_1` to `data_batch_5` and `test_batch`: `data`, uint8, shape (n, 3072), of each
      image the red, green and blue plane row by row, and `labels`, a list of n numbers from 0 to 9;
    - `batches.meta`: `label_names`, the ten classes.
    """

    classes: ClassVar = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    folders: ClassVar = ("cifar-10-batches-py", "")
    files: ClassVar = (*_TRAIN, _TEST, _META)
    origin: ClassVar = "CIFAR-10 for Python (www.cs.toronto.edu/~kriz/cifar.html)"

    def read(self, files: Mapping[str, Path]) -> list[Part]:
        names = unpickled(files[_META]).get("label_names")
        if not isinstance(names, list) or tuple(map(decoded_text, names)) != self.classes:
            raise malformed(
                files[_META], f"label_names must be {', '.join(self.classes)}, got {names!r:.200}"
            )

        return [read_batch(files[name], test=name == _TEST) for name in (*_TRAIN, _TEST)]

    def fetch(self, root: Path, missing: Sequence[str]) -> None:
        download(self.name, "CIFAR10", root)


def read_batch(file: Path, test: bool) -> Part:
    """The images of one file; raises UserError if it is damaged or malformed."""
    batch = unpickled(file)
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or data.shape[1:] != (NUMBERS,):
        got = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise malformed(file, f"data must be an array of shape (n, {NUMBERS}), got {got}")
    if not isinstance(labels, list):
        raise malformed(file, f"labels must be a list of numbers, got {type(labels).__name__}")

    pixels = data.reshape(-1, 3, SMALL_SIDE, SMALL_SIDE)

    return Part(pixels, classes_of(file, labels, len(data), range(10)), test)


def unpickled(file: Path) -> dict[str, Any]:
    """The mapping that a pickle of Python 2 or 3 holds.

    Raises:
        UserError: If it is damaged or holds what it must not.
    """
    with decoding(file), file.open("rb") as stream:
        content = BytesUnpickler(stream, encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(
                f"it holds a {type(content).__name__} where a dict should be"
            )

        return {
            decoded_text(key): value.array() if isinstance(value, Plan) else value
            for key, value in content.items()
        }


def decoded_text(value: Any) -> Any:
    """A string of Python 2, which is bytes for Python 3, as a string; anything else as it is."""
    return value.decode("latin1") if isinstance(value, bytes) else value


class Plan:
    """A note of how a pickle would make an array or a dtype, which is not done.

    numpy's own functions are no safe ones to call: with a forged dtype they follow any pointer that
    the file names.

    Attributes:
        made: What it is made from.
        state: What it is set to then; None for nothing.
    """

    def __init__(self, *made: Any) -> None:
        self.made, self.state = made, None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """The array, uint8, read-only.

        An exception of any kind says that this is a plan for something else.
        """
        if self.state is None:
            content, kind, shape, order = self.made  # since protocol 5
        else:
            _, shape, kind, by_column, content = self.state
            order = "F" if by_column else "C"

        if decoded_text(kind.made[0]) != "u1":
            raise pickle.UnpicklingError(
                f"it has an array of type {decoded_text(kind.made[0])!r:.20} "
                "where u1 (uint8) should be"
            )

        return np.frombuffer(content, np.uint8).reshape(shape, order=order)


class BytesUnpickler(pickle.Unpickler):
    """A reader of numbers, strings, collections and numpy arrays (each as a `Plan`).

    Any other name is not even imported.
    """

    NAMES: ClassVar[Mapping[str, Any]] = {
        "numpy.ndarray": Plan,
        "numpy.dtype": Plan,
        "numpy._core.multiarray._reconstruct": Plan,
        "numpy._core.numeric._frombuffer": Plan,
        "_codecs.encode": codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        known = f"{module.replace('numpy.core.', 'numpy._core.')}.{name}"
        if known not in self.NAMES:
            raise pickle.UnpicklingError(
                f"it asks for {f'{module}.{name}'!r}, which no array needs and may do harm"
            )
        return self.NAMES[known]
