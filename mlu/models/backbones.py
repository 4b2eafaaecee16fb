"""Architectures. Each yaml of `conf/backbone` is one of these."""

import pickle
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from mlu.models.network import POOL, WHOLE, Network, Stage
from mlu.models.weight_files import read_weights
from mlu.models.weight_names import our_names
from mlu.models.weights import start_from
from mlu.system.errors import UserError, did_you_mean, first_line

_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


@dataclass(frozen=True, kw_only=True)
class Backbone(ABC):
    """An architecture and where its training starts.

    Attributes:
        name: Name in results and caches.
        weights: None (random), the name of torchvision weights, or a path (safetensors, or a state
            dict of torch).
    """

    name: str
    weights: str | None = None

    @abstractmethod
    def build(self, labels: int) -> Network:
        """A network with one logit per label.

        Whatever `weights` does not hold is random, from torch's global generator.
        """


@dataclass(frozen=True, kw_only=True)
class Tiny(Backbone):
    """Five blocks of convolution, pooling, batch norm and ReLU.

    About 0.3 million weights, fast on a CPU.

    Attributes:
        widths: Channels of the five blocks.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 160)

    def build(self, labels: int) -> Network:
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        for number, width in enumerate(self.widths, start=1):
            conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            # Half of torch's usual size: batch norm makes a convolution learn at lr / |weight|^2;
            # budgets are short.
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
            start = read_weights(Path(self.weights))
            start_from(net, our_names(start, net.renames, net.state_dict()))

        return net


@dataclass(frozen=True, kw_only=True)
class ResNet(Backbone):
    """torchvision's residual networks; `name` is torchvision's (`resnet18`, `resnet50`)."""

    def __post_init__(self) -> None:
        if self.name not in _RESNETS:
            hint = did_you_mean(self.name, _RESNETS)
            raise UserError(
                f"backbone.name={self.name} is no residual network of torchvision"
                f"{hint or ':'} {_RESNETS}"
            )

    def build(self, labels: int) -> Network:
        start = None if self.weights is None else torchvision_weights(self.name, self.weights)
        source = torchvision.models.get_model(self.name, weights=None)
        stem = OrderedDict(
            conv1=source.conv1, bn1=source.bn1, relu=source.relu, maxpool=source.maxpool
        )
        stages: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(stem))
        for number in range(1, 5):
            stages[f"layer{number}"] = getattr(source, f"layer{number}")

        stages[POOL] = nn.Sequential(source.avgpool, nn.Flatten())
        renames = (
            (r"^(conv1|bn1)\.", r"body.stem.\1."),
            (r"^layer", "body.layer"),
            (r"^fc\.", "head."),
        )
        net = Network(stages, source.fc.in_features, labels, renames=renames)
        if start is not None:
            start_from(net, our_names(start, renames, net.state_dict()))

        return net


@dataclass(frozen=True, kw_only=True)
class VisionTransformer(Backbone):
    """torchvision's vision transformers; `name` is torchvision's (`vit_b_16`).

    Stages are the patches with their positions, four groups of blocks, and the class token, which
    is what the head reads. Weights for images of another size get interpolated positions.

    Attributes:
        image_size: Height and width of all images: a multiple of the patch size, with which the
            name ends.
    """

    image_size: int

    def __post_init__(self) -> None:
        known = torchvision.models.list_models(include="vit_*")
        if self.name not in known:
            hint = did_you_mean(self.name, known)
            raise UserError(
                f"backbone.name={self.name} is no vision transformer of torchvision"
                f"{hint or ':'} {known}"
            )

        refuse_remainder(self.name, self.image_size, self.patch)

    @property
    def patch(self) -> int:
        return int(self.name.rpartition("_")[2])

    def build(self, labels: int) -> Network:
        start = None if self.weights is None else torchvision_weights(self.name, self.weights)
        source = torchvision.models.get_model(self.name, weights=None, image_size=self.image_size)
        source.heads = nn.Identity()

        layers = f"{WHOLE}.encoder.layers.encoder_layer_"
        depth = len(source.encoder.layers)
        stages = {"patches": Stage(f"{WHOLE}.encoder.dropout", axis=-1)}
        for last in range(depth // 4, depth + 1, depth // 4):
            stages[f"block{last}"] = Stage(f"{layers}{last - 1}", axis=-1)

        stages[POOL] = Stage(WHOLE)
        renames = (
            (r"\.mlp\.linear_1\.", ".mlp.0."),
            (r"\.mlp\.linear_2\.", ".mlp.3."),
            (r"^heads\.head\.", "head."),
            (r"^(class_token|conv_proj|encoder)\b", rf"body.{WHOLE}.\1"),
        )
        net = Network(
            OrderedDict({WHOLE: source}), source.hidden_dim, labels, within=stages, renames=renames
        )
        if start is not None:
            start_from(net, self.resized(our_names(start, renames, net.state_dict())))

        return net

    def resized(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights with positions for images of this size."""
        theirs = "encoder.pos_embedding"
        ours = f"body.{WHOLE}.{theirs}"
        if ours not in state:
            return dict(state)

        try:
            fitting = interpolate_embeddings(
                self.image_size, self.patch, OrderedDict({theirs: state[ours]})
            )
        except ValueError as fault:
            raise UserError(
                f"backbone.weights has no positions of a square of patches: {first_line(fault)}"
            ) from fault

        return {**state, ours: fitting[theirs]}


def torchvision_weights(name: str, weights: str) -> Mapping[str, Tensor]:
    """Weights that training starts from: a file's, or those that torchvision has under a name."""
    if Path(weights).is_file():
        return read_weights(Path(weights))

    known = torchvision.models.get_model_weights(name)
    if weights not in known.__members__:
        names = [one.name for one in known]
        raise UserError(
            f"backbone.weights={weights} is neither a file nor torchvision weights of {name}"
            f"{did_you_mean(weights, names) or '.'} There are {', '.join(names)}"
        )

    try:
        # Its folder of downloads is as open as any other, and what lies there already is not
        # checked.
        state: Mapping[str, Tensor] = known[weights].get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    except OSError as fault:
        raise UserError(
            f"backbone.weights={weights} cannot be downloaded: {first_line(fault)}"
        ) from fault
    except (RuntimeError, pickle.UnpicklingError) as fault:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"backbone.weights={weights}: what {folder} holds of it are no weights, delete it"
        ) from fault

    return state


def refuse_remainder(name: str, size: int, patch: int) -> None:
    """Raises UserError where images are no whole number of patches wide."""
    if size % patch:
        below = size // patch * patch
        near = " or ".join(str(one) for one in (below, below + patch) if one)
        raise UserError(
            f"backbone={name} divides images into patches of {patch} x {patch} pixels, and "
            f"dataset.image_size={size} is no multiple of that: use {near}"
        )
