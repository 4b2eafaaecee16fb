"""The stages of a run that make a model: the original, Retrain and unlearning, each measured the same way."""

import copy
import logging
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from mlu.attacks.drawing import people_drawn
from mlu.contracts import Canaries, ForgetRequest, Method, Problem
from mlu.data.module import ImageData
from mlu.data.split import Split
from mlu.disk import write_tensors
from mlu.errors import UserError
from mlu.experiment import Experiment
from mlu.meter import Meter, measure
from mlu.models.classifier import Classifier
from mlu.models.network import Network
from mlu.models.outputs import Outputs, outputs_of, respond, respond_by_stage
from mlu.models.weights import load_trained, read_weights
from mlu.optimise import Optimisation
from mlu.progress import trainer_of
from mlu.resumption import Resumption, Sealed
from mlu.store import PROGRESS, Entry, Store, code_digest, content_of, now
from mlu.tasks import Task
from mlu.team import Team
from mlu.unlearner import carry_out

log = logging.getLogger(__name__)

CODE = (
    "mlu.attacks.drawing",
    "mlu.canaries",
    "mlu.meter",
    "mlu.seeding",
    "mlu.sharing",
    "mlu.stages",
    "mlu.tasks",
    "mlu.team",
    "mlu.data.augment",
    "mlu.data.module",
    "mlu.data.split",
    "mlu.models",
    "mlu.optimise",
    "mlu.progress",
    "mlu.resumption",
)
"""What a trained model depends on besides its settings."""


EXPOSED = ("validation", "test")
"""Splits of which the output of every stage is kept: what an attacker learns from and is judged on."""
EXPOSED_IMAGES = 20_000
"""Of each of them at most: people are drawn where there are more. A resnet50 gives 16 KB for each."""


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
    """A network, what it says about images, and what it cost.

    Attributes:
        net: In evaluation mode.
        outputs: What it says of every image and the images' true targets, by split; with stages of those that it was
            not trained on (EXPOSED).
        cost: None for a model that the user brought.
    """

    net: Network
    outputs: dict[str, Outputs]
    cost: Cost | None


@dataclass(frozen=True)
class Context:
    """Where stages run: the experiment, its data, and what they share.

    Attributes:
        experiment: As configured.
        data: Its data set, divided.
        task: What its outputs mean.
        request: The columns to forget and to retain.
        requests: The columns of each request to forget, in the order in which they come; together the forgotten ones.
        train: What is trained on: the training split, without what the canaries withhold.
        canaries: None where all targets are trained on.
        logger: Where Lightning logs training curves; None for nowhere.
        team: The processes that train, score and evaluate.
    """

    experiment: Experiment
    data: ImageData
    task: Task
    request: ForgetRequest
    requests: tuple[tuple[int, ...], ...]
    train: Split
    canaries: Canaries | None
    logger: Logger | None
    team: Team

    @property
    def device(self) -> torch.device:
        """What networks run on in this process."""
        return self.team.device

    @property
    def store(self) -> Store:
        return Store(self.experiment.cache)

    def key(self) -> dict[str, Any]:
        """What every trained model depends on."""
        experiment = self.experiment
        return {
            "data": self.data.source.fingerprint,
            "backbone": experiment.config["backbone"] | {"weights": content_of(experiment.backbone.weights)},
            "training": experiment.config["training"],
            "precision": experiment.trainer["precision"],
            "compile": experiment.trainer["compile"],
            "seed": experiment.seed,
            "canaries": experiment.config["canaries"] | {"of": list(self.request.forgotten) if self.canaries else []},
            "code": code_digest(*CODE),
            "torch": torch.__version__,
        }

    def trainer(
        self, stage: str, epochs: int, settings: Optimisation, steps: int | None = None, **options: Any
    ) -> L.Trainer:
        """Trains for some epochs, or for some steps where these are fewer."""
        ours = self.experiment.trainer | self.team.trainer_options()
        plugins = [*ours.pop("plugins", ()), *options.pop("plugins", ())]
        return trainer_of(
            stage, epochs, settings, steps, logger=self.logger or False, plugins=plugins, **ours, **options
        )


def original(context: Context) -> Model:
    """The model that knows all labels: trained, found in the cache, or the user's own."""
    path = context.experiment.original_weights
    if path is not None:
        net = bare(context)
        load_trained(net, path)
        remedy = f"is original.weights={path} another model?"
        return Model(net.eval(), context.team.run(responses, context, net, remedy), cost=None)
    make = partial(context.team.run, from_scratch, context, "original", context.train)
    return announced("original", cached(context, "original", context.key(), make))


