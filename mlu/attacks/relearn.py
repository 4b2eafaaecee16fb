"""Recoverability: how soon a forgotten label is back after fine-tuning on a few images."""

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from mlu.attacks.contract import Attack, Victim
from mlu.data.split import Split, people_drawn
from mlu.metrics.findings import NO_REFERENCE, Evidence, Finding, Recovery
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.models.tasks import Task
from mlu.system.seeding import generator

RECOVERY_METRICS = ("steps", "censored", "balanced_accuracy")
_CHANCE = 0.5


@dataclass(frozen=True, kw_only=True)
class Relearning(Attack[Recovery]):
    """Counts the steps of fine-tuning on k labelled images until the label is back.

    Copies of the model are tuned on the forgotten label of validation images. Back is `recovered`
    of the original's balanced accuracy on test images. Half of the k images have the label (one of
    them, where several were forgotten). A silenced output, whose weights are all zero, starts from
    a bias of 0. Batch norm keeps its statistics, for a few images have none worth the name. Who has
    really forgotten needs as many steps as Retrain: `ratio` 1. The label is looked for after 1, 2,
    ... 10 and then at a quarter more steps each time.

    Attributes:
        samples: The numbers k, each even, >= 2.
        recovered: Share of the original's balanced accuracy, in (0, 1].
        cap: Most steps, >= 1. A label that is not back by then has this number, and counts as
            `censored`.
        draws: How often k images are drawn, >= 1; `steps` and `balanced_accuracy` are medians over
            draws.
        lr: Adam's learning rate, > 0.
        batch_size: Images per step at most.
        judged: Test images to judge by at most, >= 2.
    """

    name: ClassVar[str] = "relearn"
    samples: Sequence[int]
    recovered: float
    cap: int
    draws: int
    lr: float
    batch_size: int
    judged: int

    def observe(self, victim: Victim) -> Evidence[Recovery]:
        return {f"{self.name}/{samples}": self.relearn(victim, samples) for samples in self.samples}

    def conclude(self, evidence: Evidence[Recovery]) -> Iterable[Finding]:
        for path, found in evidence.items():
            if isinstance(found, str):
                for metric in RECOVERY_METRICS:
                    yield Finding(f"{path}/{metric}", None, missing=found)
                continue

            steps, back = arrival(found)
            last = np.array([curve[~np.isnan(curve)][-1] for curve in found.balanced_accuracy])
            values = float(np.median(steps)), float(1 - back.mean()), float(np.median(last))
            for metric, value in zip(RECOVERY_METRICS, values, strict=True):
                yield Finding(f"{path}/{metric}", value)

    def compare(
        self, evidence: Evidence[Recovery], reference: Evidence[Recovery] | None
    ) -> Iterable[Finding]:
        """`relearn/<k>/ratio` of the steps to Retrain's; a lower bound where draws are censored."""
        for path, found in evidence.items():
            theirs = NO_REFERENCE if reference is None else reference[path]
            fault = next((side for side in (found, theirs) if isinstance(side, str)), None)
            if fault is not None:
                yield Finding(f"{path}/ratio", None, missing=fault)
                continue

            assert isinstance(found, Recovery)
            assert isinstance(theirs, Recovery)
            (steps, _), (others, back) = arrival(found), arrival(theirs)
            if not back.all() or not np.median(others):
                reason = (
                    "Retrain's label was not back at the cap"
                    if not back.all()
                    else "Retrain has the label at once"
                )
                yield Finding(f"{path}/ratio", None, missing=reason)
            else:
                yield Finding(f"{path}/ratio", float(np.median(steps) / np.median(others)))

    def relearn(self, victim: Victim, samples: int) -> Recovery | str:
        columns = list(victim.request.forgotten)
        pool = able(victim.splits["validation"], columns)
        (rows,) = people_drawn(victim.splits["test"].identities, [self.judged], victim.seed)
        test = able(victim.splits["test"].subset(rows), columns)
        has, lacks = sides(pool, columns)
        if min(len(has), len(lacks)) < samples // 2:
            return (
                f"fewer than {samples // 2} validation images have the forgotten label, or lack it"
            )
        if any(len(np.unique(test.targets[:, column])) < 2 for column in columns):
            return "the forgotten label does not occur both ways among the test images"

        original = victim.original["test"].subset(rows)
        known = original.known[:, columns].all(1)
        goal = self.recovered * balanced_accuracy(
            victim.task, original.logits[known], test, columns
        )
        if goal <= _CHANCE:
            return f"{self.recovered:g} of the original's balanced accuracy is no more than chance"

        steps, curves = look_steps(self.cap), []
        for draw in range(self.draws):
            random = generator(victim.seed, samples, draw)
            chosen = [
                side[torch.randperm(len(side), generator=random)[: samples // 2]]
                for side in (has, lacks)
            ]
            images = pool.subset(torch.cat(chosen))
            curves.append(self.curve(victim, images, test, steps, goal, random))

        return Recovery(steps, np.array(curves), np.array(goal))

    def curve(
        self,
        victim: Victim,
        images: Split,
        test: Split,
        steps: np.ndarray,
        goal: float,
        random: torch.Generator,
    ) -> list[float]:
        """Balanced accuracy after each number of steps; NaN once it has reached the goal."""
        columns, task = list(victim.request.forgotten), victim.task
        net = copy.deepcopy(victim.net).eval().requires_grad_(True)
        wake(net, columns)
        optimiser = torch.optim.Adam(net.parameters(), lr=self.lr)
        batches = endless(len(images), self.batch_size, random)
        found: list[float] = []
        for taken in np.diff(steps, prepend=0):
            for rows in itertools.islice(batches, int(taken)):
                batch = images[rows].to(next(net.parameters()).device)
                loss = task.label_loss(net(batch.images), batch.targets, columns).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

            found.append(balanced_accuracy(task, respond(net, test)[0], test, columns))
            if found[-1] >= goal:
                break

        return found + [np.nan] * (len(steps) - len(found))


def arrival(found: Recovery) -> tuple[np.ndarray, np.ndarray]:
    """Steps of each draw, and whether the label was back, shape (draws,) each.

    Where it was not, the steps are the cap.
    """
    reached = found.balanced_accuracy >= float(found.goal)
    back = np.any(reached, 1)
    return np.where(back, found.steps[reached.argmax(1)], found.steps[-1]), back


def look_steps(cap: int) -> np.ndarray:
    """The numbers of steps after which the label is looked for, ascending.

    At once, after every step to 10, then at a quarter more each time, and at the cap.
    """
    found = [*range(min(cap, 10) + 1)]
    while found[-1] < cap:
        found.append(min(cap, int(found[-1] * 1.25)))
    return np.array(found)


def able(split: Split, columns: Sequence[int]) -> Split:
    """The images whose forgotten targets are known."""
    return split.subset(split.known[:, list(columns)].all(1).nonzero().squeeze(1))


def sides(split: Split, columns: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows with one of the labels, and rows without any."""
    has = (split.targets[:, list(columns)] > 0).any(1)
    return has.nonzero().squeeze(1), (~has).nonzero().squeeze(1)


def wake(net: Network, columns: Sequence[int]) -> None:
    """Take from silenced outputs the bias that keeps them silent."""
    with torch.no_grad():
        for column in columns:
            if not net.head.weight[column].any():
                net.head.bias[column] = 0


def endless(images: int, size: int, random: torch.Generator) -> Iterator[Tensor]:
    """Row numbers in batches, in another order every time round."""
    while True:
        yield from torch.randperm(images, generator=random).split(size)


def balanced_accuracy(task: Task, logits: Tensor, split: Split, columns: Sequence[int]) -> float:
    """Mean over the labels."""
    said, true = task.predictions(logits)[:, list(columns)], split.targets[:, list(columns)] > 0
    found = [
        balanced_accuracy_score(true[:, label], said[:, label]) for label in range(len(columns))
    ]
    return float(np.mean(found))
