"""The cost of a stage: seconds by phase, and images passed forward and backward."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from mlu.models.network import Body
from mlu.system.collectives import all_reduce, current_rank

_current: ContextVar["Meter | None"] = ContextVar("meter", default=None)


@dataclass
class Meter:
    """Counts while `measure` runs.

    Attributes:
        seconds: Wall time of each phase, and of everything under `total`.
        forward: Images that went through a body; of several processes that work together in all.
        backward: Images whose gradient came back through a body, likewise.
        left_out: Seconds in the block that are not its own.
        running: Whether the block has not ended yet.
        device: Whose work is waited for before the clock is read; None for the CPU's.
        start: What the clock said when it began.
    """

    device: torch.device | None = None
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    forward: int = 0
    backward: int = 0
    left_out: float = 0.0
    running: bool = True
    start: float = 0.0

    def so_far(self) -> dict[str, float]:
        """Seconds until now, and images that all processes have passed forward and backward."""
        counts = torch.tensor([self.forward, self.backward])
        all_reduce([counts])
        forward, backward = counts.tolist()
        seconds = self.seconds["total"] + clock(self.device) - self.start - self.left_out
        return {"seconds": seconds, "forward": forward, "backward": backward}

    def go_on(self, seconds: float, forward: int, backward: int) -> None:
        """Count what was spent before by a process that was ended (its `so_far`)."""
        self.seconds["total"] += seconds
        # The counts are those of all processes, and will be added up again.
        if current_rank() == 0:
            self.forward += forward
            self.backward += backward


@contextmanager
def measure(device: torch.device | None = None) -> Iterator[Meter]:
    """Measure what happens inside: every pass of every network, wherever it is called from."""
    meter = Meter(device)

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if isinstance(module, Body):
            images = len(output)
            meter.forward += images
            if output.requires_grad:
                output.register_hook(lambda _: count_backward(meter, images))

    hook = register_module_forward_hook(count)
    token = _current.set(meter)
    meter.start = clock(device)
    try:
        with phase("total"):
            yield meter

        counts = torch.tensor([meter.forward, meter.backward])
        all_reduce([counts])
        meter.forward, meter.backward = counts.tolist()
    finally:
        _current.reset(token)
        hook.remove()
        meter.running = False


def count_backward(meter: Meter, images: int) -> None:
    # A graph may be differentiated after its block has ended.
    meter.backward += images * meter.running


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Add the wall time of what happens inside to the running measurement, if there is one."""
    meter = _current.get()
    device = meter.device if meter else None
    start, left_out = clock(device), meter.left_out if meter else 0.0
    try:
        yield
    finally:
        if meter is not None:
            meter.seconds[name] += clock(device) - start - (meter.left_out - left_out)


@contextmanager
def aside(meter: Meter) -> Iterator[None]:
    """Leave what happens inside out of the seconds of all that goes on around it."""
    start = clock(meter.device)
    try:
        yield
    finally:
        meter.left_out += clock(meter.device) - start


@contextmanager
def apart(name: str) -> Iterator[None]:
    """Count the seconds of what happens inside under this name alone, and its images nowhere."""
    meter = _current.get()
    if meter is None:
        yield
        return

    forward, backward = meter.forward, meter.backward
    with aside(meter), phase(name):
        yield
    meter.forward, meter.backward = forward, backward


def clock(device: torch.device | None) -> float:
    """Seconds, read when the device has done all that it was asked."""
    if device is not None and device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


@dataclass(frozen=True)
class Cost:
    """The cost of a model when it was made.

    Attributes:
        seconds: By phase, and `total`.
        forward: Images passed forward.
        backward: Images passed backward.
        device: What it ran on.
        date: When, UTC.
        cached: Whether it was found rather than made in this run.
    """

    seconds: dict[str, float]
    forward: int
    backward: int
    device: str
    date: str
    cached: bool

    @property
    def work(self) -> int:
        return self.forward + self.backward
