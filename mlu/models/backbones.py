"""Architectures. Each yaml of `conf/backbone` is one of these."""

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from mlu.errors import UserError, did_you_mean, first_line
from mlu.models.network import ERASER, POOL, Network

log = logging.getLogger(__name__)

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


@dataclass(frozen=True, kw_only=True)
class Backbone(ABC):
    """An architecture and where its training starts.

    Attributes:
        name: Name in results and caches.
        weights: None (random), the name of torchvision weights, or a path (safetensors, or a state dict of torch).
    """

    name: str
    weights: str | None = None

    @abstractmethod
    def build(self, labels: int) -> Network:
        """A network with one logit per label; what `weights` does not hold is random, from torch's global generator."""


@dataclass(frozen=True, kw_only=True)
class Tiny(Backbone):
    """Five blocks of convolution, pooling, batch norm and ReLU: about 0.3 million weights, fast on a CPU.

    Attributes:
        widths: Channels of the five blocks.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 160)

    def build(self, labels: int) -> Network:
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        for number, width in enumerate(self.widths, start=1):
            conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            # Half of torch's usual size: batch norm makes a convolution learn at lr / |weight|^2; budgets are short.
            conv.weight.data.mul_(0.5)
            stages[f"block{number}"] = nn.Sequential(
                OrderedDict(
                    conv=conv,
                    # First, so that what follows sees a quarter of the pixels.
                    pool=nn.MaxPool2d(2) if number < len(self.widths) else nn.Identity(),
                    bn=nn.BatchNorm2d(width),
                    relu=nn.ReLU(inplace=True),
                )
            )
            channels = width
        stages[POOL] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        net = Network(stages, channels, labels)
        if self.weights is not None:
            start_from(net, read_weights(Path(self.weights)))
        return net


@dataclass(frozen=True, kw_only=True)
class ResNet(Backbone):
    """torchvision's residual networks; `name` is torchvision's (`resnet18`, `resnet50`)."""

    def build(self, labels: int) -> Network:
        if self.name not in RESNETS:
            hint = did_you_mean(self.name, RESNETS)
            raise UserError(f"backbone.name={self.name} is no residual network of torchvision{hint or ':'} {RESNETS}")
        path = Path(self.weights) if self.weights and Path(self.weights).is_file() else None
        try:
            source = torchvision.models.get_model(self.name, weights=None if path else self.weights)
        except (KeyError, ValueError) as fault:
            names = [weights.name for weights in torchvision.models.get_model_weights(self.name)]
            raise UserError(
                f"backbone.weights={self.weights} is neither a file nor torchvision weights of {self.name}"
                f"{did_you_mean(str(self.weights), names) or '.'} There are {', '.join(names)}"
            ) from fault
        stem = OrderedDict(conv1=source.conv1, bn1=source.bn1, relu=source.relu, maxpool=source.maxpool)
        stages: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(stem))
        for number in range(1, 5):
            stages[f"layer{number}"] = getattr(source, f"layer{number}")
        stages[POOL] = nn.Sequential(source.avgpool, nn.Flatten())
        net = Network(stages, source.fc.in_features, labels)
        if path:
            start_from(net, read_weights(path))
        return net


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from torch's format without running what is pickled in it.

    A Lightning checkpoint's `state_dict` is taken out of it.
    """
    if not path.is_file():
        raise UserError(f"there are no weights at {path}: give the path of a .safetensors or .pt file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        raise UserError(
            f"{path} is neither safetensors nor a plain state dict of tensors: {first_line(fault)}"
        ) from fault
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict of tensors: save `model.state_dict()` there")
    return dict(state)


def our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ours, of a Lightning module around ours, or of torchvision's ResNets, by our names."""
    renamed = {}
    for name, value in state.items():
        name = name.removeprefix("module.").removeprefix("net.")
        if name.startswith(("conv1.", "bn1.")):
            name = f"body.stem.{name}"
        elif name.startswith("layer"):
            name = f"body.{name}"
        elif name.startswith("fc."):
            name = f"head.{name.removeprefix('fc.')}"
        renamed[name] = value
    return renamed


def load_trained(net: Network, path: Path) -> None:
    """Fill `net` with a trained model's weights; every one must be there and fit."""
    state = our_names(read_weights(path))
    if f"body.{ERASER}.bias" in state:
        net.erase(state[f"body.{ERASER}.weight"], state[f"body.{ERASER}.bias"])
    own = net.state_dict()
    for name in state:
        if name not in own:
            raise UserError(
                f"{path} has a weight {name!r} that this backbone lacks{did_you_mean(name, own) or ':'} "
                "is it another backbone?"
            )
    for name, value in own.items():
        # Counts batches only where batch norm has no momentum; older checkpoints lack it.
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, value)
        if name not in state:
            raise UserError(f"{path} has no weight {name!r}{did_you_mean(name, state)}: is it another backbone?")
        if state[name].shape != value.shape:
            raise UserError(
                f"{path} has {name!r} of shape {tuple(state[name].shape)} where {tuple(value.shape)} is needed: "
                f"is it another backbone, or were other labels learnt?"
            )
    net.load_state_dict({name: state[name] for name in own})


def start_from(net: Network, state: Mapping[str, Tensor]) -> None:
    """Fill the body of `net`, and its head where it fits: where training starts from other weights."""
    state, own = our_names(state), net.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    lacking = [name for name in own if name.startswith("body.") and name not in fitting]
    lacking = [name for name in lacking if not name.endswith("num_batches_tracked")]
    if lacking:
        raise UserError(f"backbone.weights lacks {len(lacking)} weights of the body, {lacking[0]!r} first")
    if "head.weight" not in fitting:
        log.info("backbone.weights has no head for these labels: it starts at random")
    net.load_state_dict(fitting, strict=False)
