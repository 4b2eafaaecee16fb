"""Forgetting in a user's own model, without a configuration, a command line or data of ours."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from numbers import Integral, Real
from typing import Any, Literal, overload

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader

from mlu.data.base import TaskName
from mlu.data.divided import shuffled_batches
from mlu.data.labels import forgotten_labels
from mlu.data.loaded import split_of
from mlu.data.split import Split
from mlu.launch.build import made
from mlu.launch.check import NO_CONCEPTS, SEARCH, check_method, check_values
from mlu.launch.compose import composed, values_of
from mlu.launch.options import options_of
from mlu.measured import Measurement, measurement_of, retained_verification
from mlu.models.concepts import WithConcepts, with_probes, with_rows, without_rows
from mlu.models.embeddings import Embedding, with_embedding_targets
from mlu.models.foreign import Module, as_embedder, as_module, as_network, head_of
from mlu.models.network import Network
from mlu.models.tasks import ForgetRequest, Task, task_of
from mlu.system.errors import UserError, did_you_mean
from mlu.system.seeding import generator
from mlu.training.trainer import lightning_quiet, trainer_of
from mlu.unlearning.contract import Method, Problem
from mlu.unlearning.held import HeldHead
from mlu.unlearning.unlearner import carry_out

VALIDATION = 0.25
"""Share of the images that methods choose by, where no others are given for that."""

LOOKED_AT = 16
"""Images on which the divided model must say what the model says."""

NO_METHODS = {
    "original": "it changes nothing",
    "retrain": "it trains from scratch, which your own training does: leave the label out of it",
}
"""Names of conf/method that cannot unlearn a given model, and why."""

EMBEDDERS = ("decorrelate", "wf", "wp")
"""Names of conf/method that forget in an embedding: in plain weights, whatever the head is."""


@overload
def forget(
    model: Module,
    loader: DataLoader[Any],
    labels: Sequence[str],
    names: str | Sequence[str] | None = None,
    method: str = "wp",
    *,
    concept: str | Sequence[str] | None = None,
    head: str | None = None,
    validation: DataLoader[Any] | None = None,
    people: Sequence[Any] | None = None,
    measure: Literal[False] = False,
    seed: int = 42,
    **settings: Any,
) -> Module: ...


@overload
def forget(
    model: Module,
    loader: DataLoader[Any],
    labels: Sequence[str],
    names: str | Sequence[str] | None = None,
    method: str = "wp",
    *,
    concept: str | Sequence[str] | None = None,
    head: str | None = None,
    validation: DataLoader[Any] | None = None,
    people: Sequence[Any] | None = None,
    measure: Literal[True],
    seed: int = 42,
    **settings: Any,
) -> tuple[Module, Measurement]: ...


def forget(
    model: Module,
    loader: DataLoader[Any],
    labels: Sequence[str],
    names: str | Sequence[str] | None = None,
    method: str = "wp",
    *,
    concept: str | Sequence[str] | None = None,
    head: str | None = None,
    validation: DataLoader[Any] | None = None,
    people: Sequence[Any] | None = None,
    measure: bool = False,
    seed: int = 42,
    **settings: Any,
) -> Module | tuple[Module, Measurement]:
    """A copy of a trained image classifier that has forgotten some labels.

    Args:
        model: Its last operation is a torch.nn.Linear that gives the logits; float32, on one
            device, where the work is done. Not changed. Frozen parameters are edited as well:
            `requires_grad` says what you train.
        loader: Training images and their targets: (images, targets, ...), of a map-style data set,
            which is read in its own order and by its own transforms. Targets are classes, whole
            numbers of shape (n,), or independent labels, 0, 1 and NaN (unknown) of shape (n,
            labels). Columns of concepts, likewise 0, 1 and NaN, stand behind those of independent
            labels; beside classes they are a third part of each batch, shape (n, concepts).
        labels: Name of each output, in order. None, `[]`, of a model without a head, which gives an
            embedding: a row of numbers for each image, of which the direction is kept.
        names: The label or labels to forget.
        concept: Instead of these: the attribute or attributes to forget that are no output, and
            that features tell. All outputs are kept.
        method: How: the name of a file in conf/method, such as `wp`, `wf`, `head` or `leace`.
        head: Name of the last linear layer, such as `classifier.3`; found by its number of outputs
            where not given.
        validation: Images that a method chooses by and that nothing is trained on; else a quarter
            of `loader`'s.
        people: Number or name of the person on each validation image, in order, for `measure`:
            whom readers learn from, they are not judged on. None where each image is another's.
        measure: Whether to measure as well, on the validation images, which must then be given.
        seed: Of every random choice, in [0, 2^32).
        **settings: Keys of conf/method/<method>.yaml, such as `phi=0.05` or `tuning={"steps": 50}`;
            the defaults of the others are those for such targets.

    Returns:
        A model of the same class, with the same call, device, modes and `requires_grad`. LEACE's
        and SPLINCE's have a layer more: their head is a Sequential of the eraser and the head. With
        `measure` also a Measurement: accuracy of the retained outputs, and what the strongest
        reader of `attack=aia` finds, before and afterwards, with intervals and the floor.

    Raises:
        UserError: If an argument, the model or the data do not allow it; one line that says what to
            do.
    """
    concepts = concepts_named(concept, names, labels)
    forgotten = () if names is None else columns_of(names, labels)
    refuse_unclear(labels)
    refuse_unmeasurable(measure, labels, validation, people)
    # What is wrong with them is told before the data are read, whose targets choose the defaults.
    method_of(method, settings, seed)
    device = device_of_model(model)
    place = head_of(model, len(labels), head) if labels else None

    with lightning_quiet(), isolate_rng():
        train, task = split_of(loader, labels, concepts=concepts)
        # Concepts are independent labels, whatever stands before them.
        how = method_of(method, settings, seed, "multilabel" if concepts else task)
        refuse_unserved(how, method, task, concepts, embeds=place is None)

        train, held = (
            parted(train, seed)
            if validation is None
            else (train, validation_of(validation, labels, task, concepts))
        )
        some = train[torch.arange(len(train))[:LOOKED_AT]].images.to(device)
        net = as_embedder(model, some) if place is None else as_network(model, place, some)

        problem = problem_with(net, train, held, task, forgotten, concepts, seed, place is None)
        if place is None:
            how = HeldHead.around(how)

        trainers = partial(trainer_of, logger=False, **where(device))
        batches = partial(shuffled_batches, workers=loader.num_workers)
        unlearned = carry_out(how, problem, trainers, batches)
        refuse_infinite_weights(unlearned, method)

        measurement = None
        if measure:
            outputs = labels or map(str, range(len(problem.request.retained)))
            seen = problem if people is None else with_people(problem, people)
            measurement = measured_change(
                seen, unlearned, [*outputs, *concepts], bool(concepts), embeds=place is None
            )

        if concepts:
            unlearned = without_rows(unlearned, problem.request.forgotten)

    found = as_module(unlearned, model, place)

    return found if measurement is None else (found, measurement)


def problem_with(
    net: Network,
    train: Split,
    held: Split,
    task: TaskName,
    forgotten: tuple[int, ...],
    concepts: Sequence[str],
    seed: int,
    embeds: bool,
) -> Problem:
    """The problem that a method is handed, in which concepts are outputs like any other.

    Args:
        net: The model, divided into body and head.
        train: What methods learn from.
        held: What they choose by.
        task: Of the model's outputs; of an embedding that of the concepts.
        forgotten: Columns of outputs.
        concepts: Names of what is no output.
        seed: Of the rows by which concepts are read, and of the method.
        embeds: Whether the model gives an embedding.
    """
    outputs = net.head.out_features
    request = request_over(outputs, forgotten, len(concepts))
    meaning = meaning_of(task, outputs, concepts, embeds)

    if embeds:
        train, held = (with_embedding_targets(net, split) for split in (train, held))
    if concepts:
        read = with_rows(net, request.forgotten)
        net = with_probes(read, train, request.forgotten, concepts, seed)

    return Problem(net, net, meaning, request, train, held, seed)


def measured_change(
    problem: Problem, unlearned: Network, columns: Sequence[str], of_concepts: bool, embeds: bool
) -> Measurement:
    """The measurement of a problem's network and of what has become of it.

    Args:
        problem: Its validation images are looked at.
        unlearned: What has become of its network.
        columns: Name of each column.
        of_concepts: Whether the forgotten columns are concepts, which no model outputs.
        embeds: Whether the retained ones are an embedding.
    """
    nets = (problem.net, unlearned)
    if of_concepts:
        nets = (with_silent_rows(problem.net, problem), with_silent_rows(unlearned, problem))

    size = len(problem.request.retained)
    retained = partial(retained_verification, size) if embeds else None

    return measurement_of(
        nets, problem.task, columns, problem.request, problem.validation, problem.seed, retained
    )


def refuse_unmeasurable(
    measure: bool, labels: Sequence[str], validation: Any, people: Sequence[Any] | None
) -> None:
    """Raises UserError where a measurement lacks the images or the people that it takes."""
    if measure and validation is None:
        raise UserError(
            "measure=True needs images that the model was not trained on: give validation=..."
        )
    if measure and not labels and people is None:
        raise UserError(
            "measure=True of an embedding asks whether images show the same person: give people=..."
        )


def concepts_named(
    concept: str | Sequence[str] | None, names: str | Sequence[str] | None, labels: Sequence[str]
) -> tuple[str, ...]:
    """The concepts to forget, each once; none where outputs are to be forgotten."""
    if concept is None:
        if names is None:
            raise UserError(
                "there is nothing to forget: give names=... for outputs of the model, or "
                "concept=... for what is none"
            )
        return ()

    if names is not None:
        raise UserError("names and concept are both given: forget outputs or concepts in one call")

    wanted = tuple(dict.fromkeys([concept] if isinstance(concept, str) else concept))
    if not wanted:
        raise UserError("concept is empty: name at least one attribute to forget")

    if outputs := [name for name in wanted if name in labels]:
        raise UserError(f"concept={outputs[0]!r} is an output of the model: forget it with names")

    return wanted


def request_over(outputs: int, forgotten: tuple[int, ...], concepts: int) -> ForgetRequest:
    """Columns to forget and to retain: those of concepts stand behind the outputs."""
    forgotten += tuple(range(outputs, outputs + concepts))
    return ForgetRequest(
        forgotten, tuple(column for column in range(outputs) if column not in forgotten)
    )


def refuse_unserved(
    how: Method, name: str, task: TaskName, concepts: Sequence[str], embeds: bool
) -> None:
    """Raises UserError for targets, or for an embedding, that a method does not serve.

    Classes with concepts beside them are data of both kinds.
    """
    if embeds and name not in EMBEDDERS:
        raise UserError(
            f"method={name} works on a classifier's head, an embedding has none: choose "
            f"{', '.join(EMBEDDERS)}"
        )

    served = " and ".join(how.tasks)
    if task not in how.tasks:
        raise UserError(f"method={name} serves {served} data, the targets are {task}")

    if concepts and (name in NO_CONCEPTS or "multilabel" not in how.tasks):
        reason = NO_CONCEPTS.get(name, f"it serves {served} data alone")
        raise UserError(
            f"method={name} cannot forget a concept: {reason}; choose another, such as decorrelate"
        )


def meaning_of(task: TaskName, outputs: int, concepts: Sequence[str], embeds: bool) -> Task:
    """The task of a model's outputs, and of concepts behind them."""
    kept = Embedding() if embeds else task_of(task)
    divided = concepts and not kept.withholds_labels
    return WithConcepts(kept, outputs) if divided else kept


