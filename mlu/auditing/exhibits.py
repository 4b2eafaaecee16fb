"""The models of an audit, whatever they come as, and what they say of the images."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlu.auditing.features import FEATURES_STAGE, OUTPUTS, read_features
from mlu.auditing.inquiry import ROLES, Answering, Inquiry, Source
from mlu.auditing.population import JUDGED, LEARNT, Population
from mlu.data.split import Split
from mlu.models.foreign import as_network, head_of
from mlu.models.network import Network
from mlu.models.outputs import Answers, Outputs, outputs_of, respond_by_stage
from mlu.models.weights import load_trained
from mlu.system.errors import UserError, first_line
from mlu.system.seeding import seed_torch
from mlu.training.devices import device_of
from mlu.training.trainer import lightning_quiet

_AT_ONCE = 256
"""Images that a function is given at once."""
_TRIED = 8
"""Images on which it is tried whether a model can be taken apart and tuned."""

UNTRAINED = ("random", "start")
"""Models, as figures call them, that have not seen the data."""

NO_MODEL = "is neither a file of weights, nor a module, nor a function of images"


@dataclass(frozen=True)
class Exhibit:
    """A model of an audit, and what it says.

    Attributes:
        net: In evaluation mode; a stand-in that says nothing where there is no network.
        outputs: What it says of the columns of all targets: concepts have no output, which stands
            as one that says the same of every image.
        own: Of its outputs alone.
        silent: Whether its outputs are not known.
    """

    net: Network
    outputs: Mapping[str, Outputs]
    own: Mapping[str, Outputs]
    silent: bool = False


def exhibits_of(inquiry: Inquiry, population: Population) -> dict[str, Exhibit]:
    """All models of an audit by what figures call them, before any verdict.

    Without Retrain there is also what has not seen the data: `random`, and `start` where the
    backbone names weights that training starts from.

    Raises:
        UserError: If a model is none, or says nothing that can be used.
    """
    if inquiry.features is not None:
        return of_features(inquiry, population, inquiry.features)

    with lightning_quiet():
        device = device_of(inquiry.accelerator, "32-true", 1)

    found = {}
    for key, source in with_untrained(inquiry, population, device).items():
        name = ROLES.get(key, key)
        found[name] = exhibit_of(inquiry, population, key, source, device)

    return found


def with_untrained(
    inquiry: Inquiry, population: Population, device: torch.device
) -> dict[str, Source]:
    """The models that are given, and those that have not seen the data where these are needed."""
    models = dict(inquiry.models)
    if "retrain" in models:
        models.pop("baseline", None)
        return models

    after = models["after"]
    refuse_no_model("after", after)
    if "baseline" not in models:
        if isinstance(after, nn.Module):
            models["baseline"] = reinitialised(after, inquiry.seeds.train)
        elif isinstance(after, Path):
            seed_torch(inquiry.seeds.train)
            models["baseline"] = random_network(inquiry, population)
        else:
            raise UserError(
                "without retrain=... a function is held against what it gave before it was "
                "trained: give baseline=..., or retrain=..."
            )

    if isinstance(after, Path) and inquiry.backbone.weights is not None:
        seed_torch(inquiry.seeds.train)
        models["start"] = inquiry.backbone.build(len(population.labels))

    return models


def exhibit_of(
    inquiry: Inquiry, population: Population, key: str, source: Source, device: torch.device
) -> Exhibit:
    """One model.

    Args:
        inquiry: The audit.
        population: Whose images it is asked about.
        key: What the user calls it.
        source: Whatever it comes as.
        device: That networks run on.
    """
    refuse_no_model(key, source)
    asked = {name: population.splits[name] for name in (LEARNT, JUDGED)}
    if inquiry.asks_of_training:
        asked["train"] = population.splits["train"]

    if isinstance(source, Path | nn.Module):
        net = network_of(inquiry, population, key, source).eval().to(device)
        answer = network_answers(key, net)
        if inquiry.tunes:
            refuse_untunable(key, net, asked[LEARNT], device)
    elif inquiry.tunes or inquiry.asks_the_network:
        raise UserError(f"{key} is a function, and an attack that is asked for needs a network")
    else:
        net = stand_in(len(population.labels))
        answer = function_answers(key, source, len(population.labels), inquiry)

    said = {name: answer(split) for name, split in asked.items()}
    for answers in said.values():
        refuse_not_finite(key, answers)

    return exhibit_from(population, net, said)


def of_features(inquiry: Inquiry, population: Population, path: Path) -> dict[str, Exhibit]:
    """The models whose features are in a file."""
    file = read_features(path, population.labels)
    if "retrain" not in file.arrays and "baseline" not in file.arrays:
        raise UserError(
            f"features={path} has neither 'retrain' nor 'baseline', which the model after is held "
            "against: the features of a model that never saw the label, or of an untrained one"
        )
    if inquiry.concepts_or_numbers and "retrain" in file.arrays:
        raise UserError(
            f"features={path} has 'retrain', and of what is no output there is no Retrain: "
            "leave it out"
        )

    paths = population.source.paths
    assert paths is not None
    found = {}
    for key, name in ROLES.items():
        if key not in file.arrays or (key == "baseline" and "retrain" in file.arrays):
            continue
        said = {}
        for split in (LEARNT, JUDGED):
            wanted = [paths[row] for row in population.splits[split].rows]
            said[split] = file.answers(key, file.rows(wanted), len(population.labels))
        silent = f"{key}{OUTPUTS}" not in file.arrays
        exhibit = exhibit_from(population, stand_in(len(population.labels)), said)
        found[name] = replace(exhibit, silent=silent)

    return found


def exhibit_from(population: Population, net: Network, said: Mapping[str, Answers]) -> Exhibit:
    """A model with its answers, of its own outputs and of all columns."""
    outputs, own = {}, {}
    further = len(population.columns) - len(population.labels)
    for name, answers in said.items():
        own[name] = outputs_of(population.own_split(name), answers)
        nothing = torch.zeros(len(answers.logits), further)
        padded = replace(answers, logits=torch.cat([answers.logits, nothing], 1))
        outputs[name] = outputs_of(population.splits[name], padded)

    return Exhibit(net, outputs, own)


def refuse_no_model(key: str, source: object) -> None:
    """Raises UserError for what is no model."""
    if not isinstance(source, Path | nn.Module) and not callable(source):
        raise UserError(f"{key}={source!r:.80} {NO_MODEL}")


def network_of(
    inquiry: Inquiry, population: Population, key: str, source: Path | nn.Module
) -> Network:
    """The network that a file of weights or a module is."""
    if isinstance(source, Path):
        net = random_network(inquiry, population)
        load_trained(net, source)
    elif isinstance(source, Network):
        net = source
    else:
        net = taken_apart(inquiry, population, key, source)

    seen_as_trained(net, inquiry)

    return net


def random_network(inquiry: Inquiry, population: Population) -> Network:
    """A network of the backbone with random weights."""
    return replace(inquiry.backbone, weights=None).build(len(population.labels))


def seen_as_trained(net: Network, inquiry: Inquiry) -> None:
    """Let a network normalise images as its training did, where the audit says how."""
    if inquiry.mean is not None and inquiry.std is not None and net.pixels:
        net.mean.copy_(torch.tensor(inquiry.mean).view(3, 1, 1))
        net.std.copy_(torch.tensor(inquiry.std).view(3, 1, 1))


class Shown(nn.Module):
    """A user's module that is shown the images of a data set.

    Attributes:
        model: Takes float in [0, 1], or normalised where the audit says how.
    """

    def __init__(self, model: nn.Module, inquiry: Inquiry) -> None:
        super().__init__()
        self.model, self.mean, self.std = model, inquiry.mean, inquiry.std

    def forward(self, images: Tensor) -> Any:
        return self.model(as_floats(images, self.mean, self.std))


def as_floats(
    images: Tensor, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Tensor:
    """Images in [0, 1], of uint8; normalised where mean and deviation are given."""
    found = images.float() / 255 if images.dtype == torch.uint8 else images
    if mean is None or std is None:
        return found
    middle, width = (torch.tensor(one, device=found.device).view(3, 1, 1) for one in (mean, std))
    return (found - middle) / width


def taken_apart(inquiry: Inquiry, population: Population, key: str, model: nn.Module) -> Network:
    """A copy of a user's module as a network."""
    whole = Shown(model, inquiry)
    named = None if inquiry.head is None else f"model.{inquiry.head}"
    images = first_images(population.splits[LEARNT], next(iter(devices(model))))

    try:
        return as_network(whole, head_of(whole, len(population.labels), named), images)
    except UserError as fault:
        raise UserError(f"{key}: {fault}") from fault
    except Exception as fault:  # whatever somebody's module raises
        raise UserError(
            f"{key}: the model does not take images of shape {tuple(images.shape)}: "
            f"{first_line(fault)}"
        ) from fault


