"""The stages of a run that train: the original, Retrain and unlearning, each measured the same way."""

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlu.contracts import Edit, ForgetRequest, Method, Problem
from mlu.data.module import ImageData
from mlu.data.split import Split
from mlu.evaluate.outputs import logits_of
from mlu.experiment import Experiment
from mlu.meter import Meter, measure, phase
from mlu.models.backbones import load_trained
from mlu.models.classifier import Classifier
from mlu.models.network import Network
from mlu.progress import Progress
from mlu.store import Store, checksum, code_digest, now
from mlu.tasks import Task
from mlu.unlearner import Unlearner

log = logging.getLogger(__name__)

CODE = (
    "mlu.seeding",
    "mlu.stages",
    "mlu.tasks",
    "mlu.data.augment",
    "mlu.data.module",
    "mlu.data.split",
    "mlu.models",
    "mlu.optimise",
)
"""What a trained model depends on besides its settings."""


@dataclass(frozen=True)
class Cost:
    """What a model cost when it was made.

    Attributes:
        seconds: By phase, and `total`.
        forward: Images passed forward.
        backward: Images passed backward.
        device: What it ran on.
        date: When, UTC.
        cached: Whether it was found rather than made in this run.
    """

    seconds: dict[str, float]
    forward: int
    backward: int
    device: str
    date: str
    cached: bool

    @property
    def work(self) -> int:
        return self.forward + self.backward


@dataclass(frozen=True)
class Model:
    """A network, its logits on every split, and what it cost (None for a model that the user brought)."""

    net: Network
    logits: dict[str, Tensor]
    cost: Cost | None


@dataclass(frozen=True)
class Context:
    """Where stages run: the experiment, its data, and what they share."""

    experiment: Experiment
    data: ImageData
    task: Task
    request: ForgetRequest
    logger: Logger | None

    @property
    def store(self) -> Store:
        return Store(self.experiment.cache)

    def key(self) -> dict[str, Any]:
        """What every trained model depends on."""
        experiment = self.experiment
        weights = experiment.backbone.weights
        return {
            "data": self.data.source.fingerprint,
            "backbone": experiment.config["backbone"]
            | {"weights": checksum(Path(weights)) if weights and Path(weights).is_file() else weights},
            "training": experiment.config["training"],
            "precision": experiment.trainer["precision"],
            "seed": experiment.seed,
            "code": code_digest(*CODE),
        }

    def trainer(self, stage: str, epochs: int, steps: int = -1) -> L.Trainer:
        """Trains for some epochs, or for some steps where these are fewer."""
        return L.Trainer(
            **self.experiment.trainer,
            max_epochs=epochs,
            max_steps=steps,
            logger=self.logger or False,
            callbacks=[Progress(stage)],
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )


def original(context: Context) -> Model:
    """The model that knows all labels: trained, found in the cache, or the user's own."""
    path = context.experiment.original_weights
    if path is not None:
        net = context.experiment.backbone.build(len(context.data.labels))
        load_trained(net, path)
        return Model(net.eval(), all_logits(net, context), cost=None)
    return cached(
        context, "original", context.key(), lambda: from_scratch(context, "original", context.data.splits["train"])
    )


def retrain(context: Context) -> Model:
    """The reference: the same training without the forgotten targets (paper, Section 3).

    It starts from the original's initial weights and sees the same images in the same order. Of a multi-label task the
    forgotten column is withheld from every image, of a single-label task the images of the forgotten classes are left
    out. Its forgotten outputs are then made constant: they were never trained, so what they say is chance.
    """
    train, request = context.data.splits["train"], context.request

    def build() -> tuple[Network, Meter]:
        net, meter = from_scratch(context, "retrain", without(train, context.task, request))
        context.task.silence(net.head, request.forgotten, train.base_rates())
        return net, meter

    return cached(context, "retrain", context.key() | {"forgotten": list(request.forgotten)}, build)