def retrain(context: Context) -> Model:
    """The reference: the same training without the forgotten targets (paper, Section 3).

    It starts from the original's initial weights and sees the same images in the same order. Of a multi-label task the
    forgotten column is withheld from every image, of a single-label task the images of the forgotten classes are left
    out. Its forgotten outputs are then made constant: they were never trained, so what they say is chance.
    """
    key = context.key() | {"forgotten": list(context.request.forgotten)}
    make = partial(context.team.run, from_scratch_without, context, "retrain")
    return announced("retrain", cached(context, "retrain", key, make))


def random(context: Context) -> Model:
    """What features are worth before any training: the backbone with random weights."""

    def build(_: Path) -> tuple[Network, Meter]:
        L.seed_everything(context.experiment.seed, verbose=False)
        with measure(context.device) as meter:
            return bare(context), meter

    return cached(context, "random", context.key(), build)


def bare(context: Context) -> Network:
    """A network whose weights will be overwritten: none are read or downloaded for it."""
    return replace(context.experiment.backbone, weights=None).build(len(context.data.labels))


def from_scratch(context: Context, stage: str, train: Split, progress: Path | None = None) -> tuple[Network, Meter]:
    """A network trained on `train`.

    Args:
        context: Of the run, or of a shadow model.
        stage: What is trained, for the progress bar.
        train: What to learn from.
        progress: Where each epoch is kept, and where a training that was ended goes on from; None for nowhere.
    """
    experiment = context.experiment
    L.seed_everything(experiment.seed, verbose=False)
    net = experiment.backbone.build(len(context.data.labels))
    module = Classifier(net, context.task, experiment.training, experiment.seed, stage)
    epochs = experiment.training.epochs
    log.info("%s: training for %d epochs", stage, epochs)
    with measure(context.device) as meter:
        resumption = Resumption(progress, meter, device_name(context.team)) if progress else None
        done = resumption.epochs_done(stage, epochs) if resumption else 0
        batches = context.data.train_batches(train, seed=experiment.seed, epoch=done)
        kept: dict[str, Any] = {"callbacks": [resumption], "plugins": [Sealed()]} if resumption else {}
        trainer = context.trainer(stage, epochs, experiment.training, **kept)
        trainer.fit(module, batches, ckpt_path=progress if done else None)
    return net, meter


def from_scratch_without(context: Context, stage: str, progress: Path | None = None) -> tuple[Network, Meter]:
    """As `from_scratch`, on all that may be learnt of the training images; the forgotten outputs say nothing."""
    forgotten = context.request.forgotten
    net, meter = from_scratch(context, stage, context.task.without(context.train, forgotten), progress)
    context.task.silence(net.head, forgotten, context.train.base_rates())
    return net, meter


def cached(
    context: Context,
    stage: str,
    key: Mapping[str, Any],
    make: Callable[[Path], tuple[Network, Meter]],
    exposed: Sequence[str] = EXPOSED,
) -> Model:
    """A trained model from the cache, or made, evaluated on all images and kept there.

    Args:
        context: Of the run, or of a shadow model.
        stage: What it is.
        key: All that it depends on.
        make: Trains it, given where a training may keep how far it has come.
        exposed: Splits of which the output of every stage is kept.
    """

    def build(folder: Path) -> dict[str, Any]:
        net, meter = make(folder / PROGRESS)
        write_tensors(folder / "weights.safetensors", net.state_dict())
        remedy = context.experiment.training.remedy(stage)
        outputs = context.team.run(responses, context, net, remedy, exposed)
        for name, said in outputs.items():
            # By number, since the file does not keep their order.
            stages = {f"{number} {stage}": means for number, (stage, means) in enumerate(said.stages.items())}
            write_tensors(folder / f"{name}.safetensors", {"logits": said.logits, **stages})
        return facts_of(meter, context)

    return context.store.read(stage, key, build, partial(opened, context))


def opened(context: Context, entry: Entry) -> Model:
    """The model of an entry of the cache; raises an exception of any kind if it is not what `cached` writes."""
    net = bare(context)
    load_trained(net, entry.folder / "weights.safetensors")
    outputs = {}
    for name, split in context.data.splits.items():
        said = read_weights(entry.folder / f"{name}.safetensors")
        logits, numbered = said.pop("logits"), sorted(said, key=lambda stage: int(stage.split()[0]))
        if logits.shape != split.targets.shape:
            raise UserError(f"logits of shape {tuple(logits.shape)} where {tuple(split.targets.shape)} is needed")
        stages = {stage.split()[1]: said[stage] for stage in numbered}
        outputs[name] = outputs_of(split, logits, stages, exposed_rows(split, context) if stages else None)
    return Model(net.eval(), outputs, Cost(**entry.facts, cached=not entry.fresh))


