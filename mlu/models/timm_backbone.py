"""The models of the library timm, which is an optional part of an installation."""

import math
import re
import textwrap
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlu.models.backbones import Backbone
from mlu.models.foreign import refuse_shared
from mlu.models.network import ERASER, POOL, WHOLE, Network, Renames, Stage, channel_means
from mlu.models.weight_files import read_weights
from mlu.models.weight_names import our_names
from mlu.models.weights import start_from
from mlu.system.errors import UserError, did_you_mean

_PRETRAINED = "pretrained"

_MOST_STAGES = 6
"""Besides the features: attackers read each of them, and the cache keeps what they read."""


@dataclass(frozen=True, kw_only=True)
class Timm(Backbone):
    """Any model of the library timm, up to what its classifier reads.

    The `name` is timm's (`convnext_atto`).

    Stages are those of timm's `feature_info`, at most six of them, and the pooled features where
    these are not just the means of the last one's maps. Images are normalised by the mean and
    deviation that timm names for the model.

    Attributes:
        weights: None (random), `pretrained` (timm's, downloaded), or a path.
        image_size: Height and width of all images, for models that are built for one size.
    """

    image_size: int

    def __post_init__(self) -> None:
        known = timm_library().list_models(include_tags="." in self.name)
        if self.name not in known:
            hint = did_you_mean(self.name, known)
            raise UserError(
                f"backbone.name={self.name} is no model of timm{hint or '.'} "
                f"timm.list_models() names all {len(known)}"
            )

    @property
    def about(self) -> Any:
        """Settings that timm knows of the model: its images, its classifier."""
        timm = timm_library()
        return timm.get_pretrained_cfg(self.name) or timm.models.PretrainedCfg()

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the layers that give logits; a model that was distilled has two."""
        named = self.about.classifier or ()
        return (named,) if isinstance(named, str) else tuple(named)

    @property
    def renames(self) -> Renames:
        to_head = [
            (rf"^{re.escape(name)}\.(?=(weight|bias)$)", "head.") for name in self.classifiers[:1]
        ]
        ours = rf"body\.({WHOLE}|{ERASER})\.|head\.(weight|bias)$"
        return (*to_head, (rf"^(?!{ours})", f"body.{WHOLE}."))

    def build(self, labels: int) -> Network:
        about, renames, start = self.about, self.renames, self.start()
        model = self.made(start)
        features, stages = self.look(model)
        whole = OrderedDict({WHOLE: model})
        net = Network(
            whole, features, labels, within=stages, renames=renames, mean=about.mean, std=about.std
        )
        refuse_shared(net)
        if start is not None:
            # The body as timm has fitted it to this size, and the head as it was.
            start_from(
                net,
                start | {f"body.{name}": value for name, value in net.body.state_dict().items()},
            )

        return net

    def start(self) -> dict[str, Tensor] | None:
        """Weights of a file that training starts from, by our names; None without a path."""
        if self.weights in (None, _PRETRAINED):
            return None
        if not Path(self.weights).is_file():
            hint = did_you_mean(self.weights, [_PRETRAINED])
            raise UserError(
                f"backbone.weights={self.weights} is neither a file nor {_PRETRAINED!r}{hint}"
            )

        return our_names(read_weights(Path(self.weights)), self.renames, self.own_names())

    def own_names(self) -> list[str]:
        """Names of the weights of such a network."""
        # On no device, so that it takes no time.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = timm_library().create_model(self.name, pretrained=False, num_classes=0)
        return [
            *(f"body.{WHOLE}.{name}" for name in model.state_dict()),
            "head.weight",
            "head.bias",
        ]

    def made(self, start: Mapping[str, Tensor] | None) -> nn.Module:
        """The model without its classifiers, with the weights that it starts from."""
        settings: dict[str, Any] = (
            {"img_size": self.image_size} if self.about.fixed_input_size else {}
        )
        if start is not None:
            prefix = f"body.{WHOLE}."
            others = tuple(f"{prefix}{name}." for name in self.classifiers)
            body = {
                name.removeprefix(prefix): value
                for name, value in start.items()
                if name.startswith(prefix) and not name.startswith(others)
            }
            if not body:
                raise UserError(f"backbone.weights={self.weights} has no weights of a body")

            # Without classes, so that timm has none to leave out, and insists on all other weights.
            settings["pretrained_cfg_overlay"] = {
                "state_dict": body,
                "num_classes": 0,
                "label_offset": 0,
            }

        try:
            model: nn.Module = timm_library().create_model(
                self.name, pretrained=self.weights is not None, num_classes=0, **settings
            )
        except Exception as fault:
            source = "" if self.weights is None else f" from backbone.weights={self.weights}"
            raise UserError(
                f"timm cannot make {self.name} for {self.images}{source}: {brief(fault)}"
            ) from fault

        assert isinstance(model.pretrained_cfg, dict)
        model.pretrained_cfg.pop("state_dict", None)

        return model

    @property
    def images(self) -> str:
        return f"images of {self.image_size} x {self.image_size} pixels"

    @torch.no_grad()
    def look(self, model: Any) -> tuple[int, dict[str, Stage]]:
        """Number of features that a model gives of an image, and its stages.

        Leaves it in training mode.
        """
        stages, means = {}, {}
        rows = getattr(model, "output_fmt", "NCHW") == "NHWC"

        def see(name: str, channels: int, module: nn.Module, inputs: Any, output: Any) -> None:
            axis = channel_axis(output, channels, rows)
            if axis is not None:
                stages[name] = Stage(f"{WHOLE}.{name}", axis)
                means[name] = channel_means(output, axis)

        # Some models name the whole of themselves, or what is only there in a rebuilt one.
        modules = dict(model.named_modules())
        infos = getattr(model.feature_info, "info", model.feature_info)
        ends = {}
        for info in infos:
            if info["module"] and info["module"] in modules:
                ends[info["module"]] = info["num_chs"]

        watched = list(ends)[:: -math.ceil(len(ends) / _MOST_STAGES)] if ends else []
        hooks = [
            modules[name].register_forward_hook(partial(see, name, ends[name])) for name in watched
        ]
        size = self.image_size
        image = torch.linspace(-1, 1, 3 * size**2).view(1, 3, size, size)
        try:
            features = model.eval()(image)
        except Exception as fault:
            own = " x ".join(map(str, self.about.input_size[1:]))
            raise UserError(
                f"{self.name} does not take {self.images}, its own have {own}: "
                f"set dataset.image_size ({brief(fault)})"
            ) from fault
        finally:
            for hook in hooks:
                hook.remove()
            model.train()

        last = next(reversed(means), POOL)
        pooled = (
            last in means
            and means[last].shape == features.shape
            and torch.allclose(means[last], features)
        )
        stages[last if pooled else POOL] = Stage(WHOLE)

        return features.shape[1], stages


def channel_axis(output: Any, channels: int, rows: bool) -> int | None:
    """Axis of a stage's output on which its channels lie.

    None where the output is not one tensor, or has other channels.

    Args:
        output: Of one image or several.
        channels: Their number.
        rows: Whether the model says that its maps are rows of channels.
    """
    if not isinstance(output, Tensor):
        return None
    axes = (-1, 1) if rows or output.ndim == 3 else (1, -1)
    return next((axis for axis in axes if output.shape[axis] == channels), None)


def timm_library() -> Any:
    """The library, which is an optional part of an installation; UserError where it is missing."""
    try:
        import timm
    except ImportError as fault:
        raise UserError("backbone=timm needs the library timm: pip install 'mlu[timm]'") from fault
    return timm


def brief(fault: Exception) -> str:
    """Message of somebody else's library, in one line."""
    return textwrap.shorten(str(fault) or type(fault).__name__, 200)