def without(train: Split, task: Task, request: ForgetRequest) -> Split:
    """The training split as a model must see it that never learns the forgotten labels."""
    if task.name == "multilabel":
        return train.withhold(request.forgotten)
    return train.subset((train.targets[:, list(request.forgotten)] == 0).all(1).nonzero().squeeze(1))


def from_scratch(context: Context, stage: str, train: Split) -> tuple[Network, Meter]:
    experiment = context.experiment
    L.seed_everything(experiment.seed, verbose=False)
    net = experiment.backbone.build(len(context.data.labels))
    module = Classifier(net, context.task, experiment.training, experiment.seed, stage)
    log.info("%s: training for %d epochs", stage, experiment.training.epochs)
    with measure() as meter:
        context.trainer(stage, experiment.training.epochs).fit(module, context.data.train_batches(train))
    return net, meter


def cached(context: Context, stage: str, key: Mapping[str, Any], make: Callable[[], tuple[Network, Meter]]) -> Model:
    """A trained model from the cache, or made, evaluated on all images and kept there."""

    def build(folder: Path) -> dict[str, Any]:
        net, meter = make()
        save_file(
            {name: value.contiguous() for name, value in net.state_dict().items()}, folder / "weights.safetensors"
        )
        save_file(all_logits(net, context), folder / "logits.safetensors")
        return facts_of(meter, context)

    entry = context.store.get(stage, key, build)
    net = context.experiment.backbone.build(len(context.data.labels))
    net.load_state_dict(load_file(entry.folder / "weights.safetensors"))
    cost = Cost(**entry.facts, cached=not entry.fresh)
    if cost.cached:
        log.info(
            "%s found in the cache: trained in %.0f s on %s, %s", stage, cost.seconds["total"], cost.device, cost.date
        )
    return Model(net.eval(), load_file(entry.folder / "logits.safetensors"), cost)


def unlearn(context: Context, method: Method, source: Model) -> Model:
    """Score, edit and fine-tune a copy of the original by `method`; everything that it costs is measured."""
    problem = problem_of(context, source)
    L.seed_everything(context.experiment.seed, verbose=False)
    with measure() as meter:
        net = problem.net
        for _ in range(method.rounds):
            current = replace(problem, net=net)
            net = apply(context, method, current, method.edit(current))
    cost = Cost(**facts_of(meter, context), date=now(), cached=False)
    return Model(net, all_logits(net, context), cost)


def problem_of(context: Context, source: Model) -> Problem:
    """What a method is given: a copy of the original that no gradient reaches, on the device."""
    net = copy.deepcopy(source.net).requires_grad_(False).to(device_of(context))
    return Problem(net, context.task, context.request, context.data.splits["train"], context.experiment.seed)


def apply(context: Context, method: Method, problem: Problem, edit: Edit) -> Network:
    """The network with its edit, fine-tuned within its bounds."""
    module = Unlearner(method, problem, edit)
    with phase("finetune"):
        if method.tuning.steps:
            batches = context.data.train_batches(problem.train, method.tuning.batch_size)
            epochs = math.ceil(method.tuning.steps / len(batches))
            context.trainer(method.name, epochs, method.tuning.steps).fit(module, batches)
            module.to(problem.device)
        module.renew_statistics()
    return module.net.eval().requires_grad_(False)


def facts_of(meter: Meter, context: Context) -> dict[str, Any]:
    return {
        "seconds": dict(meter.seconds),
        "forward": meter.forward,
        "backward": meter.backward,
        "device": device_name(device_of(context)),
    }


def all_logits(net: Network, context: Context) -> dict[str, Tensor]:
    net.to(device_of(context))
    return {name: logits_of(net, split) for name, split in context.data.splits.items()}


def device_of(context: Context) -> torch.device:
    return context.trainer("device", epochs=0).strategy.root_device


def device_name(device: torch.device) -> str:
    """Such as `cpu` or `NVIDIA H100`: what costs are comparable on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
