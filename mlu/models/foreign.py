"""A classifier that was made elsewhere as a Network, and back as a module of its own class."""

import copy
from collections import OrderedDict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mlu.models.embeddings import identity_head
from mlu.models.network import ERASER, WHOLE, Network, matrices
from mlu.system.errors import UserError, did_you_mean, first_line

Module = TypeVar("Module", bound=nn.Module)

_LOGITS = "logits"
EMBEDDINGS = ("image_embeds", "pooler_output")
"""Names of embeddings in what Hugging Face's models return."""

_REMEDY = (
    "its last operation must be a torch.nn.Linear that gives the logits: name that with head=..."
)


def head_of(model: nn.Module, labels: int, name: str | None = None) -> str:
    """Name of the linear layer that gives the logits.

    Where none is named, the last one with so many outputs.

    Raises:
        UserError: If there is none, if the named one is none, or if it has another number of
            outputs.
    """
    linears = {
        place: module for place, module in model.named_modules() if isinstance(module, nn.Linear)
    }
    if name is None:
        fitting = [place for place, linear in linears.items() if linear.out_features == labels]
        if not fitting:
            sizes = [f"{place}: {linear.out_features}" for place, linear in linears.items()]
            raise UserError(
                f"the model has no torch.nn.Linear with {labels} outputs, one per label; "
                f"it has {', '.join(sizes) or 'none'}"
            )

        name = fitting[-1]

    if name not in linears:
        raise UserError(
            f"head={name!r} is no torch.nn.Linear of the model{did_you_mean(name, linears) or ':'} "
            f"it has {', '.join(linears) or 'none'}"
        )
    if linears[name].out_features != labels:
        raise UserError(
            f"head={name!r} has {linears[name].out_features} outputs, but there are {labels} labels"
        )
    if name == "":
        raise UserError(
            "the model is a single linear layer: there is nothing below its head to forget in"
        )

    return name


def as_network(model: nn.Module, head: str, images: Tensor) -> Network:
    """A copy of a model, divided into what comes before its head and the head, in evaluation mode.

    Args:
        model: Not changed.
        head: Name of its last linear layer; one without a bias gets a bias of zero.
        images: Some that the model takes, on its device: on them the network must say what the
            model says.

    Raises:
        UserError: If it does not, since something follows the head; or if the model cannot be taken
            apart.
    """
    whole = copied(model)
    linear = whole.get_submodule(head)
    assert isinstance(linear, nn.Linear)
    answer = answer_of(whole, images)
    said = checked_logits(answer, len(images), linear.out_features)
    replace_module(whole, head, nn.Identity())
    named = None if isinstance(answer, Tensor) else _LOGITS
    net = Network.around(whole, with_bias(linear), named)
    net.eval().requires_grad_(False).to(images.device)
    refuse_shared(net)
    if not same(net, images, said):
        raise UserError(f"the model does not end with {head!r}; {_REMEDY}")

    return net


def as_embedder(model: nn.Module, images: Tensor) -> Network:
    """A copy of a model without a head, whose features are what it gives of images, likewise.

    Args:
        model: Not changed. It gives a tensor, or an object that has one by a name of EMBEDDINGS.
        images: Some that the model takes, on its device.

    Raises:
        UserError: If it gives no row of numbers for each image.
    """
    whole = copied(model)
    answer = answer_of(whole, images)
    named = next((name for name in EMBEDDINGS if hasattr(answer, name)), None)
    found = answer if named is None else getattr(answer, named)

    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images):
        kind = tuple(found.shape) if isinstance(found, Tensor) else type(answer).__name__
        raise UserError(
            f"a model without labels must return embeddings of shape ({len(images)}, numbers), "
            f"it returns {kind}"
        )

    net = Network.around(whole, identity_head(found.shape[1]), named)
    net.eval().requires_grad_(False).to(images.device)
    refuse_shared(net)

    return net


def copied(model: Module) -> Module:
    """A copy of a model in evaluation mode, which wants no gradients."""
    try:
        return copy.deepcopy(model).eval().requires_grad_(False)
    except RuntimeError as fault:
        raise UserError(f"the model cannot be copied: {first_line(fault)}") from fault


def as_module(net: Network, model: Module, head: str | None) -> Module:
    """The module that a network stands for: of `model`'s class, with the network's weights.

    Args:
        net: Made of `model` by `as_network`, then edited; taken apart.
        model: Tells which parts are in training mode and which parameters want gradients.
        head: As for `as_network`; an eraser stands before it. None where the model has none.
    """
    module, eraser = net.body.get_submodule(WHOLE), getattr(net.body, ERASER, None)
    module.requires_grad_(False).zero_grad(set_to_none=True)

    if head is not None:
        last: nn.Module = net.head
        if eraser is not None:
            last = nn.Sequential(OrderedDict(erase=eraser, head=net.head))
        replace_module(module, head, last)
        old = model.get_submodule(head)
        last.zero_grad(set_to_none=True)
        last.train(old.training).requires_grad_(old.get_parameter("weight").requires_grad)

    for name, part in model.named_modules():
        module.get_submodule(name).training = part.training

    for name, parameter in model.named_parameters():
        if head is None or not name.startswith(f"{head}."):
            module.get_parameter(name).requires_grad_(parameter.requires_grad)

    assert isinstance(module, type(model))

    return module


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a part of a model, in place."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def with_bias(linear: nn.Linear) -> nn.Linear:
    """A linear layer itself, with a bias of zero where it had none.

    A silent output is nothing but its bias.
    """
    if linear.bias is None:
        linear.bias = nn.Parameter(torch.zeros(linear.out_features).to(linear.weight))
    return linear


@torch.no_grad()
def answer_of(model: nn.Module, images: Tensor) -> Any:
    """Whatever a model returns of images."""
    return model(images)


def checked_logits(answer: Any, images: int, labels: int) -> Tensor:
    """The logits in a model's answer, shape (images, labels); UserError for anything else.

    Args:
        answer: A tensor, or an object whose `logits` is one, as Hugging Face's models return it.
        images: How many were shown.
        labels: How many outputs there are.
    """
    said = answer if isinstance(answer, Tensor) else getattr(answer, _LOGITS, None)
    if not isinstance(said, Tensor):
        raise UserError(
            "the model must return a tensor of logits, "
            f"it returns {type(answer).__name__}; {_REMEDY}"
        )
    if said.shape != (images, labels):
        raise UserError(
            f"the model must return logits of shape ({images}, {labels}), "
            f"it returns {tuple(said.shape)}"
        )

    return said


def same(net: Network, images: Tensor, said: Tensor) -> bool:
    """Whether a network says of images what was said of them, up to rounding."""
    try:
        with torch.no_grad():
            features = net.features(images)
            if features.shape != (len(images), net.head.in_features):
                return False

            size = said.abs().max().item()
            return torch.allclose(net.head(features), said, rtol=1e-4, atol=1e-4 * size)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
        # Whatever follows the head cannot work with what is put into it.
        return False


def refuse_shared(net: Network) -> None:
    """Raise UserError where a layer's weight is no parameter of its own: an edit would be lost."""
    own = dict(net.named_parameters())
    for name, module in net.named_modules():
        if any(f"{name}.{weight}" not in own for weight in matrices(module)):
            theirs = name.removeprefix(f"body.{WHOLE}.")
            raise UserError(
                f"the weight of {theirs!r} is shared with another layer or computed from "
                "other parameters (weight norm, parametrizations): remove that first"
            )
