"""Files of features: what models give of each image, in NumPy archives and Parquet tables."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from mlu.data.spelling import plain_path
from mlu.models.outputs import Answers
from mlu.system.errors import UserError, did_you_mean, first_line

IMAGE, LABELS = "image", "labels"
"""Names of the images' paths, and of the names of the outputs."""

OUTPUTS = "_outputs"
"""End of the name of a model's outputs."""

FEATURES_STAGE = "features"
"""Name of the only stage of a model of which nothing else is known."""

_KNOWN = ("after", "before", "retrain", "baseline")


@dataclass(frozen=True)
class FeatureFile:
    """Features and outputs that models give of each image.

    Attributes:
        path: For messages.
        images: Path of each image, as in the label table.
        arrays: By name, float32: `after`, `before`, `retrain` and `baseline` are features, shape
            (images, numbers); with `_outputs` behind they are outputs, shape (images, labels).
        labels: Names of the outputs in order; None where the file does not say.
    """

    path: Path
    images: Sequence[str]
    arrays: Mapping[str, np.ndarray]
    labels: Sequence[str] | None

    def rows(self, wanted: Sequence[str]) -> np.ndarray:
        """The row of each image that is wanted; raises UserError where one is missing."""
        place = {plain_path(name): row for row, name in enumerate(self.images)}
        missing = [name for name in wanted if plain_path(name) not in place]
        if missing:
            raise UserError(
                f"features={self.path} has nothing of {len(missing):,} of the {len(wanted):,} "
                f"images that are asked about, such as {missing[0]}: are they of other images?"
            )
        return np.array([place[plain_path(name)] for name in wanted])

    def answers(self, name: str, rows: np.ndarray, labels: int) -> Answers:
        """Features and outputs of some rows; outputs that are not there are zeros."""
        features = self.arrays[name][rows]
        said = self.arrays.get(f"{name}{OUTPUTS}")
        logits = np.zeros((len(rows), labels), np.float32) if said is None else said[rows]
        return Answers(torch.from_numpy(logits), {FEATURES_STAGE: torch.from_numpy(features)})


def read_features(path: Path, labels: Sequence[str]) -> FeatureFile:
    """The content of a file of features.

    Args:
        path: NumPy's archive (.npz), or Parquet.
        labels: Names of the outputs, in order.

    Raises:
        UserError: If it is neither, or what it holds does not fit together.
    """
    content = parquet_columns(path) if is_parquet(path) else archive_arrays(path)
    if IMAGE not in content:
        raise UserError(
            f"features={path} has no {IMAGE!r}, the path of each image as in the table: "
            f"it has {', '.join(content) or 'nothing'}"
        )

    images = [str(name) for name in names_in(path, IMAGE, content.pop(IMAGE))]
    if len(set(map(plain_path, images))) < len(images):
        raise UserError(f"features={path} has an image twice: keep one row of each")

    said = content.pop(LABELS, None)
    own = None if said is None else [str(name) for name in names_in(path, LABELS, said)]
    if own is not None and own != list(labels):
        raise UserError(
            f"features={path} has outputs of {', '.join(own)}, in this order, and the data set's "
            f"labels are {', '.join(labels)}: set 'dataset.labels=[{','.join(own)}]'"
        )

    if "after" not in content:
        raise UserError(
            f"features={path} has no 'after', the features of the model to audit: "
            f"it has {', '.join(content) or 'none'}"
        )

    arrays = {}
    for name, values in content.items():
        arrays[name] = checked(path, name, values, len(images), len(labels))
        if name.removesuffix(OUTPUTS) not in content:
            raise UserError(f"features={path} has {name} without {name.removesuffix(OUTPUTS)}")

    return FeatureFile(path, images, arrays, own)


def is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def archive_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an archive; nothing that is pickled is read."""
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UserError(
                    f"features={path} holds one array without names: write np.savez(FILE, "
                    "image=..., after=...)"
                )
            return {name: archive[name] for name in archive.files}

    except UserError:
        raise
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as fault:
        raise UserError(
            f"features={path} is neither Parquet nor an archive of plain arrays: "
            f"{first_line(fault)}"
        ) from fault


def parquet_columns(path: Path) -> dict[str, Any]:
    """The columns of a table: text, or lists of equally many numbers."""
    try:
        table = pyarrow.parquet.read_table(path)
    except (pa.ArrowException, OSError) as fault:
        raise UserError(
            f"features={path} cannot be read as Parquet: {first_line(fault)}"
        ) from fault

    found: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if column.null_count:
            raise UserError(f"features={path}: {name} has empty rows: each image needs its own")
        kind = column.type
        if (
            pa.types.is_list(kind)
            or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        ):
            sizes = {len(row) for row in column}
            if len(sizes) != 1:
                raise UserError(f"features={path}: the rows of {name} are not equally long")
            flat = column.flatten().to_numpy(zero_copy_only=False)
            found[name] = flat.reshape(len(column), sizes.pop())
        else:
            found[name] = np.array(column.to_pylist())

    return found


def names_in(path: Path, what: str, values: Any) -> np.ndarray:
    """An array of text, shape (names,)."""
    found = np.asarray(values)
    if found.ndim != 1 or found.dtype.kind not in "US":
        raise UserError(f"features={path}: {what} must be a list of names, got {found.dtype}")
    return found.astype(str)


def checked(path: Path, name: str, values: Any, images: int, labels: int) -> np.ndarray:
    """An array of a known name, with a row of finite numbers for each image."""
    kind = name.removesuffix(OUTPUTS)
    if kind not in _KNOWN:
        known = [*_KNOWN, *(f"{one}{OUTPUTS}" for one in _KNOWN), IMAGE, LABELS]
        hint = did_you_mean(name, known) or "."
        raise UserError(f"features={path}: nobody knows {name!r}{hint} There may be {known}")

    found = np.asarray(values)
    if found.dtype.kind not in "fiu":
        raise UserError(f"features={path}: {name} must be numbers, got {found.dtype}")
    if found.ndim != 2 or not found.shape[1] or len(found) != images:
        raise UserError(
            f"features={path}: {name} must have a row for each of the {images} images, "
            f"got shape {found.shape}"
        )
    if name.endswith(OUTPUTS) and found.shape[1] != labels:
        raise UserError(
            f"features={path}: {name} has {found.shape[1]} outputs, and there are {labels} labels"
        )
    if not np.isfinite(found).all():
        raise UserError(f"features={path}: {name} has numbers that are not finite")

    return found.astype(np.float32)
