"""How several processes that carry out the same function divide its work (`mlu.training.team`
starts them).

- Of a training batch each process holds the images of its own rows, and the targets of all. What a
  network says of the images is put together, so that a loss sees the whole batch and is written as
  for one process.
- Of batches of which only a sum counts, or an answer for each, each process takes every n-th.

All else each of them does for itself, from the same seeds. In a process that works alone nothing
here does anything.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")


@dataclass(frozen=True)
class Place:
    """Which process this is, from 0, and how many work together."""

    rank: int
    size: int


_working: ContextVar[Place | None] = ContextVar("working", default=None)
_pooling: ContextVar[Place | None] = ContextVar("pooling", default=None)


@contextmanager
def working(place: Place) -> Iterator[None]:
    """Within it all processes do the same."""
    token = _working.set(place)
    try:
        yield
    finally:
        _working.reset(token)


@contextmanager
def pooling() -> Iterator[None]:
    """Within it the images that a network is given are this process's part of a batch."""
    token = _pooling.set(_working.get())
    try:
        yield
    finally:
        _pooling.reset(token)


def place() -> Place | None:
    """Which process this is of those that work together; None where it works alone."""
    return _working.get()


def threads_each(processes: int) -> int:
    """Threads of torch for each of so many processes that share those of this one."""
    return max(1, torch.get_num_threads() // processes)


def rank() -> int:
    """Which process this is of those that work together; 0 where it works alone."""
    here = _working.get()
    return 0 if here is None else here.rank


def own_part(rows: int, here: Place | None) -> slice:
    """Which of a training batch's rows a process holds the images of."""
    return (
        slice(None)
        if here is None
        else slice(rows * here.rank // here.size, rows * (here.rank + 1) // here.size)
    )


def shared(items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
    """All of them, and whether each is this process's to work on."""
    here = _working.get()
    for number, item in enumerate(items):
        yield item, here is None or number % here.size == here.rank


def add_up(values: Iterable[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in place."""
    if _working.get() is not None:
        for value in values:
            dist.all_reduce(value)


def all_gather_in_order(own: Mapping[int, Item]) -> list[Item]:
    """What all processes found, each under its number; on the CPU."""
    here = _working.get()
    found = dict(own)
    if here is not None:
        parts: list[Any] = [None] * here.size
        dist.all_gather_object(parts, found)
        found = {number: item for part in parts for number, item in part.items()}
    return [found[number] for number in sorted(found)]


def put_together(own: Tensor) -> Tensor:
    """While `pooling`, the rows of all processes, in order; differentiable.

    Every process computes the same loss from them, and DDP then takes the mean of the gradients
    that it gives to each one's weights; so the gradient of its own rows counts once for each
    process.
    """
    here = _pooling.get()
    return own if here is None else Together.apply(own, here)


def total(own: Tensor) -> Tensor:
    """While `pooling`, the sum over all processes; differentiable."""
    return own if _pooling.get() is None else Total.apply(own)


class Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, here: Place) -> Tensor:
        counts = [torch.zeros(1, dtype=torch.long) for _ in range(here.size)]
        dist.all_gather(counts, torch.tensor([len(own)]))
        sizes = [int(count) for count in counts]
        start = sum(sizes[: here.rank])
        ctx.rows, ctx.size = slice(start, start + len(own)), here.size
        # Gathering wants parts of one size.
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)

        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return ctx.size * slope[ctx.rows], None


class Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        found = own.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        found = slope.contiguous().clone()
        dist.all_reduce(found)
        return found
