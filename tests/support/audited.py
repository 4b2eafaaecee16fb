"""A folder of pictures with a table of labels, people and ages, and what models give of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlu.attacks.parts import panel
from mlu.audit import inquiry_of
from mlu.launch.audit_words import AUDIT, audit_overrides, check_audit, check_models
from mlu.launch.compose import values_of
from mlu.models.backbones import Tiny
from tests.support.composing import composed_in_parts
from tests.support.photo_folder import write_lines

IMAGES, SIZE = 240, 24
LABELS = ("Male", "Beard", "Hat")
PARTS = ("train", "validation", "validation", "test")
"""Of people in turn: a quarter is trained on, a half teaches attackers."""


def truths(seed: int = 0) -> np.ndarray:
    """0 or 1 of each person's image, shape (IMAGES, labels)."""
    return (np.random.default_rng(seed).random((IMAGES, len(LABELS))) < 0.5).astype(int)


def ages(seed: int = 0) -> np.ndarray:
    """Years, higher with a beard, shape (IMAGES,)."""
    return np.random.default_rng(seed + 1).integers(18, 60, IMAGES) + 15 * truths(seed)[:, 1]


def paths() -> list[str]:
    return [f"{number:03}.png" for number in range(IMAGES)]


def write_people(folder: Path, seed: int = 0) -> Path:
    """Pictures of which each label colours a stripe, and `labels.csv`; returns the folder.

    Each image shows a person of its own; its columns are image, who, split, the labels, age, Tall
    (like Beard) and odd (some text).
    """
    folder.mkdir(parents=True, exist_ok=True)
    signs, years = truths(seed), ages(seed)
    random = np.random.default_rng(seed + 2)
    lines = []
    for number, path in enumerate(paths()):
        pixels = random.normal(110, 30, (SIZE, SIZE, 3))
        for label, sign in enumerate(signs[number]):
            pixels[:, 8 * label : 8 * label + 8, label] += 60 * sign
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / path)
        part = PARTS[number % len(PARTS)]
        row = (path, f"p{number}", part, *signs[number], years[number], signs[number, 1], "word")
        lines.append(",".join(map(str, row)))

    return write_lines(
        folder / "labels.csv", f"image,who,split,{','.join(LABELS)},age,Tall,odd", *lines
    ).parent


def data_words(folder: Path) -> list[str]:
    """The words of an audit that name the pictures."""
    return [
        "dataset=csv",
        f"dataset.root={folder}",
        f"dataset.image_size={SIZE}",
        f"dataset.labels=[{','.join(LABELS)}]",
        "dataset.identity_column=who",
        "dataset.split_column=split",
        f"outputs={folder / 'outputs'}",
        "trainer.accelerator=cpu",
    ]


def write_weights(file: Path, seed: int, labels: int = len(LABELS)) -> Path:
    """Weights of an untrained `backbone=tiny`."""
    torch.manual_seed(seed)
    torch.save(Tiny(name="tiny").build(labels).state_dict(), file)
    return file


def features_of(strength: float, seed: int = 0, noise: int = 0) -> np.ndarray:
    """Features that tell Male by so many standard deviations, the others well; (IMAGES, 6)."""
    signs = truths(seed) - 0.5
    found = np.random.default_rng([seed, noise]).normal(size=(IMAGES, 6))
    found[:, :3] += signs * [strength, 3.0, 3.0]
    found[:, 3] += (ages(seed) - 45) / 10
    return found


def outputs_of_labels(male: float, seed: int = 0) -> np.ndarray:
    """Outputs that tell Male by so many standard deviations, the others well."""
    signs = truths(seed) - 0.5
    found = np.random.default_rng([seed, 9]).normal(size=(IMAGES, 3)) + signs * [male, 4.0, 4.0]
    return found if male else found * [0, 1, 1]


def write_archive(file: Path, **changes: object) -> Path:
    """A file of features: before and after tell Male well, Retrain a little.

    Args:
        file: To write.
        **changes: Arrays in the place of these; None for none.
    """
    arrays = {
        "image": np.array(paths()),
        "before": features_of(3.0, noise=1),
        "before_outputs": outputs_of_labels(4.0),
        "after": features_of(3.0, noise=2),
        "after_outputs": outputs_of_labels(0.0),
        "retrain": features_of(0.3, noise=3),
        "retrain_outputs": outputs_of_labels(0.0),
    } | changes
    kept = {name: one for name, one in arrays.items() if one is not None}
    with file.open("wb") as stream:
        np.savez(stream, **kept)
    return file


def inquiry_with(folder: Path, *words: str, models: dict | None = None, head: str | None = None):
    """An audit of the pictures in a folder, as the command or Python has it."""
    config = composed_in_parts(audit_overrides([*data_words(folder), *words]), AUDIT)
    values = values_of(config, base=AUDIT)
    check_audit(values)
    check_models(values, models or ())
    return inquiry_of(values, models, head)


@contextmanager
def few_readers() -> Iterator[None]:
    """Within it the panel has the readers that learn in no time: audits take a second."""
    quick = dict.fromkeys(("outputs", panel.FEATURES), ("", "svm"))
    with pytest.MonkeyPatch.context() as patch:
        for view in panel.STANDARD:
            patch.setitem(panel.STANDARD, view, quick.get(view, ("",)))
        yield
