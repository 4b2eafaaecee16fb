"""Readers that are networks: of the last maps of a model, and the model itself, tuned to read."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline
from torch import Tensor, nn
from torch.nn import functional as F

from mlu.attacks.parts.readers import Making
from mlu.data.split import Split
from mlu.models.network import Network, maps_of
from mlu.system.seeding import generator, mixed

_BATCH = 64
_AT_ONCE = 512
_CHANNELS = 32

CONV_EPOCHS, CONV_RATE = 30, 1e-3
TUNED_EPOCHS, TUNED_RATE = 10, 1e-3


def convolution(seed: int) -> Making:
    """Makes a small convolutional network that reads maps, shape (images, channels, h, w).

    Two layers of 32 channels, their means and maxima over the maps, and a linear map: trained by
    Adam for 30 epochs, with the rate falling to nothing as a cosine does.
    """
    return partial(as_reader, MapReader, seed=seed)


def tuned(net: Network, seed: int) -> Making:
    """Makes a copy of a whole model that is tuned to read a label from images.

    It gets a new head with one output; all weights are trained by Adam for 10 epochs.

    Args:
        net: The model, which stays as it is.
        seed: Of the order of images.
    """
    return partial(as_reader, TunedReader, net=net, seed=seed)


def as_reader(kind: type[Any], **settings: Any) -> Pipeline:
    """A network as the last and only step of a pipeline, which hands it the weights of images."""
    return Pipeline([("classify", kind(**settings))])


class MapReader(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A small convolutional network: see `convolution`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, seen: np.ndarray, truth: np.ndarray, sample_weight: np.ndarray) -> "MapReader":
        axes = (0, 2, 3)
        self.mean_ = seen.mean(axes, keepdims=True)
        self.scale_ = seen.std(axes, keepdims=True) + 1e-6

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed(self.seed, seen.shape[1]))
            self.net_ = MapNetwork(seen.shape[1])

        settings = CONV_EPOCHS, CONV_RATE, self.seed
        train(self.net_, self.standardised(seen), truth, sample_weight, *settings)

        return self

    def standardised(self, seen: np.ndarray) -> np.ndarray:
        return np.asarray((seen - self.mean_) / self.scale_, np.float32)

    def decision_function(self, seen: np.ndarray) -> np.ndarray:
        return scores_of(self.net_, self.standardised(seen))


class MapNetwork(nn.Module):
    """Two convolutions, and a linear map of what is left of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, _CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * _CHANNELS, 1)

    def forward(self, maps: Tensor) -> Tensor:
        found = self.layers(maps)
        scores: Tensor = self.head(torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1))
        return scores[:, 0]


class TunedReader(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """A copy of a model with a head of its own: see `tuned`."""

    def __init__(self, net: Network, seed: int) -> None:
        self.net, self.seed = net, seed

    def fit(self, seen: np.ndarray, truth: np.ndarray, sample_weight: np.ndarray) -> "TunedReader":
        net = copy.deepcopy(self.net).requires_grad_(True)
        # Its weights are 0 at first: the start is no matter of chance.
        head = nn.utils.skip_init(nn.Linear, net.head.in_features, 1).to(net.head.weight)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        net.head = head
        self.net_ = OneOutput(net)

        train(self.net_, seen, truth, sample_weight, TUNED_EPOCHS, TUNED_RATE, self.seed)

        return self

    def decision_function(self, seen: np.ndarray) -> np.ndarray:
        return scores_of(self.net_, seen)


class OneOutput(nn.Module):
    """A network with a single output, as one number an image."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.net(images)[:, 0]
        return scores


def train(
    net: nn.Module,
    seen: np.ndarray,
    truth: np.ndarray,
    weight: np.ndarray,
    epochs: int,
    rate: float,
    seed: int,
) -> None:
    """Train a network with one output per image, in batches of 64.

    Args:
        net: Trained in place; left in evaluation mode.
        seen: What it takes, shape (images, ...).
        truth: Targets, shape (images,).
        weight: Of the images in the loss, shape (images,).
        epochs: Passes over the images.
        rate: Adam's learning rate at the start; it falls to 0 as a cosine does.
        seed: Of the order of images and of dropout.
    """
    device = next(net.parameters()).device
    targets, weights = torch.from_numpy(truth).float(), torch.from_numpy(weight).float()
    random = generator(seed, len(truth))
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    steps = epochs * len(range(0, len(truth), _BATCH))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    net.train()
    with torch.random.fork_rng():
        torch.manual_seed(mixed(seed, len(truth), epochs))
        for rows in batches_of(len(truth), epochs, random):
            images = torch.from_numpy(seen[rows.numpy()]).to(device)
            loss = F.binary_cross_entropy_with_logits(
                net(images), targets[rows].to(device), weights[rows].to(device)
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    net.eval()


def batches_of(images: int, epochs: int, random: torch.Generator) -> Iterator[Tensor]:
    """Row numbers in batches of two images at least, in another order in every epoch."""
    for _ in range(epochs):
        for rows in torch.randperm(images, generator=random).split(_BATCH):
            # Batch norm cannot learn from one.
            if len(rows) > 1:
                yield rows


@torch.no_grad()
def scores_of(net: nn.Module, seen: np.ndarray) -> np.ndarray:
    """Scores that a network with one output gives each image, float64, shape (images,)."""
    device = next(net.parameters()).device
    parts = []
    for start in range(0, len(seen), _AT_ONCE):
        images = torch.from_numpy(seen[start : start + _AT_ONCE]).to(device)
        parts.append(net(images).double().cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def last_maps(net: Network, split: Split) -> np.ndarray | None:
    """The last maps of a network before they are pooled, float32, shape (images, channels, h, w).

    Tokens lie on one axis, h, and w is 1. None where no stage has any.

    Args:
        net: Left in evaluation mode.
        split: All its images are passed through.
    """
    device = next(net.parameters()).device
    net.eval()
    seen: list[Tensor] = []

    def keep(axis: int, module: nn.Module, inputs: Any, output: Tensor) -> None:
        maps = maps_of(inputs[0], output, axis)
        if maps is not None:
            # The last stage that has maps comes last.
            seen[:] = [as_image(*maps)]

    hooks = [
        net.body.get_submodule(stage.module).register_forward_hook(partial(keep, stage.axis))
        for stage in net.stages.values()
    ]
    found = []
    try:
        for batch in split.batches(_AT_ONCE):
            net(batch.images.to(device))
            if not seen:
                return None
            found.append(seen[0].float().cpu())
    finally:
        for hook in hooks:
            hook.remove()

    return torch.cat(found).numpy()


def as_image(maps: Tensor, axis: int) -> Tensor:
    """Maps with their channels first, shape (images, channels, h, w)."""
    first = maps.movedim(axis, 1)
    return first if first.ndim == 4 else first.flatten(2)[..., None]


def plain_images(split: Split) -> np.ndarray:
    """The images of a split as the network takes them, shape (images, ...)."""
    return np.concatenate([batch.images.numpy() for batch in split.batches(_AT_ONCE)])
