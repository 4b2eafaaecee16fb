"""The weights that are edited: those of highest score, or as many others to hold these against."""

from typing import Literal

import torch

from mlu.methods.parts.readings import ReadingName
from mlu.models.network import Weights
from mlu.system.errors import UserError
from mlu.system.seeding import generator
from mlu.unlearning.contract import Problem

SelectName = Literal["score", "random", "worst"]

_OWN_DRAW = 1
"""Tells the draw of weights from all else that a method draws from its seed."""


def selected(problem: Problem, chosen: Weights, scores: Weights, select: SelectName) -> Weights:
    """The weights to edit: bool, by layer, as many of each tensor as a rule has chosen there.

    So a layer loses the same share, whatever it competed with for that. Where in a tensor the
    weights lie is not kept: a channel or a unit may lose more of its weights, or fewer.

    Args:
        problem: Its seed draws.
        chosen: Bool, where the rule has chosen.
        scores: By which it has, of the same names and shapes.
        select: `score` leaves its choice. `random` draws among all weights of the tensor, each as
            likely as any other, those without any score included. `worst` takes the lowest scores,
            of equal ones the first.
    """
    if select == "score":
        return chosen

    random, found = generator(problem.seed, _OWN_DRAW), {}
    for name, hit in chosen.items():
        if select == "random":
            order = torch.randperm(hit.numel(), generator=random)
        else:
            order = scores[name].flatten().argsort(stable=True)

        others = torch.zeros_like(hit).flatten()
        others[order[: int(hit.sum())].to(hit.device)] = True
        found[name] = others.view_as(hit)

    return found


def refuse_selection(select: SelectName, reading: ReadingName) -> None:
    """Raises UserError where a reading takes no highest scores that others could stand in for."""
    if select != "score" and reading == "printed":
        raise UserError(
            f"method.select={select} has no meaning under method.reading={reading}, which does not "
            "edit the highest scores: use reading=selective or above, or select=score"
        )


def refuse_threshold(threshold: float | None, reading: ReadingName, adaptive: bool) -> None:
    """Raises UserError where a threshold of scores stands beside what decides in its place."""
    if threshold is None:
        return

    if reading == "printed":
        raise UserError(
            f"method.threshold={threshold:g} has no meaning under method.reading=printed, whose "
            "own rule decides: use reading=selective or above, or threshold=null"
        )
    if adaptive:
        raise UserError(
            f"method.threshold={threshold:g} takes the place of phi, which method.adaptive=true "
            "scales: use one of them"
        )


def refuse_lone_verification(verify: float | None, rounds: int) -> None:
    """Raises UserError where a verdict on rounds could change nothing."""
    if verify is not None and rounds == 1:
        raise UserError(
            f"method.verify={verify:g} decides whether another round is made, and method.rounds=1 "
            "allows none: set method.rounds=3, or method.verify=null"
        )