def with_silent_rows(net: Network, problem: Problem) -> Network:
    """A copy of a network whose forgotten outputs say nothing, as of a model without them."""
    net = copy.deepcopy(net)
    problem.task.silence(net.head, problem.request.forgotten, problem.train.base_rates())
    return net


def with_people(problem: Problem, people: Sequence[Any]) -> Problem:
    """A problem that knows who is on each validation image."""
    split = problem.validation
    if len(people) != len(split):
        raise UserError(
            f"people has {len(people)} entries for {len(split)} validation images: give one each"
        )

    identities = np.unique(np.asarray(people), return_inverse=True)[1]

    return replace(problem, validation=replace(split, identities=identities))


def refuse_unclear(labels: Sequence[str]) -> None:
    if isinstance(labels, str) or len(set(labels)) != len(labels):
        raise UserError(f"labels must be the names of all outputs, each once, got {labels!r}")


def columns_of(names: str | Sequence[str], labels: Sequence[str]) -> tuple[int, ...]:
    """Columns of the labels to forget, ascending."""
    refuse_unclear(labels)
    labels = list(labels)
    wanted = [names] if isinstance(names, str) else list(names)
    if not wanted:
        raise UserError("names is empty: name at least one label to forget")

    if len(set(wanted)) == len(labels) > 0:
        raise UserError(f"names has all {len(labels)} labels: leave at least one to retain")

    return tuple(
        sorted(labels.index(name) for name in forgotten_labels(wanted, labels, "the model"))
    )


