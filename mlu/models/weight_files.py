"""Files of weights by what is in them, whatever their name: what is none is told what it is."""

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from mlu.system.errors import UserError, first_line

_LOOK = 512
"""Bytes at the beginning of a file that tell what it is."""
_LONGEST_HEADER = 10**8
"""Bytes of the list of tensors with which safetensors begins, at most."""
_DEEPEST = 3
"""How many containers a state dict may lie in, one in the other."""
NEITHER = "is neither safetensors nor a plain state dict of tensors"
_AGAIN = "get it again"
_SAVE = "save `model.state_dict()` there, with torch.save or as safetensors"

CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
"""Keys below which a checkpoint has its model's weights; of several of them the first."""

_LFS = "a pointer of git-lfs, not the file that it stands for: fetch that with `git lfs pull`"
_PAGE = f"a web page, as one gets it in place of a download: {_AGAIN}"
_FOREIGN = "of another library: give weights of torch"

SIGNS: dict[bytes, str] = {
    b"version https://git-lfs": _LFS,
    b"<!doctype html": _PAGE,
    b"<html": _PAGE,
    b"<?xml": f"XML, as a server answers in place of a download: {_AGAIN}",
    b"\x89hdf\r\n": f"HDF5, as Keras writes it, {_FOREIGN}",
    b"gguf": f"GGUF, {_FOREIGN}",
    b"\x93numpy": f"an array of NumPy, {_FOREIGN}",
    b"\x1f\x8b": "compressed (gzip): unpack it",
    b"bzh": "compressed (bzip2): unpack it",
    b"\xfd7zxz": "compressed (xz): unpack it",
    b"7z\xbc\xaf": "compressed (7z): unpack it",
    b"rar!": "compressed (rar): unpack it",
    b"\x89png": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%pdf": "a PDF",
}
"""The first bytes of files that are no weights, in lower case, and what they are."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from torch's format without running what is pickled in it.

    It is taken out of the checkpoint of a trainer, such as Lightning's `state_dict`.
    """
    if not path.is_file():
        raise UserError(
            f"there are no weights at {path}: give the path of a .safetensors or .pt file"
        )

    try:
        head = beginning(path)
        if is_safetensors(head):
            return load_file(path)
        if stranger := stranger_in(path, head):
            raise UserError(f"{path} {NEITHER}: it is {stranger}")
        # Settings that a training script had, without a class of their own.
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            # Of a name, torch would go by its ending.
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as fault:
        # torch advises here to read it all the same, and to run what is in it.
        raise UserError(f"{path} {NEITHER}: {unread_reason(fault)}") from fault

    state = state_in(loaded, path)
    if state is None:
        raise UserError(f"{path} holds no state dict of tensors: {_SAVE}")

    return dict(state)


def beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LOOK)


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins with the length of a JSON object, and with that."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= _LONGEST_HEADER


def stranger_in(path: Path, head: bytes) -> str | None:
    """Words for a file that can hold no weights of torch's, with a remedy; None for any other."""
    if not head:
        return f"empty: {_AGAIN}"

    start = head.lstrip().lower()
    for sign, what in SIGNS.items():
        if head.lower().startswith(sign) or start.startswith(sign):
            return what

    if head[257:262] == b"ustar":
        return "an archive (tar): unpack it"
    if head[4:8] == b"TFL3":
        return f"a model of TensorFlow Lite, {_FOREIGN}"
    # A protocol buffer with a version, then a message or a text.
    if re.match(rb"\x08[\x01-\x20][\x12\x1a]", head):
        return f"a model of ONNX or TensorFlow, {_FOREIGN}"
    if head.startswith(b"PK\x03\x04"):
        return archive_in(path)

    return text_in(head)


def archive_in(path: Path) -> str | None:
    """Words for a zip archive; None for one that torch.save has written."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return f"cut short or damaged: {_AGAIN}"

    if any("/code/" in f"/{name}" or name.endswith("constants.pkl") for name in names):
        return (
            "TorchScript, a program with its weights: "
            "save what torch.jit.load(FILE).state_dict() gives, with torch.save"
        )
    if any(name.endswith("data.pkl") for name in names):
        return None
    if any(name.endswith(".weights.h5") for name in names):
        return f"a model of Keras, {_FOREIGN}"
    if any("exported_program" in name or name.endswith("archive_format") for name in names):
        return f"a program of torch.export: {_SAVE}"
    if names and all(name.endswith(".npy") for name in names):
        return f"an archive of NumPy's arrays, {_FOREIGN}"

    return "a zip archive of other things: unpack it"


def text_in(head: bytes) -> str | None:
    """Words for a file of text, with its beginning; None for any other."""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return None
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    return f"text, which begins with {text[:40]!r}: {_AGAIN}"


def unread_reason(fault: Exception) -> str:
    """Why torch or safetensors has not read a file, without torch's advice to run what is in it."""
    if isinstance(fault, pickle.UnpicklingError):
        named = re.search(r"GLOBAL ([\w.]+)", str(fault))
        what = f"a pickled {named.group(1)}" if named else "other things"
        return (
            f"it holds {what}, which may do harm, and was not read; where it was made, "
            "save `model.state_dict()` instead"
        )
    if type(fault).__name__ == "SafetensorError" or isinstance(fault, EOFError):
        return f"it is cut short or damaged ({first_line(fault)}): {_AGAIN}"
    return first_line(fault)


def state_in(content: Any, path: Path, depth: int = 0) -> Mapping[str, Tensor] | None:
    """The state dict that a checkpoint is or holds; None where it holds none.

    Args:
        content: Of the file, or of one of its keys.
        path: For messages.
        depth: In how many containers it lies.
    """
    if not isinstance(content, Mapping):
        return None

    # What a module keeps besides its tensors.
    kept: dict[str, Any] = {
        key: value for key, value in content.items() if not is_extra(key, value)
    }
    if all(map(is_weight, kept, kept.values())):
        return kept
    if depth == _DEEPEST:
        return None

    # A name that nobody knows is looked below only at the top, where no layer can have it.
    keys = [key for key in kept if depth == 0 or key in CONTAINERS]
    found = {key: state for key in keys if (state := state_in(kept[key], path, depth + 1))}
    for key in CONTAINERS:
        if key in found:
            return found[key]

    if len(found) > 1:
        names = " and ".join(map(repr, found))
        raise UserError(f"{path} holds several state dicts, {names}: save the one that is meant")

    return next(iter(found.values()), None)


def is_extra(name: Any, value: Any) -> bool:
    return str(name).endswith("_extra_state") and not isinstance(value, Tensor)


def is_weight(name: Any, value: Any) -> bool:
    """Whether it is a named tensor that has all its numbers.

    A sparse or quantised one has not, nor one without memory.
    """
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
    )
