"""Weights in a network: a trained one's, or those that training starts from."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mlu.models.network import ERASER, Network
from mlu.models.weight_files import read_weights
from mlu.models.weight_names import our_names
from mlu.system.errors import UserError, did_you_mean

log = logging.getLogger(__name__)


def load_trained(net: Network, path: Path) -> None:
    """Fill `net` with a trained model's weights; every one must be there and fit."""
    state = our_names(read_weights(path), net.renames, net.state_dict())
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