def devices(model: nn.Module) -> list[torch.device]:
    return [parameter.device for parameter in model.parameters()] or [torch.device("cpu")]


def first_images(split: Split, device: torch.device) -> Tensor:
    return split[torch.arange(min(_TRIED, len(split)))].images.to(device)


def reinitialised(model: nn.Module, seed: int) -> nn.Module:
    """A copy of a module as it was before training, by its layers' own way of starting.

    Raises:
        UserError: If a layer has weights and no way of its own.
    """
    try:
        found = copy.deepcopy(model)
    except RuntimeError as fault:
        raise UserError(f"after cannot be copied: {first_line(fault)}") from fault

    seed_torch(seed)
    for name, part in found.named_modules():
        if not any(True for _ in part.parameters(recurse=False)):
            continue
        start = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if start is None:
            raise UserError(
                f"after: {name or 'the model'} has weights and no reset_parameters(), so that its "
                "start is not known: give baseline=..., an untrained model, or retrain=..."
            )
        start()

    return found


def stand_in(labels: int) -> Network:
    """A network in the place of one that there is not: it is never asked."""
    return Network.around(nn.Identity(), nn.Linear(1, labels)).eval()


def network_answers(key: str, net: Network) -> Callable[[Split], Answers]:
    """Asks a network about the images of a split."""

    def answer(split: Split) -> Answers:
        try:
            return respond_by_stage(net, split)
        except (RuntimeError, ValueError, TypeError) as fault:
            if isinstance(fault, UserError):
                raise
            shape = tuple(split[[0]].images.shape[1:])
            raise UserError(
                f"{key}: the model does not take images of shape {shape}: {first_line(fault)}; "
                "set dataset.image_size"
            ) from fault

    return answer


