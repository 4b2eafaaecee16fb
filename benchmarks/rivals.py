"""Rivals with `preset=source` against their authors' rules, which `benchmarks.sources` holds.

From the same original, over five seeds: what each keeps and forgets, in training and in test
images, and how long it takes. Nothing is held against a loop of our own. On digits, or on the
single-label data that the words of RIVALS_DATA in the environment name.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table
from torch import nn

from benchmarks.measure import Comparison, context_with, quiet_trainer
from benchmarks.sources import boundary, cfk, neggrad, salun, scrub, ssd, unsir
from benchmarks.sources.batches import Examples
from mlu.data.split import Split
from mlu.metrics.verdict import student_interval
from mlu.pipeline.context import Context
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import problem_of
from mlu.runs.tables import show_table
from mlu.unlearning.contract import Problem
from mlu.unlearning.unlearner import carry_out

SEEDS = range(1, 6)
DIGITS = "dataset=digits dataset.image_size=32"
DATA = (*os.environ.get("RIVALS_DATA", DIGITS).split(), "trainer.accelerator=cpu")
SLOWEST = 1.15
"""Most times as long as the source's rule."""
ALIKE = 0.01
"""Difference in accuracy that is none: one image in a hundred."""

Rule = Callable[[nn.Module, Examples, Examples, int], nn.Module]
"""Of the original, what is retained, what is forgotten, and a seed."""


def by(unlearn: Callable[..., nn.Module], settings: object) -> Rule:
    """A source's rule with its settings."""
    return lambda net, retain, forget, seed: unlearn(net, retain, forget, settings, seed)


RIVALS: dict[str, Rule] = {
    "neggrad": by(neggrad.unlearn, neggrad.Settings()),
    "scrub": by(scrub.unlearn, scrub.Settings()),
    # With the label of the forgotten class: the notebook's own is right for its first class alone.
    "unsir": by(unsir.unlearn, unsir.Settings(own_labels=True)),
    "salun": by(salun.unlearn, salun.Settings()),
    "ssd": by(ssd.unlearn, ssd.Settings()),
    # Of images in [0, 1], whose mean the network itself takes off.
    "boundary": by(boundary.unlearn, boundary.Settings(mean=(0.0,), deviation=(1.0,))),
    "cfk": by(cfk.unlearn, cfk.Settings()),
}


@dataclass(frozen=True)
class Ended:
    """Where a rule has ended.

    Attributes:
        accuracies: By what they are of, such as `test, forgotten`.
        seconds: That it took.
    """

    accuracies: dict[str, float]
    seconds: float


def run() -> list[Comparison]:
    found: list[Comparison] = []
    for name, rule in RIVALS.items():
        pairs = [both(name, rule, seed) for seed in SEEDS]
        show_table(table_of(name, pairs))
        found += comparisons(name, pairs)
    return found


def both(name: str, rule: Rule, seed: int) -> tuple[Ended, Ended]:
    """Ours and the source's, from the same original."""
    context = context_with(f"method={name}", "preset=source", f"seed={seed}", *DATA)
    original = original_model(context)
    problem = problem_of(context, original.net)
    retain, forget = examples(problem.retain), examples(problem.forget)

    def ours() -> nn.Module:
        method = context.experiment.method
        assert not isinstance(method, str)
        return carry_out(method, problem, quiet_trainer, context.data.train_batches)

    return (
        ended(ours, context, problem),
        ended(lambda: rule(problem.net, retain, forget, seed), context, problem),
    )


def ended(unlearn: Callable[[], nn.Module], context: Context, problem: Problem) -> Ended:
    """What a rule leaves, and the seconds that it took."""
    start = time.perf_counter()
    net = unlearn()
    seconds = time.perf_counter() - start
    return Ended(dict(accuracies(net, context, problem)), seconds)


def accuracies(net: nn.Module, context: Context, problem: Problem) -> Iterator[tuple[str, float]]:
    """Of the retained and of the forgotten classes, in training and test images."""
    columns = torch.tensor(problem.request.forgotten)
    for split in ("train", "test"):
        images, classes = examples(context.data.splits[split])
        with torch.no_grad():
            right = net(images).argmax(1) == classes
        forgotten = torch.isin(classes, columns)
        yield f"{split}, retained", right[~forgotten].double().mean().item()
        yield f"{split}, forgotten", right[forgotten].double().mean().item()


def examples(split: Split) -> Examples:
    """Images in [0, 1] and numbers of classes."""
    (batch,) = split.batches(len(split))
    return batch.images.float() / 255, batch.targets.argmax(1)


def over_seeds(of: str, pairs: Sequence[tuple[Ended, Ended]]) -> tuple[np.ndarray, np.ndarray]:
    """An accuracy of each seed: ours, and the source's."""
    ours = np.array([one.accuracies[of] for one, _ in pairs])
    theirs = np.array([other.accuracies[of] for _, other in pairs])
    return ours, theirs


def comparisons(name: str, pairs: Sequence[tuple[Ended, Ended]]) -> Iterator[Comparison]:
    """Differences in accuracy beyond their spread over seeds, and the ratio of times."""
    for of in pairs[0][0].accuracies:
        ours, theirs = over_seeds(of, pairs)
        yield Comparison(
            f"{name}: accuracy, {of}",
            "its source",
            "",
            float(ours.mean()),
            float(theirs.mean()),
            1 + beyond(ours - theirs),
            target=1 + ALIKE,
        )

    times = [(ours.seconds, theirs.seconds) for ours, theirs in pairs]
    ratio = float(np.median([one / other for one, other in times]))
    first, second = (float(np.median(side)) for side in zip(*times, strict=True))
    yield Comparison(f"{name}: time", "its source", "s", first, second, ratio, target=SLOWEST)


def beyond(differences: np.ndarray) -> float:
    """How far from 0 a mean difference is beyond doubt: by the end of its 95 % interval."""
    low, high = student_interval(differences.tolist()) or (-np.inf, np.inf)
    return float(max(low, -high, 0.0))


def table_of(name: str, pairs: Sequence[tuple[Ended, Ended]]) -> Table:
    """Means over seeds with their spread."""
    table = Table("accuracy", title=name, title_justify="left", title_style="bold")
    for column in ("ours", "its source", "difference, 95 %"):
        table.add_column(column, justify="right")
    for of in pairs[0][0].accuracies:
        ours, theirs = over_seeds(of, pairs)
        ends = student_interval((ours - theirs).tolist())
        spread = [f"{side.mean():.3f} ± {side.std(ddof=1):.3f}" for side in (ours, theirs)]
        table.add_row(of, *spread, "" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}")
    return table