def method_of(
    name: str, settings: Mapping[str, Any], seed: int, task: TaskName = "multilabel"
) -> Method:
    """The method of a yaml, its defaults for a task, some of its keys set; refuses others."""
    options = options_of("method")
    if name in NO_METHODS:
        raise UserError(f"method={name} cannot unlearn a model: {NO_METHODS[name]}")

    if name not in options:
        usable = [known for known in options if known not in NO_METHODS]
        raise UserError(
            f"there is no method {name!r}{did_you_mean(name, usable) or '.'} "
            f"Methods: {', '.join(usable)}"
        )

    values = dict(defaults_of(name, task))
    values |= {"seed": seed, "method": changed(values["method"], settings, "method")}
    check_values(values)
    check_method(values)
    method: Method = made(values, "method")
    if method.verify is not None:
        raise UserError(
            f"verify={method.verify:g}: nobody is asked here, forget measures nothing: leave "
            "verify out, or run python launch.py"
        )

    return method


@cache
def defaults_of(name: str, task: TaskName) -> Mapping[str, Any]:
    """The configuration of a run by a method on data of a task; read once, not to be changed."""
    return values_of(composed([f"method={name}", f"dataset.task={task}"]))


def changed(own: Mapping[str, Any], settings: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The values of a part of a configuration with some of them set.

    Args:
        own: What there is; `settings` must be among its keys.
        settings: Values by key; of a nested key a mapping.
        path: Where in the configuration it stands.
    """
    known = [key for key in own if key not in ("_target_", "name", SEARCH)]
    found = dict(own)

    for key, value in settings.items():
        where = f"{path}.{key}"
        if key not in known:
            raise UserError(
                f"{path} has no setting {key!r}{did_you_mean(key, known) or '.'} "
                f"It has {', '.join(known)}"
            )

        if not isinstance(own[key], Mapping):
            found[key] = plain_setting(value, where)
        elif isinstance(value, Mapping):
            found[key] = changed(own[key], value, where)
        else:
            raise UserError(f"{where} must be a mapping, such as {{'lr': 0.01}}, got {value!r}")

    return found


def plain_setting(value: Any, key: str) -> Any:
    """A value as a yaml would hold it, also one of numpy."""
    if value is None or isinstance(value, bool | str):
        return math.inf if value == "inf" else value

    if isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)

    if isinstance(value, list | tuple):
        return [plain_setting(one, key) for one in value]

    raise UserError(
        f"{key} must be a number, a word, a list of them, True, False or None, got {value!r}"
    )


def device_of_model(model: Any) -> torch.device:
    """The one device of a model; refuses what cannot be fine-tuned as it is."""
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"model must be a torch.nn.Module, got {type(model).__name__}")

    kinds = {(parameter.device, parameter.dtype) for parameter in model.parameters()}

    if len(kinds) != 1:
        raise UserError(
            "the model must have parameters, all on one device and of one type, "
            f"got {sorted(map(str, kinds))}"
        )

    ((device, dtype),) = kinds
    if dtype != torch.float32:
        raise UserError(f"the model's parameters are {dtype}: give model.float()")

    return device


def where(device: torch.device) -> dict[str, Any]:
    """Arguments of Lightning's Trainer that keep it on a device."""
    if device.type != "cuda":
        return {"accelerator": device.type, "devices": 1}
    return {"accelerator": "gpu", "devices": [device.index or 0]}


def parted(split: Split, seed: int) -> tuple[Split, Split]:
    """Training and validation images, drawn."""
    count = round(VALIDATION * len(split))
    if count < 2:
        raise UserError(f"the loader has {len(split)} images: give it more, at least 8")
    order = torch.randperm(len(split), generator=generator(seed))
    return split.subset(order[count:].sort().values), split.subset(order[:count].sort().values)


def validation_of(
    loader: DataLoader[Any], labels: Sequence[str], task: TaskName, concepts: Sequence[str] = ()
) -> Split:
    split, found = split_of(loader, labels, "validation", concepts)
    if found != task:
        raise UserError(
            f"the targets of validation are {found}, those of loader {task}: "
            "give both the same kind"
        )

    return split


def refuse_infinite_weights(net: Network, method: str) -> None:
    if not all(value.isfinite().all() for value in net.state_dict().values()):
        raise UserError(
            f"the model's weights are not finite; {method}: "
            "choose milder settings, such as a lower lr"
        )
