"""Unlearned weights that somebody else made: read as tensors alone, and held against the given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors import SafetensorError, safe_open

from mlu.runs.challenge import SUBMISSIONS, Challenge
from mlu.runs.tensor_files import SAVE_TENSORS, TensorShapes, tensors_in
from mlu.system.errors import UserError, did_you_mean, first_line, printable
from mlu.system.store import checksum

ABOUT = "about.yaml"
"""File beside the weights in which their authors may say what they are."""

ERASER_NAMES = ("body.erase.weight", "body.erase.bias")
"""Weights of a layer that a method may put before the head, as LEACE does, besides the given."""

_LONGEST_NAME = 100
"""Characters of a name at most."""
_MOST_BYTES = 10_000
"""Bytes of ABOUT at most: a few lines."""
_LARGEST = 1e15
"""Nothing takes as many seconds or images."""


@dataclass(frozen=True)
class About:
    """Statements of authors on their weights: the keys of ABOUT.

    Attributes:
        method: Name of the method.
        seconds: That it took for one replicate, >= 0.
        image_passes: Images forward and backward through the network for one replicate, >= 0.
    """

    method: str | None = None
    seconds: float | None = None
    image_passes: float | None = None


@dataclass(frozen=True)
class Submission:
    """Weights for each replicate of a challenge, which fit and are finite.

    Attributes:
        name: Of its folder.
        folder: Where it lies.
        files: SHA-256 of each file of weights, by name.
        about: What its authors say.
    """

    name: str
    folder: Path
    files: Mapping[str, str]
    about: About


def read_submission(folder: Path, challenge: Challenge) -> Submission:
    """The submission in a folder. Nothing of it is run, and nothing but numbers is read.

    Raises:
        UserError: If weights are missing, are no safetensors, have other names, shapes or kinds of
            numbers than the given ones, or are not finite.
    """
    if not folder.is_dir():
        raise UserError(
            f"submission={folder} is no folder: give that which holds "
            f"{challenge.facts.replicates[0].file} and so on"
        )

    name = folder.resolve().name
    if printable(name) != name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UserError(
            f"submission={folder}: its name must be printable and of at most {_LONGEST_NAME} "
            "characters: rename the folder"
        )

    lacking = [one.file for one in challenge.facts.replicates if not (folder / one.file).is_file()]
    if lacking:
        raise UserError(
            f"submission={folder} lacks {', '.join(lacking)}: unlearn each replicate, "
            "a part of them is not judged"
        )

    sums = {}
    for replicate in challenge.facts.replicates:
        file = folder / replicate.file
        refuse_unlike(file, tensors_in(challenge.original(replicate)))
        refuse_infinite(file)
        sums[replicate.file] = checksum(file)

    return Submission(name, folder, sums, read_about(folder / ABOUT))


def submission_folders(challenge: Challenge) -> list[Path]:
    """Folders of the submissions that lie with a challenge, by name."""
    place = challenge.folder / SUBMISSIONS
    found = place.iterdir() if place.is_dir() else ()
    return sorted(one for one in found if one.is_dir() and not one.name.startswith("."))


def refuse_unlike(file: Path, given: TensorShapes) -> None:
    """Raises UserError where a file has other tensors than the given ones."""
    own = tensors_in(file)
    for name in own:
        if name not in given and name not in ERASER_NAMES:
            hint = did_you_mean(name, given) or ":"
            raise UserError(f"{file} has {name!r}, which the original lacks{hint} {SAVE_TENSORS}")

    for name, (kind, shape) in given.items():
        if name not in own:
            raise UserError(f"{file} lacks {name!r}{did_you_mean(name, own) or ':'} {SAVE_TENSORS}")
        if own[name][1] != shape:
            raise UserError(
                f"{file} has {name!r} of shape {list(own[name][1])} where {list(shape)} is "
                "needed: keep the shapes of the original"
            )
        if own[name][0] != kind:
            raise UserError(
                f"{file} has {name!r} in {own[name][0]} where {kind} is needed: "
                "convert it before it is saved"
            )


def refuse_infinite(file: Path) -> None:
    """Raises UserError where a weight is no finite number, or cannot be read as float32."""
    with safe_open(file, "np") as content:
        for name in content.keys():  # noqa: SIM118
            try:
                finite = bool(np.isfinite(content.get_tensor(name)).all())
            except (SafetensorError, TypeError, ValueError, AttributeError) as fault:
                raise UserError(
                    f"{file}: {name!r} cannot be read ({first_line(fault)}): {SAVE_TENSORS}"
                ) from fault

            if not finite:
                raise UserError(
                    f"{file}: {name!r} has numbers that are not finite (NaN or infinite): "
                    "unlearn that replicate again"
                )


def read_about(file: Path) -> About:
    """The statements of authors on their weights; none where there is no such file.

    Raises:
        UserError: If it has another key, or a value that its key cannot have.
    """
    if not file.is_file():
        return About()
    if file.stat().st_size > _MOST_BYTES:
        raise UserError(f"{file} has more than {_MOST_BYTES:,} bytes: a few lines are enough")

    try:
        content = yaml.safe_load(file.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as fault:
        raise UserError(f"{file} cannot be read as YAML: {first_line(fault)}") from fault

    if content is None:
        return About()
    if not isinstance(content, dict):
        raise UserError(f"{file} must have a line for each key, such as seconds: 12")

    return About(**{key: said_value(file, key, value) for key, value in content.items()})


def said_value(file: Path, key: Any, value: Any) -> Any:
    """A value of ABOUT; raises UserError for one that its key cannot have."""
    known = list(About.__dataclass_fields__)
    if key not in known:
        raise UserError(
            f"{file}: there is no key {key!r:.60}{did_you_mean(str(key), known) or '.'} "
            f"It has {known}"
        )

    if key == "method":
        if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_NAME:
            raise UserError(
                f"{file}: method must be text of at most {_LONGEST_NAME} characters, "
                f"got {value!r:.60}"
            )
        return printable(value.strip())

    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Also false of NaN.
    if not is_number or not 0 <= value < _LARGEST:
        raise UserError(f"{file}: {key} must be a number >= 0, got {value!r:.60}")

    return float(value)
