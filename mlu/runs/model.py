"""The unlearned model of a run, for use."""

import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

import mlu.models
from mlu.data.files import ImageFiles
from mlu.data.labels import forgotten_labels
from mlu.models.backbones import Backbone
from mlu.models.network import Network
from mlu.models.tasks import Task, task_of
from mlu.models.weights import load_trained
from mlu.runs.layout import CONFIG, LABELS, WEIGHTS, is_configuration
from mlu.system.errors import UserError, did_you_mean, first_line
from mlu.system.home import at_home

_BATCH = 64
"""Images that are decoded and passed at once."""

Pictures = str | Path | Sequence[str | Path] | Tensor | np.ndarray
"""A file, files, or images as they are trained on: RGB, uint8 or float in [0, 1], shape (images, 3,
height, width)."""


class Unlearned(nn.Module):
    """The model of a run after forgetting: logits of images, shape (images, labels).

    Attributes:
        net: The network.
        labels: Name of each output.
        forgotten: Those that were forgotten: what these outputs say is no prediction.
        task: What the outputs mean.
        image_size: Height and width that it was trained on, in pixels.
    """

    def __init__(
        self,
        net: Network,
        labels: Sequence[str],
        forgotten: Sequence[str],
        task: Task,
        image_size: int,
    ) -> None:
        super().__init__()
        self.net, self.task, self.image_size = net, task, image_size
        self.labels, self.forgotten = tuple(labels), tuple(forgotten)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    @torch.no_grad()
    def predict(self, images: Pictures) -> dict[str, Tensor]:
        """Probability of each label by its name, float, on the CPU, shape (images,).

        Args:
            images: Files, cut to the square in the middle and resized as for training; or images as
                they are.

        Raises:
            UserError: If a file cannot be read, or if images have another shape.
        """
        images = [images] if isinstance(images, str | Path) else images
        if isinstance(images, Tensor | np.ndarray) and (images.ndim != 4 or images.shape[1] != 3):
            raise UserError(
                f"images must have shape (images, 3, height, width), got {tuple(images.shape)}"
            )

        device = next(self.parameters()).device
        parts = []
        for start in range(0, len(images), _BATCH):
            batch = self.read(images[start : start + _BATCH]).to(device)
            parts.append(self.task.probs(self(batch)).cpu())

        probs = torch.cat(parts) if parts else torch.zeros(0, len(self.labels))

        return dict(zip(self.labels, probs.unbind(1), strict=True))

    def read(self, images: Sequence[str | Path] | Tensor | np.ndarray) -> Tensor:
        """Images as the network takes them."""
        if isinstance(images, Tensor | np.ndarray):
            return torch.as_tensor(images)
        files = ImageFiles(Path(), (), self.image_size)
        pixels = np.stack([files.decode(Path(at_home(str(path)))) for path in images])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def load(run: str | Path, backbones: Sequence[type[Backbone]] = ()) -> Unlearned:
    """The unlearned model of a run, on the CPU and in evaluation mode.

    Args:
        run: Its folder, which holds `config.yaml`, `labels.json` and `unlearned.safetensors`.
        backbones: Classes of your own that the run may name besides those of this package. Code
            that is not named here is not run, whoever wrote the folder.

    Raises:
        UserError: If a file is missing or does not fit the others.
    """
    folder = Path(at_home(str(run)))
    config, facts = config_of(folder), label_facts_of(folder)
    weights = need(folder, WEIGHTS)
    try:
        # None of the weights that training started from: all of them are in the file.
        backbone = backbone_of({**config["backbone"], "weights": None}, backbones)
        dataset = config["dataset"]
        forgotten = forgotten_labels(forgotten_in(config), facts["labels"], dataset["name"])
        size = int(dataset["image_size"])
        net = backbone.build(len(facts["labels"]))
    except UserError:
        raise
    except Exception as fault:  # torch has kinds of its own for a network that cannot be
        reason = f"{type(fault).__name__} {first_line(fault)}"
        raise UserError(f"{folder / CONFIG} is no configuration of a run: {reason}") from fault

    load_trained(net, weights)
    net.eval().requires_grad_(False)

    return Unlearned(net, facts["labels"], forgotten, task_of(facts["task"]), size).eval()


def forgotten_in(config: Mapping[str, Any]) -> list[str]:
    """The outputs that a configuration asks to forget, one request after the other.

    A concept is none.
    """
    if config.get("concept") is not None:
        return []

    names, requests = config["forget_label"]["names"], config.get("requests")
    alone = [names] if isinstance(names, str | int) else names
    return [str(name) for request in requests or [alone] for name in request]


def need(folder: Path, name: str) -> Path:
    """A file of a run; UserError where it is not there."""
    if not folder.is_dir():
        raise UserError(
            f"there is no run in {folder}: give the folder of a run, such as outputs/runs/<time>"
        )
    if not (folder / name).is_file():
        raise UserError(
            f"{folder} has no {name}: "
            "give the folder of a run that has ended, such as outputs/runs/<time>"
        )

    return folder / name


def config_of(folder: Path) -> dict[str, Any]:
    file = need(folder, CONFIG)
    try:
        config = yaml.safe_load(file.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as fault:
        raise UserError(f"{file} cannot be read: {first_line(fault)}") from fault

    if not is_configuration(config):
        raise UserError(f"{file} is no configuration of a run")

    return config


def label_facts_of(folder: Path) -> dict[str, Any]:
    """The meaning of each output: `labels` and `task`."""
    file = need(folder, LABELS)
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
        names, task = facts["labels"], facts["task"]
        fits = isinstance(names, list) and all(isinstance(name, str) for name in names)
        fits = fits and task in ("multilabel", "singlelabel")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise UserError(
            f"{file} cannot be read: {type(fault).__name__} {first_line(fault)}"
        ) from fault

    if not fits:
        raise UserError(f"{file} must hold labels and a task, multilabel or singlelabel")

    return facts


def backbone_of(settings: Mapping[str, Any], backbones: Sequence[type[Backbone]] = ()) -> Backbone:
    """The architecture of a configuration; a file that somebody else wrote can name no other code.

    Args:
        settings: The part of the configuration.
        backbones: Classes that it may name besides those of this package.
    """
    kinds = {class_path(kind): kind for kind in (*own_backbones(), *backbones)}
    target = str(settings["_target_"])
    if target not in kinds:
        name = target.rpartition(".")[2]
        raise UserError(
            f"backbone._target_={target} is no backbone{did_you_mean(target, kinds) or ':'} "
            f"{list(kinds)}; one of your own: mlu.load(run, backbones=[{name}])"
        )

    known = {field.name for field in fields(kinds[target])}
    plain = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    build: Callable[..., Backbone] = kinds[target]

    return build(**{key: value for key, value in plain.items() if key in known})


@cache
def own_backbones() -> tuple[type[Backbone], ...]:
    """The backbones of this package, in whichever file of `mlu.models` they are."""
    found = []
    for file in pkgutil.iter_modules(mlu.models.__path__):
        module = import_module(f"mlu.models.{file.name}")
        for kind in vars(module).values():
            is_backbone = isinstance(kind, type) and issubclass(kind, Backbone)
            if is_backbone and kind.__module__ == module.__name__ and not isabstract(kind):
                found.append(kind)

    return tuple(found)


def class_path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
