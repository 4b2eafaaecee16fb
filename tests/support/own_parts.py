"""A method, an attack, a data set and a backbone of a user's own, as they would write them."""

import os
from collections.abc import Mapping
from pathlib import Path

MODULE = '''
from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from mlu.attacks.contract import Attack
from mlu.data.base import Dataset, LabelledImages
from mlu.metrics.findings import Finding, Trial
from mlu.models.backbones import Backbone
from mlu.models.network import POOL, Network
from mlu.unlearning.contract import Edit, Method


@dataclass(frozen=True, kw_only=True)
class Noise(Method):
    """Noise on the weights of the head."""

    reads_forgotten: ClassVar[bool] = False
    name: str
    strength: float

    def edit(self, problem):
        weight = problem.net.head.weight.detach()
        drawn = torch.randn(weight.shape, generator=problem.generator())
        return Edit(weights={"head.weight": weight + self.strength * drawn})

    def passes(self, problem):
        return ()


@dataclass(frozen=True, kw_only=True)
class Guess(Attack[Trial]):
    """The sign of the forgotten output."""

    name: ClassVar[str] = "guess"
    threshold: float

    def observe(self, victim):
        (column, *_) = victim.request.forgotten
        said = victim.outputs["test"]
        scores = said.logits[:, column].double().numpy() - self.threshold
        return {"guess": Trial(scores, said.targets[:, column].numpy() > 0, said.identities)}

    def conclude(self, evidence):
        for trial in evidence.values():
            yield Finding("guess/hits", float(((trial.scores > 0) == trial.truth).mean()))

    def compare(self, evidence, reference):
        return ()


@dataclass(frozen=True, kw_only=True)
class Stripes(Dataset):
    """Images with stripes, or without, on either half."""

    images: int

    def load(self):
        draws = np.random.default_rng(0)
        targets = draws.integers(0, 2, (self.images, 2)).astype(np.uint8)
        size = (self.images, 3, self.image_size, self.image_size)
        images = draws.integers(0, 99, size, dtype=np.uint8)
        half = self.image_size // 2
        images[targets[:, 0] == 1, :, :half, ::2] += 150
        images[targets[:, 1] == 1, :, half:, ::2] += 150
        return LabelledImages(
            name=self.name,
            task="multilabel",
            images=images,
            targets=targets,
            labels=("upper", "lower"),
            fingerprint=f"stripes {self.images} {self.image_size}",
        )


@dataclass(frozen=True, kw_only=True)
class Shallow(Backbone):
    """One convolution."""

    width: int

    def build(self, labels):
        layers = OrderedDict(conv=nn.Conv2d(3, self.width, 3), relu=nn.ReLU())
        pool = nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten())
        stages = OrderedDict({"first": nn.Sequential(layers), POOL: pool})
        return Network(stages, 2 * self.width, labels)
'''

YAMLS = {
    "method/noise": """
_target_: own_parts_of_a_user.Noise
name: noise
strength: 3.0  # number >= 0: of the noise on the head
""",
    "attack/guess": """
guess:
  _target_: own_parts_of_a_user.Guess
  threshold: 0.0  # number in [-5, 5]: logits above say yes
  about: guessing by the sign
  rows:
    guessed from the sign: {figure: guess/hits, chance: 0.5, headline: true}
  columns:
    guessed: {figure: guess/hits, about: how often the sign is right}
""",
    "dataset/stripes": """
_target_: own_parts_of_a_user.Stripes
name: stripes
root: nowhere
labels: [upper, lower]  # list of these labels: either half
default_forget: upper
image_size: 16
images: 120  # whole number in [20, 9999]: how many
""",
    "backbone/shallow": """
_target_: own_parts_of_a_user.Shallow
name: shallow
weights: null
width: 4  # even whole number >= 2: channels
""",
}
"""File of the configuration -> its content."""


def write_own_parts(folder: Path) -> Path:
    """One Python file, and one yaml for each part; returns the configuration folder."""
    (folder / "own_parts_of_a_user.py").write_text(MODULE)
    for name, text in YAMLS.items():
        file = folder / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text.lstrip())
    return folder / "conf"


def where_python_finds(folder: Path) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder)}
