"""Files of safetensors by what stands at their beginning: no number is read, and nothing is run."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from mlu.system.errors import UserError, first_line

SAVE_TENSORS = "save net.state_dict() with safetensors.torch.save_file"

TensorShapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name of each tensor of a file -> kind of its numbers, as safetensors calls it, and its shape."""


def tensors_in(file: Path) -> TensorShapes:
    """The tensors of a safetensors file.

    Raises:
        UserError: If it is none. Other formats, which can run code, are not read.
    """
    found = {}
    try:
        with safe_open(file, "np") as content:
            for name in content.keys():  # noqa: SIM118
                part = content.get_slice(name)
                found[name] = (part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError, ValueError) as fault:
        raise UserError(
            f"{file} is no safetensors file ({first_line(fault)}), and nothing else is read: "
            f"{SAVE_TENSORS}"
        ) from fault

    return found