def function_answers(
    key: str, function: Answering, labels: int, inquiry: Inquiry
) -> Callable[[Split], Answers]:
    """Asks a function about the images of a split."""

    @torch.no_grad()
    def answer(split: Split) -> Answers:
        found: list[tuple[Tensor, Tensor]] = []

        for batch in split.batches(_AT_ONCE):
            images = as_floats(batch.images, inquiry.mean, inquiry.std)
            try:
                given = function(images)
            except Exception as fault:  # whatever somebody's function raises
                raise UserError(
                    f"{key}: the function does not take images of shape {tuple(images.shape)}: "
                    f"{first_line(fault)}"
                ) from fault
            found.append(two_arrays(key, given, len(images), labels))

        features, logits = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Answers(logits, {FEATURES_STAGE: features})

    return answer


def two_arrays(key: str, given: Any, images: int, labels: int) -> tuple[Tensor, Tensor]:
    """Features and outputs of one batch, float32, on the CPU."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(f"{key}: the function must return (features, outputs), got {type(given)}")

    parts = []
    for part in given:
        if not isinstance(part, Tensor | np.ndarray):
            raise UserError(f"{key}: features and outputs must be tensors, got {type(part)}")
        parts.append(torch.as_tensor(part).detach().float().cpu())

    features, outputs = parts
    if features.ndim != 2 or len(features) != images:
        raise UserError(
            f"{key}: features must have shape ({images}, numbers), got {tuple(features.shape)}"
        )
    if outputs.shape != (images, labels):
        raise UserError(
            f"{key}: outputs must have shape ({images}, {labels}), one for each label, "
            f"got {tuple(outputs.shape)}"
        )

    return features, outputs


def refuse_not_finite(key: str, answers: Answers) -> None:
    """Raises UserError where a model says what is no number."""
    parts = {
        "outputs": answers.logits,
        **{f"stage {name}": one for name, one in answers.stages.items()},
    }
    for what, numbers in parts.items():
        if not numbers.isfinite().all():
            raise UserError(f"{key}: the model's {what} are not finite: is it another model?")


def refuse_untunable(key: str, net: Network, split: Split, device: torch.device) -> None:
    """Raises UserError where no gradient reaches a model's weights, which an attack would tune."""
    trial = copy.deepcopy(net).requires_grad_(True)
    try:
        trial(first_images(split, device)).sum().backward()
        reached = [one.grad is not None for one in trial.body.parameters()]
        why = "" if any(reached) or not reached else "no gradient reaches its weights"
    except RuntimeError as fault:
        why = first_line(fault)

    if why:
        raise UserError(
            f"{key} cannot be differentiated, which an attack that tunes it needs: {why}"
        )
