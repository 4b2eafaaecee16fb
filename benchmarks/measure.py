"""Holding two ways of doing the same thing against each other, and what several benchmarks do it
with."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import lightning as L
import torch

from mlu.data.augment import augmented
from mlu.data.split import Batch
from mlu.launch.build import build, made
from mlu.launch.check import check_config
from mlu.launch.compose import composed, values_of
from mlu.models.network import Network
from mlu.models.tasks import Task
from mlu.pipeline.context import Context, context_of
from mlu.system.seeding import generator
from mlu.training.optimise import Optimisation
from mlu.training.trainer import TrainingBar, trainer_of
from mlu.unlearning.contract import Method

PAIRS = 7
SETTLE = 0.3
"""Seconds of rest before a clock starts: threads of the other side's libraries may still spin, on
our cores."""


@dataclass(frozen=True)
class Comparison:
    """Medians over pairs.

    Attributes:
        name: What was done.
        alternative: What it is held against.
        unit: `s`, `MB` at the peak, or what else `ours` and `theirs` are counted in.
        ours: In that unit.
        theirs: Of the alternative, or the most that is allowed.
        ratio: Median of the pairs' ratios, ours / theirs.
        target: Largest ratio that is good; None where the figure is only to be known.
    """

    name: str
    alternative: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    target: float | None = None

    @property
    def missed(self) -> bool:
        return self.target is not None and not self.ratio <= self.target


def compare(
    name: str,
    ours: Callable[[], object],
    alternative: str,
    other: Callable[[], object],
    target: float | None = None,
) -> Comparison:
    """Warm both up once, then time them in turn, so that a machine whose speed drifts favours
    neither."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(PAIRS)]
    first, second = zip(*pairs, strict=True)
    ratio = statistics.median(one / two for one, two in pairs)
    return Comparison(
        name, alternative, "s", statistics.median(first), statistics.median(second), ratio, target
    )


def compare_memory(
    name: str, ours: Callable[[], object], alternative: str, other: Callable[[], object]
) -> Comparison:
    """Peak of what torch allocates on the CPU, which is the same at every run."""
    one, two = peak_megabytes(ours), peak_megabytes(other)
    return Comparison(name, alternative, "MB", one, two, one / two)


def within(name: str, unit: str, value: float, most: float) -> Comparison:
    """A figure against the most that it may be."""
    return Comparison(name, "allowed", unit, value, most, value / most, target=1.0)


def seconds(work: Callable[[], object]) -> float:
    time.sleep(SETTLE)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_megabytes(work: Callable[[], object]) -> float:
    """Largest sum of allocations and releases since the start."""
    work()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(changes)) / 1e6


def context_with(*overrides: str) -> Context:
    """Data and settings of a run, as its command line composes them; models come from the cache of
    all runs."""
    values = values_of(composed(["logger=none", *overrides]))
    check_config(values)
    return context_of(build(values, folder=Path(values["outputs"]) / "benchmarks"))


def method_named(name: str) -> Method:
    """As configured by default."""
    return made(values_of(composed([f"method={name}"])), "method")


def quiet_trainer(
    stage: str, epochs: int, settings: Optimisation, steps: int | None = None
) -> L.Trainer:
    """As every run trains, on the CPU, without a progress bar and a logger."""
    trainer = trainer_of(stage, epochs, settings, steps, logger=False, accelerator="cpu", devices=1)
    trainer.callbacks = [
        callback for callback in trainer.callbacks if not isinstance(callback, TrainingBar)
    ]
    return trainer


def training_steps(net: Network, task: Task, batches: Sequence[Batch]) -> None:
    """Augmentation, forward, backward and update, without effect on the weights."""
    optimiser = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9)
    for batch in batches:
        images = augmented(batch, generator(0)).images
        scope = task.scope(batch.targets, batch.known, range(batch.targets.shape[1]))
        optimiser.zero_grad()
        task.loss(net.train()(images), batch.targets, scope).backward()
        optimiser.step()
    net.eval()


def sweep(method: str, jobs: int, folder: str, *overrides: str) -> None:
    """So many jobs of one process, all alike, on the default data; what they train is in the cache
    from then on."""
    launch(
        "-m",
        f"method={method}",
        f"seed={','.join(['42'] * jobs)}",
        f"hydra.sweep.dir={folder}",
        *overrides,
    )


def launch(*arguments: str) -> None:
    """`python launch.py`, in a process of its own that tells nobody; raises where it fails."""
    command = [sys.executable, "launch.py", *arguments]
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "WANDB_MODE": "offline"}
    )
