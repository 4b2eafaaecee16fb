"""Weights from files: a trained network's, or those that training starts from."""

import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from mlu.models.network import ERASER, Network, Renames
from mlu.system.errors import UserError, did_you_mean, first_line

log = logging.getLogger(__name__)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from torch's format without running what is pickled in it.

    A Lightning checkpoint's `state_dict` is taken out of it.
    """
    if not path.is_file():
        raise UserError(
            f"there are no weights at {path}: give the path of a .safetensors or .pt file"
        )

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        # torch advises here to read it all the same, and to run what is in it.
        reason = first_line(fault)
        if isinstance(fault, pickle.UnpicklingError):
            reason = "it holds other things, which may do harm, and was not read"
        raise UserError(
            f"{path} is neither safetensors nor a plain state dict of tensors: {reason}"
        ) from fault

    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not all(map(is_weight, state, state.values())):
        raise UserError(f"{path} holds no state dict of tensors: save `model.state_dict()` there")

    return dict(state)


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


def our_names(state: Mapping[str, Tensor], renames: Renames) -> dict[str, Tensor]:
    """A state dict by our names.

    It is ours, of a Lightning module around ours, or of whoever made the architecture.
    """
    renamed = {}
    for name, value in state.items():
        name = name.removeprefix("module.").removeprefix("net.")
        for theirs, ours in renames:
            name = re.sub(theirs, ours, name)
        renamed[name] = value
    return renamed


def load_trained(net: Network, path: Path) -> None:
    """Fill `net` with a trained model's weights; every one must be there and fit."""
    state = our_names(read_weights(path), net.renames)
    if f"body.{ERASER}.bias" in state:
        # Its place alone: its numbers are checked, and then filled in, with all others.
        features, like = net.head.in_features, net.head.weight.detach()
        net.erase(torch.eye(features).to(like), torch.zeros(features).to(like))

    own = net.state_dict()
    for name in state:
        if name not in own:
            hint = did_you_mean(name, own)
            raise UserError(
                f"{path} has a weight {name!r} that this backbone lacks{hint or ':'} "
                "is it another backbone?"
            )

    for name, value in own.items():
        # Counts batches only where batch norm has no momentum; older checkpoints lack it.
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, value)
        if name not in state:
            raise UserError(
                f"{path} has no weight {name!r}{did_you_mean(name, state)}: is it another backbone?"
            )

        if state[name].shape != value.shape:
            raise UserError(
                f"{path} has {name!r} of shape {tuple(state[name].shape)} where "
                f"{tuple(value.shape)} is needed: "
                f"is it another backbone, or were other labels learnt?"
            )

    net.load_state_dict({name: state[name] for name in own})


def start_from(net: Network, state: Mapping[str, Tensor]) -> None:
    """Fill the body of `net`, and its head where it fits, with weights by our names."""
    own = net.state_dict()
    fitting = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape
    }
    lacking = [name for name in own if name.startswith("body.") and name not in fitting]
    lacking = [name for name in lacking if not name.endswith("num_batches_tracked")]
    if lacking:
        raise UserError(
            f"backbone.weights lacks {len(lacking)} weights of the body, {lacking[0]!r} first"
        )
    if "head.weight" not in fitting:
        log.info("backbone.weights has no head for these labels: it starts at random")

    net.load_state_dict(fitting, strict=False)
