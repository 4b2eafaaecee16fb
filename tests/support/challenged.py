"""A small challenge with made-up figures and untrained models, and submissions to it."""

from pathlib import Path

import torch

from mlu.launch.challenge import leave_challenge
from mlu.launch.compose import values_of
from mlu.models.backbones import Tiny
from mlu.runs.challenge import Challenge, read_challenge
from mlu.runs.layout import WEIGHTS
from mlu.runs.read import Run
from mlu.runs.results import Results
from mlu.runs.seeds import KEYS
from mlu.system.disk import write_tensors
from tests.support.composing import composed_in_parts
from tests.support.made_runs import metrics_of, results_of

LABELS = ("Male", "Bald", "Young")
SMALL = (
    "dataset.images=200",
    "dataset.image_size=16",
    f"dataset.labels=[{','.join(LABELS)}]",
    "logger=none",
)
METHODS = {"original": (0.95, 0.06), "retrain": (0.94, 0.0), "wf": (0.93, 0.01)}
"""Method -> retained accuracy, and excess over Retrain."""


def weights_of(seed: int) -> dict[str, torch.Tensor]:
    """Those of an untrained `backbone=tiny`."""
    torch.manual_seed(seed)
    return dict(Tiny(name="tiny").build(len(LABELS)).state_dict())


def job(
    folder: Path, method: str, seed: int, *words: str, metrics=None, weights: bool = True
) -> Run:
    """A job of `experiment=challenge` as its sweep has left it."""
    kept, excess = METHODS.get(method, (0.9, 0.0))
    given = [f"method={method}", f"seed={seed}", *SMALL, *words]
    config = values_of(composed_in_parts(["experiment=challenge", *given]))
    found = metrics or metrics_of(retained=kept, excess=excess + seed / 1000, labels=LABELS)
    facts = {"seed": seed, "method": method, "dataset": config["dataset"]["name"]}
    facts |= {key: config[key] for key in KEYS}
    content = results_of(found, run=facts)

    place = folder / f"{method}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    if weights:
        kind = {"original": 0, "retrain": 1}.get(method, 2)
        write_tensors(place / WEIGHTS, weights_of(10 * seed + kind))

    return Run(place, Results.from_json(content), config)


def jobs(folder: Path, seeds=(1, 2), methods=tuple(METHODS), *words: str) -> list[Run]:
    return [job(folder, method, seed, *words) for seed in seeds for method in methods]


def write_small_challenge(folder: Path, seeds=(1, 2)) -> Challenge:
    """A challenge of untrained models, in `folder/challenge`."""
    lines = leave_challenge(jobs(folder / "jobs", seeds), folder / "challenge")
    assert lines[0].startswith("the challenge is in"), lines
    return read_challenge(folder / "challenge")


def hand_in(challenge: Challenge, name: str, seeds=(91, 92), **changes) -> Path:
    """A submission of untrained models in the challenge's folder; `changes` of tensors by name."""
    folder = challenge.folder / "submissions" / name
    folder.mkdir(parents=True)
    for replicate, seed in zip(challenge.facts.replicates, seeds, strict=False):
        write_tensors(folder / replicate.file, {**weights_of(seed), **changes})
    return folder
