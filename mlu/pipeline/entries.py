"""Models with their outputs and their cost, made or found in the cache."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from mlu.metrics.trace import TracePoint
from mlu.models.concepts import with_rows
from mlu.models.network import Network
from mlu.models.outputs import Answers, Outputs, outputs_of
from mlu.models.weight_files import read_weights
from mlu.models.weights import load_trained
from mlu.pipeline.context import Context
from mlu.pipeline.outputs import EXPOSED, exposed_rows, outputs_by_split
from mlu.system.disk import write_tensors
from mlu.system.errors import UserError
from mlu.system.progress import long_work
from mlu.system.store import PROGRESS, Entry
from mlu.training.devices import device_name
from mlu.training.meter import Cost, Meter

_WEIGHTS, _SPREAD = "weights.safetensors", "spread"

Making = Callable[[Path], tuple[Network, Meter]]
"""Trains a network, given where a training may keep how far it has come."""


@dataclass(frozen=True)
class Model:
    """A network, what it says about images, and what it cost.

    Attributes:
        net: In evaluation mode.
        outputs: What it says of every image and the images' true targets, by split; with stages of
            those that it was not trained on (EXPOSED).
        cost: None for a model that the user brought.
        trace: What validation people showed while it was made to forget; empty where none were
            asked.
        readings: What the strongest reader found of it after each round; empty where no round was
            verified.
    """

    net: Network
    outputs: dict[str, Outputs]
    cost: Cost | None
    trace: tuple[TracePoint, ...] = ()
    readings: tuple[float, ...] = ()


def cached_model(
    context: Context,
    kind: str,
    key: Mapping[str, Any],
    make: Making,
    exposed: Sequence[str] = EXPOSED,
) -> Model:
    """A trained model from the cache, or made, evaluated on all images and kept there.

    Args:
        context: Of the run, or of a shadow model.
        kind: Its folder in the cache, such as `original`.
        key: All that it depends on.
        make: Makes it where it is not there.
        exposed: Splits of which the output of every stage is kept.
    """

    def build(folder: Path) -> dict[str, Any]:
        net, meter = make(folder / PROGRESS)
        write_tensors(folder / _WEIGHTS, net.state_dict())

        remedy = context.experiment.training.remedy(kind)
        with long_work(f"{kind}: looking at all images"):
            outputs = context.team.run(outputs_by_split, context, net, remedy, exposed)

        for name, said in outputs.items():
            write_outputs(folder / f"{name}.safetensors", said)

        return facts_of(meter, context)

    return context.store.read(kind, key, build, partial(opened_model, context))


def write_outputs(file: Path, said: Outputs) -> None:
    """Write the logits of one split, and what its stages gave."""
    # By number, since the file does not keep their order.
    numbered = {}
    for number, (stage, means) in enumerate(said.stages.items()):
        numbered[f"{number} {stage}"] = means
        if stage in said.spreads:
            numbered[f"{number} {stage} {_SPREAD}"] = said.spreads[stage]

    write_tensors(file, {"logits": said.logits, **numbered})


def opened_model(context: Context, entry: Entry) -> Model:
    """The model of an entry of the cache.

    Raises:
        Exception: Of any kind, if the entry is not what `cached_model` writes.
    """
    net = empty_network(context)
    load_trained(net, entry.folder / _WEIGHTS)

    outputs = {}
    for name, split in context.data.splits.items():
        said = read_weights(entry.folder / f"{name}.safetensors")
        logits = said.pop("logits")
        if logits.shape != split.targets.shape:
            raise UserError(
                f"logits of shape {tuple(logits.shape)} where "
                f"{tuple(split.targets.shape)} is needed"
            )

        stages: dict[str, Tensor] = {}
        spreads: dict[str, Tensor] = {}
        for key in sorted(said, key=lambda key: int(key.split()[0])):
            _, stage, *spread = key.split()
            (spreads if spread else stages)[stage] = said[key]

        traced = exposed_rows(split, context) if stages else None
        outputs[name] = outputs_of(split, Answers(logits, stages, spreads), traced)

    return Model(net.eval(), outputs, Cost(**entry.facts, cached=not entry.fresh))


def empty_network(context: Context) -> Network:
    """A network whose weights will be overwritten: none are read or downloaded for it."""
    return replace(context.experiment.backbone, weights=None).build(len(context.data.labels))


def given_network(context: Context, path: Path) -> Network:
    """A network with a user's weights; it has outputs of concepts as well, which say nothing."""
    concepts = context.request.forgotten if context.experiment.concept else ()
    outputs = len(context.data.labels) - len(concepts)
    net = replace(context.experiment.backbone, weights=None).build(outputs)
    load_trained(net, path)

    if concepts:
        net = with_rows(net, concepts)
        context.task.silence(net.head, concepts, context.train.base_rates())

    return net


def facts_of(meter: Meter, context: Context) -> dict[str, Any]:
    """The cost of what was measured, as JSON values; without a date."""
    return {
        "seconds": dict(meter.seconds),
        "forward": meter.forward,
        "backward": meter.backward,
        "device": device_name(context.team),
    }
