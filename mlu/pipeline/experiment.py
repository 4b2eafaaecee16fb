"""One run, as configured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlu.attacks.contract import Attack
from mlu.data.base import Dataset
from mlu.methods.retrain import Retrain
from mlu.models.backbones import Backbone
from mlu.pipeline.tracking import Subject, Tracker
from mlu.training.optimise import Training
from mlu.unlearning.contract import Method


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that the pipeline needs.

    Attributes:
        dataset: What to learn from.
        backbone: What to train.
        method: How to forget.
        attacks: What tries to learn what was forgotten.
        training: How the original and Retrain are trained.
        tracker: Where metrics go besides the results.
        forget: Names of the labels to forget.
        requests: Those of each request, in the order in which they come.
        seed: Initial weights, split, order of images, random choices of the method.
        with_reference: Whether Retrain is trained.
        canaries: `withheld` and `flipped`, shares of the training images.
        original_weights: A trained model to unlearn; None trains one.
        trainer: Arguments of Lightning's Trainer.
        devices: How many work together on a stage, each with a process of its own.
        workers: Processes that load batches.
        cache: Folder of the stage cache.
        folder: Where results go.
        group: The sweep that the run belongs to; None for a run of its own.
        config: The resolved configuration.
    """

    dataset: Dataset
    backbone: Backbone
    method: Method | Retrain
    attacks: tuple[Attack[Any], ...]
    training: Training
    tracker: Tracker
    forget: tuple[str, ...]
    requests: tuple[tuple[str, ...], ...]
    seed: int
    with_reference: bool
    canaries: dict[str, float]
    original_weights: Path | None
    trainer: dict[str, Any]
    devices: int
    workers: int
    cache: Path
    folder: Path
    group: str | None
    config: dict[str, Any]

    @property
    def subject(self) -> Subject:
        """What a dashboard calls the run, such as `wf phi=0.1 epsilon=0.5: Male, faces, tiny, seed
        42`."""
        strengths = [
            f"{key}={value:g}"
            for key in ("phi", "epsilon")
            if (value := getattr(self.method, key, None)) is not None
        ]
        method, named = " ".join([self.method.name, *strengths]), self.config["experiment"]
        data, backbone = self.dataset.name, self.backbone.name
        forgotten = ", then ".join("+".join(request) for request in self.requests)

        return Subject(
            title=f"{method}: {forgotten}, {data}, {backbone}, seed {self.seed}",
            group=" ".join(filter(None, [named, self.group])) or None,
            method=self.method.name,
            tags=tuple(
                filter(
                    None, [named, data, backbone, f"forget {forgotten}"[:64], f"seed {self.seed}"]
                )
            ),
        )
