"""The stages of a run that make a model: the original, Retrain and unlearning, each measured the
same way."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from mlu.data.split import Split, people_drawn
from mlu.models.network import Network
from mlu.models.outputs import Outputs, outputs_of, respond, respond_by_stage
from mlu.models.tasks import ForgetRequest
from mlu.models.weights import load_trained, read_weights
from mlu.pipeline.context import Context, Model
from mlu.system.disk import write_tensors
from mlu.system.errors import UserError
from mlu.system.store import PROGRESS, Entry, now
from mlu.training.classifier import Classifier
from mlu.training.devices import device_name
from mlu.training.meter import Cost, Meter, measure
from mlu.training.resumption import Resumption, Sealed
from mlu.unlearning.contract import Method, Problem
from mlu.unlearning.unlearner import carry_out

log = logging.getLogger(__name__)


EXPOSED = ("validation", "test")
"""Splits of which the output of every stage is kept: what an attacker learns from and is judged on."""
EXPOSED_IMAGES = 20_000
"""Of each of them at most: people are drawn where there are more. A resnet50 gives 16 KB for each."""


def original(context: Context) -> Model:
    """The model that knows all labels: trained, found in the cache, or the user's own."""
    path = context.experiment.original_weights
    if path is not None:
        net = bare(context)
        load_trained(net, path)
        remedy = f"is original.weights={path} another model?"
        return Model(
            net.eval(), context.team.run(outputs_by_split, context, net, remedy), cost=None
        )
    make = partial(context.team.run, from_scratch, context, "original", context.train)
    return announced("original", cached(context, "original", context.key(), make))


def retrain(context: Context) -> Model:
    """The reference: the same training without the forgotten targets (paper, Section 3).

    It starts from the original's initial weights and sees the same images in the same order. Of a
    multi-label task the forgotten column is withheld from every image, of a single-label task the
    images of the forgotten classes are left out. Its forgotten outputs are then made constant: they
    were never trained, so what they say is chance.
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


def from_scratch(
    context: Context, stage: str, train: Split, progress: Path | None = None
) -> tuple[Network, Meter]:
    """A network trained on `train`.

    Args:
        context: Of the run, or of a shadow model.
        stage: What is trained, for the progress bar.
        train: What to learn from.
        progress: Where each epoch is kept, and where a training that was ended goes on from; None
            for nowhere.
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
        kept: dict[str, Any] = (
            {"callbacks": [resumption], "plugins": [Sealed()]} if resumption else {}
        )
        trainer = context.trainer(stage, epochs, experiment.training, **kept)
        trainer.fit(module, batches, ckpt_path=progress if done else None)

    return net, meter


def from_scratch_without(
    context: Context, stage: str, progress: Path | None = None
) -> tuple[Network, Meter]:
    """As `from_scratch`, on all that may be learnt of the training images; the forgotten outputs
    say nothing."""
    forgotten = context.request.forgotten
    net, meter = from_scratch(
        context, stage, context.task.without(context.train, forgotten), progress
    )
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
        outputs = context.team.run(outputs_by_split, context, net, remedy, exposed)
        for name, said in outputs.items():
            # By number, since the file does not keep their order.
            stages = {
                f"{number} {stage}": means
                for number, (stage, means) in enumerate(said.stages.items())
            }
            write_tensors(folder / f"{name}.safetensors", {"logits": said.logits, **stages})

        return facts_of(meter, context)

    return context.store.read(stage, key, build, partial(opened_model, context))


def opened_model(context: Context, entry: Entry) -> Model:
    """The model of an entry of the cache; raises an exception of any kind if it is not what
    `cached` writes."""
    net = bare(context)
    load_trained(net, entry.folder / "weights.safetensors")
    outputs = {}
    for name, split in context.data.splits.items():
        said = read_weights(entry.folder / f"{name}.safetensors")
        logits, numbered = said.pop("logits"), sorted(said, key=lambda stage: int(stage.split()[0]))
        if logits.shape != split.targets.shape:
            raise UserError(
                f"logits of shape {tuple(logits.shape)} where {tuple(split.targets.shape)} is needed"
            )
        stages = {stage.split()[1]: said[stage] for stage in numbered}
        outputs[name] = outputs_of(
            split, logits, stages, exposed_rows(split, context) if stages else None
        )

    return Model(net.eval(), outputs, Cost(**entry.facts, cached=not entry.fresh))


def announced(stage: str, model: Model) -> Model:
    cost = model.cost
    if cost is not None and cost.cached:
        log.info(
            "%s found in the cache: trained in %.0f s on %s, %s",
            stage,
            cost.seconds["total"],
            cost.device,
            cost.date,
        )
    return model


def unlearn(context: Context, method: Method, source: Model) -> Model:
    """Score, edit and fine-tune a copy of the original by `method`; everything that it costs is
    measured."""
    net, meter = context.team.run(unlearn_in_turn, context, method, source.net)
    cost = Cost(**facts_of(meter, context), date=now(), cached=False)
    if same_weights(net, source.net):
        return Model(net, source.outputs, cost)
    return Model(
        net,
        context.team.run(outputs_by_split, context, net, method.tuning.remedy(method.name)),
        cost,
    )


def same_weights(one: Network, other: Network) -> bool:
    """Whether both say the same of every image."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name].to(ours[name])) for name in ours
    )


def unlearn_in_turn(context: Context, method: Method, source: Network) -> tuple[Network, Meter]:
    """Request after request: what one has left, the next one starts from, and takes for the
    original."""
    net = source
    with measure(context.device) as meter:
        for step in in_turn(context):
            net = carry_out(
                method, problem_of(step, net), context.trainer, context.data.train_batches
            )
    return net, meter


def in_turn(context: Context) -> Iterator[Context]:
    """The context of each request; what an earlier one withdrew is no longer learnt from, nor
    retained."""
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
    return Problem(
        net, net, context.task, context.request, context.train, validation, context.experiment.seed
    )


def facts_of(meter: Meter, context: Context) -> dict[str, Any]:
    return {
        "seconds": dict(meter.seconds),
        "forward": meter.forward,
        "backward": meter.backward,
        "device": device_name(context.team),
    }


def outputs_by_split(
    context: Context, net: Network, remedy: str, exposed: Sequence[str] = EXPOSED
) -> dict[str, Outputs]:
    """What a model says of every image, by split; UserError with the remedy where a logit is not
    finite."""
    net.to(context.device)
    outputs = {}
    for name, split in context.data.splits.items():
        traced = exposed_rows(split, context) if name in exposed else None
        logits, stages = (
            respond_by_stage(net, split, traced)
            if name in exposed
            else (respond(net, split)[0], None)
        )
        if not logits.isfinite().all():
            raise UserError(f"the model's outputs are not finite; {remedy}")
        outputs[name] = outputs_of(split, logits, stages, traced)

    return outputs


def exposed_rows(split: Split, context: Context) -> Tensor | None:
    """Images of an exposed split whose stages are kept, ascending; None for all."""
    if len(split) <= EXPOSED_IMAGES:
        return None
    return people_drawn(split.identities, [EXPOSED_IMAGES], context.experiment.seed)[0]
