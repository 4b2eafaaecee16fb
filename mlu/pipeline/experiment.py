"""One run, as configured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlu.attacks.contract import Attack
from mlu.data.base import Dataset
from mlu.methods.retrain import Retrain
from mlu.models.backbones import Backbone
from mlu.pipeline.canaries import CanaryShares
from mlu.pipeline.subject import Subject
from mlu.pipeline.tracking import Tracker
from mlu.runs.seeds import Seeds
from mlu.training.optimise import Training
from mlu.unlearning.contract import Method

_STRENGTHS = ("phi", "epsilon")
"""Keys of a method that a dashboard shows in a run's title."""


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """The keys of `conf/trainer`: what trains, and how it computes.

    Attributes:
        accelerator: `auto`, `cpu` or `gpu`.
        devices: How many work together on a model, each with a process of its own.
        precision: As Lightning names it, such as `32-true`.
        compile: Backend of `torch.compile` for the network's stages; None for none.
        workers: Processes that load batches.
    """

    accelerator: str
    devices: int
    precision: str
    compile: str | None
    workers: int


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that the pipeline needs.

    Attributes:
        name: Of the experiment in `conf/experiment` that the run is one of; None for none.
        budget: Of the training, as `conf/budget` names it.
        dataset: What to learn from.
        backbone: What to train.
        method: How to forget.
        attacks: What tries to learn what was forgotten.
        training: How the original and Retrain are trained.
        tracker: Where metrics go besides the results.
        forget: Names of the labels to forget.
        concept: Whether these are attributes of the data that the model does not output: then there
            is no Retrain.
        requests: Those of each request, in the order in which they come.
        seeds: Of all that is drawn at random.
        with_reference: Whether Retrain is trained.
        canaries: Which share of the training images are canaries.
        trace: Steps of fine-tuning after which validation people are asked; None for never.
        keep: Which step of fine-tuning is kept: the last, or the best of those that were traced.
        forget_set: Whether the weights that the method chooses are kept, and compared with what it
            would choose for each other label.
        original_weights: A trained model to unlearn; None trains one.
        trainer: What trains.
        cache: Folder of trained models and of evidence.
        folder: Where results go.
        group: The sweep that the run belongs to; None for a run of its own.
        config: The resolved configuration, to be written down and sent to the tracker. Nothing is
            decided by it: what decides stands above.
    """

    name: str | None
    budget: str | None
    dataset: Dataset
    backbone: Backbone
    method: Method | Retrain
    attacks: tuple[Attack[Any], ...]
    training: Training
    tracker: Tracker
    forget: tuple[str, ...]
    concept: bool
    requests: tuple[tuple[str, ...], ...]
    seeds: Seeds
    with_reference: bool
    canaries: CanaryShares
    trace: int | None
    keep: Literal["last", "best"]
    forget_set: bool
    original_weights: Path | None
    trainer: TrainerSettings
    cache: Path
    folder: Path
    group: str | None
    config: dict[str, Any]

    @property
    def subject(self) -> Subject:
        """The run on a dashboard, such as `wf phi=0.1 epsilon=0.5: Male, faces, tiny, seed 42`."""
        strengths = [
            f"{key}={value:g}"
            for key in _STRENGTHS
            if (value := getattr(self.method, key, None)) is not None
        ]
        if (strength := self.config.get("strength", 1)) != 1:
            strengths.append(f"strength={strength:g}")

        kept = [] if self.keep == "last" else [f"keep={self.keep}"]
        method = " ".join([self.method.name, *strengths, *kept])
        data, backbone = self.dataset.name, self.backbone.name

        forgotten = ", then ".join("+".join(request) for request in self.requests)
        forgotten = f"concept {forgotten}" if self.concept else forgotten
        seeds = [f"{key} {value}" for key, value in self.seeds.apart.items()]
        tags = (self.name, data, backbone, f"forget {forgotten}", f"seed {self.seeds.seed}", *seeds)

        return Subject(
            title=f"{method}: {forgotten}, {data}, {backbone}, seed {self.seeds}",
            group=" ".join(filter(None, [self.name, self.group])) or None,
            method=self.method.name,
            tags=tuple(filter(None, tags)),
            in_sweep=self.group is not None,
        )