def announced(stage: str, model: Model) -> Model:
    cost = model.cost
    if cost is not None and cost.cached:
        log.info(
            "%s found in the cache: trained in %.0f s on %s, %s", stage, cost.seconds["total"], cost.device, cost.date
        )
    return model


def unlearn(context: Context, method: Method, source: Model) -> Model:
    """Score, edit and fine-tune a copy of the original by `method`; everything that it costs is measured."""
    net, meter = context.team.run(forgetting, context, method, source.net)
    cost = Cost(**facts_of(meter, context), date=now(), cached=False)
    if same_weights(net, source.net):
        return Model(net, source.outputs, cost)
    return Model(net, context.team.run(responses, context, net, method.tuning.remedy(method.name)), cost)


def same_weights(one: Network, other: Network) -> bool:
    """Whether both say the same of every image."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name].to(ours[name])) for name in ours)


def forgetting(context: Context, method: Method, source: Network) -> tuple[Network, Meter]:
    """Request after request: what one has left, the next one starts from, and takes for the original."""
    net = source
    with measure(context.device) as meter:
        for step in in_turn(context):
            net = carry_out(method, problem_of(step, net), context.trainer, context.data.train_batches)
    return net, meter


def in_turn(context: Context) -> Iterator[Context]:
    """The context of each request; what an earlier one withdrew is no longer learnt from, nor retained."""
    gone: tuple[int, ...] = ()
    for forgotten in context.requests:
        train = context.task.without(context.train, gone) if gone else context.train
        gone += forgotten
        retained = tuple(column for column in range(len(context.data.labels)) if column not in gone)
        yield replace(context, request=ForgetRequest(forgotten, retained), train=train)


def problem_of(context: Context, source: Network) -> Problem:
    """What a method is given: a copy of the original that no gradient reaches, on the device."""
    net = copy.deepcopy(source).requires_grad_(False).to(context.device)
    validation = context.data.splits["validation"]
    return Problem(net, net, context.task, context.request, context.train, validation, context.experiment.seed)


def facts_of(meter: Meter, context: Context) -> dict[str, Any]:
    return {
        "seconds": dict(meter.seconds),
        "forward": meter.forward,
        "backward": meter.backward,
        "device": device_name(context.team),
    }


def responses(context: Context, net: Network, remedy: str, exposed: Sequence[str] = EXPOSED) -> dict[str, Outputs]:
    """What a model says of every image, by split; UserError with the remedy where a logit is not finite."""
    net.to(context.device)
    outputs = {}
    for name, split in context.data.splits.items():
        traced = exposed_rows(split, context) if name in exposed else None
        logits, stages = respond_by_stage(net, split, traced) if name in exposed else (respond(net, split)[0], None)
        if not logits.isfinite().all():
            raise UserError(f"the model's outputs are not finite; {remedy}")
        outputs[name] = outputs_of(split, logits, stages, traced)
    return outputs


def exposed_rows(split: Split, context: Context) -> Tensor | None:
    """Images of an exposed split whose stages are kept, ascending; None for all."""
    if len(split) <= EXPOSED_IMAGES:
        return None
    return people_drawn(split.identities, [EXPOSED_IMAGES], context.experiment.seed)[0]


def device_of(experiment: Experiment) -> torch.device:
    """What Lightning's Trainer chooses; raises UserError where there is no such device."""
    try:
        trainer = L.Trainer(
            accelerator=experiment.trainer["accelerator"],
            precision=experiment.trainer["precision"],
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
        device = trainer.strategy.root_device
    except MisconfigurationException as fault:
        wanted = experiment.trainer["accelerator"]
        raise UserError(f"trainer.accelerator={wanted} is not to be had here, use auto or cpu: {fault}") from fault
    if device.type == "cuda" and experiment.devices > torch.cuda.device_count():
        raise UserError(f"trainer.devices={experiment.devices}: there are {torch.cuda.device_count()} GPUs here")
    return device


def device_name(team: Team) -> str:
    """Such as `NVIDIA H100` or `2 x AMD EPYC 7B13, 1 threads`: what costs are comparable on."""
    device, size = team.device, team.place.size
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{processor()}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
    return name if size == 1 else f"{size} x {name}"


def processor() -> str:
    """The processor's model where the system tells it, else its architecture."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
