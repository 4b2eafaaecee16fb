"""Forgetting in a user's own model, without a configuration, a command line or data of ours."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader

from mlu.data.base import TaskName
from mlu.data.divided import shuffled_batches
from mlu.data.labels import forgotten_labels
from mlu.data.loaded import split_of
from mlu.data.split import Split
from mlu.launch.build import made
from mlu.launch.check import SEARCH, check_method, check_values
from mlu.launch.compose import composed, values_of
from mlu.launch.options import options_of
from mlu.models.foreign import Module, as_module, as_network, head_of
from mlu.models.network import Network
from mlu.models.tasks import ForgetRequest, task_of
from mlu.system.errors import UserError, did_you_mean
from mlu.system.seeding import generator
from mlu.training.trainer import lightning_quiet, trainer_of
from mlu.unlearning.contract import Method, Problem
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


def forget(
    model: Module,
    loader: DataLoader[Any],
    labels: Sequence[str],
    names: str | Sequence[str],
    method: str = "wp",
    *,
    head: str | None = None,
    validation: DataLoader[Any] | None = None,
    seed: int = 42,
    **settings: Any,
) -> Module:
    """A copy of a trained image classifier that has forgotten some labels.

    Args:
        model: Its last operation is a torch.nn.Linear that gives the logits; float32, on one
            device, where the work is done. Not changed. Frozen parameters are edited as well:
            `requires_grad` says what you train.
        loader: Training images and their targets: (images, targets, ...), of a map-style data set,
            which is read in its own order and by its own transforms. Targets are classes, whole
            numbers of shape (n,), or independent labels, 0, 1 and NaN (unknown) of shape (n,
            labels).
        labels: Name of each output, in order.
        names: The label or labels to forget.
        method: How: the name of a file in conf/method, such as `wp`, `wf`, `head` or `leace`.
        head: Name of the last linear layer, such as `classifier.3`; found by its number of outputs
            where not given.
        validation: Images that a method chooses by and that nothing is trained on; else a quarter
            of `loader`'s.
        seed: Of every random choice, in [0, 2^32).
        **settings: Keys of conf/method/<method>.yaml, such as `phi=0.05` or `tuning={"steps": 50}`.

    Returns:
        A model of the same class, with the same call, device, modes and `requires_grad`. LEACE's
        has a layer more: its head is a Sequential of the eraser and the head.

    Raises:
        UserError: If an argument, the model or the data do not allow it; one line that says what to
            do.
    """
    forgotten = columns_of(names, labels)
    how = method_of(method, settings, seed)
    device = device_of_model(model)
    place = head_of(model, len(labels), head)

    with lightning_quiet(), isolate_rng():
        train, task = split_of(loader, labels)
        if task not in how.tasks:
            raise UserError(
                f"method={method} serves {' and '.join(how.tasks)} data, the targets are {task}"
            )

        train, held = (
            parted(train, seed)
            if validation is None
            else (train, validation_of(validation, labels, task))
        )
        net = as_network(
            model, place, train[torch.arange(len(train))[:LOOKED_AT]].images.to(device)
        )
        request = ForgetRequest(
            forgotten, tuple(column for column in range(len(labels)) if column not in forgotten)
        )
        problem = Problem(net, net, task_of(task), request, train, held, seed)
        trainers = partial(trainer_of, logger=False, **where(device))
        unlearned = carry_out(
            how, problem, trainers, partial(shuffled_batches, workers=loader.num_workers)
        )

    refuse_infinite_weights(unlearned, method)

    return as_module(unlearned, model, place)


def columns_of(names: str | Sequence[str], labels: Sequence[str]) -> tuple[int, ...]:
    """Columns of the labels to forget, ascending."""
    if isinstance(labels, str) or len(set(labels)) != len(labels):
        raise UserError(f"labels must be the names of all outputs, each once, got {labels!r}")

    labels = list(labels)
    wanted = [names] if isinstance(names, str) else list(names)
    if not wanted:
        raise UserError("names is empty: name at least one label to forget")

    if len(set(wanted)) == len(labels) > 0:
        raise UserError(f"names has all {len(labels)} labels: leave at least one to retain")

    return tuple(
        sorted(labels.index(name) for name in forgotten_labels(wanted, labels, "the model"))
    )


def method_of(name: str, settings: Mapping[str, Any], seed: int) -> Method:
    """The method of a yaml with some of its keys set; refuses what there is not."""
    options = options_of("method")
    if name in NO_METHODS:
        raise UserError(f"method={name} cannot unlearn a model: {NO_METHODS[name]}")

    if name not in options:
        usable = [known for known in options if known not in NO_METHODS]
        raise UserError(
            f"there is no method {name!r}{did_you_mean(name, usable) or '.'} "
            f"Methods: {', '.join(usable)}"
        )

    values = values_of(composed([f"method={name}"]))
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


def validation_of(loader: DataLoader[Any], labels: Sequence[str], task: TaskName) -> Split:
    split, found = split_of(loader, labels, "validation")
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
