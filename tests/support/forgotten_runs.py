"""Runs that forgot a label, with a cache in which it can still be read, planted by hand."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

from mlu.system.store import PROGRESS, Store
from tests.support.made_runs import LABELS, leave

IMAGES = 60
DATA = "0123456789abcdef"
"""Fingerprint of the data of all these runs, if not said otherwise."""
TARGETS = np.random.default_rng(0).integers(0, 2, (IMAGES, len(LABELS)))
"""0 or 1, of each image and label."""


def forgot(outputs: Path, name: str, label: str = "Male", method: str = "wf", **run: Any) -> Path:
    """A run below some outputs that forgot a label; returns its folder.

    `run` are its facts: `data`, `seed` and others of `results.json`.
    """
    folder, seed = outputs / "runs" / name, run.get("seed", 1)
    facts = {"data": DATA, "config_hash": "c0ffee"} | run
    leave(folder, forget=label, method=method, seed=seed, run=facts)

    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"outputs": str(outputs)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    labels = {"labels": list(LABELS), "task": "multilabel"}
    (folder / "labels.json").write_text(json.dumps(labels))
    save_file({"head.weight": torch.zeros(len(LABELS), 2)}, folder / "unlearned.safetensors")

    return folder


def key_of(**more: Any) -> dict[str, Any]:
    """The key of an entry, with what a purge looks at."""
    return {"data": DATA, "split_seed": 1, "train_seed": 1} | more


def plant(
    outputs: Path,
    kind: str,
    users: Sequence[Path | None],
    tells: Sequence[str] = LABELS,
    **key: Any,
) -> Path:
    """An entry of the cache that some runs have asked for, from which some labels can be read."""

    def build(folder: Path) -> Mapping[str, Any]:
        write_numbers(folder, kind, tells)
        return {}

    for user in users:
        entry = Store(outputs / "cache", user).get(kind, key_of(**key), build)
    return entry.folder


def write_numbers(folder: Path, kind: str, tells: Sequence[str]) -> None:
    """Write logits of a model, or evidence with its truth."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(IMAGES, len(LABELS)))
    for label in tells:
        column = LABELS.index(label)
        logits[:, column] = 8.0 * TARGETS[:, column] - 4 + rng.normal(size=IMAGES) / 9

    if kind.startswith("attack-"):
        truths = {f"Trial:{label}:truth": TARGETS[:, LABELS.index(label)] for label in tells}
        np.savez_compressed(folder / "evidence.npz", **truths)
        return

    save_file({"logits": torch.from_numpy(logits).float()}, folder / "test.safetensors")
    save_file({"head.bias": torch.zeros(len(LABELS))}, folder / "weights.safetensors")


def half_built(outputs: Path, kind: str, user: Path | None, **key: Any) -> Path:
    """What a training leaves that was killed: its draft, with how far it has come."""

    def build(folder: Path) -> Mapping[str, Any]:
        (folder / PROGRESS).write_bytes(b"half a model")
        raise InterruptedError

    store = Store(outputs / "cache", user)
    try:
        store.get(kind, key_of(**key), build)
    except InterruptedError:
        return store.folder(kind, key_of(**key)).with_suffix(".draft")
    raise AssertionError


def readable_in(cache: Path, label: str) -> list[Path]:
    """Every file of numbers in a cache from which a label can be read off image by image."""
    truth = TARGETS[:, LABELS.index(label)]
    return [file for file in sorted(cache.rglob("*")) if any(told(file, truth))]


def told(file: Path, truth: np.ndarray) -> Iterator[bool]:
    """Of each column of numbers in a file, whether it goes with the truth."""
    for array in arrays_in(file):
        if len(array) == len(truth):
            for column in array.reshape(len(array), -1).T:
                spread = column.std() > 0
                yield bool(spread and abs(np.corrcoef(column, truth)[0, 1]) > 0.9)


def arrays_in(file: Path) -> list[np.ndarray]:
    if file.suffix == ".safetensors":
        return [value.numpy() for value in load_file(file).values()]
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            return [arrays[name] for name in arrays]
    return []
