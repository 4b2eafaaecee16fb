"""Division of work among the processes of a group that carry out the same function.

`mlu.training.team` starts them.

- Of a training batch each rank holds the images of its own rows, and the targets of all. What a
  network says of the images is gathered, so that a loss sees the whole batch and is written as for
  one process.
- Of batches of which only a sum counts, or an answer for each, each rank takes every n-th.

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
class ProcessGroup:
    """Which process this is, from 0, and how many work together."""

    rank: int
    world_size: int


_group: ContextVar[ProcessGroup | None] = ContextVar("group", default=None)
_batch_group: ContextVar[ProcessGroup | None] = ContextVar("batch_group", default=None)


@contextmanager
def within_group(group: ProcessGroup) -> Iterator[None]:
    """Within it all processes of the group do the same."""
    token = _group.set(group)
    try:
        yield
    finally:
        _group.reset(token)


@contextmanager
def data_parallel() -> Iterator[None]:
    """Within it the images that a network is given are this rank's rows of a batch."""
    token = _batch_group.set(_group.get())
    try:
        yield
    finally:
        _batch_group.reset(token)


@contextmanager
def row_by_row() -> Iterator[None]:
    """Within it, while `data_parallel`, each rank works on rows of its own; none are gathered."""
    token = _batch_group.set(None)
    try:
        yield
    finally:
        _batch_group.reset(token)


def current_group() -> ProcessGroup | None:
    """The group that this process works in; None where it works alone."""
    return _group.get()


def current_rank() -> int:
    """Which process of its group this is; 0 where it works alone."""
    group = _group.get()
    return 0 if group is None else group.rank


def threads_per_process(processes: int) -> int:
    """Threads of torch for each of so many processes that share those of this one."""
    return max(1, torch.get_num_threads() // processes)


def local_rows(rows: int, group: ProcessGroup | None) -> slice:
    """Which of a training batch's rows a rank holds the images of.

    >>> [local_rows(7, ProcessGroup(rank, world_size=2)) for rank in range(2)]
    [slice(0, 3, None), slice(3, 7, None)]
    """
    if group is None:
        return slice(None)

    start, stop = (rows * rank // group.world_size for rank in (group.rank, group.rank + 1))
    return slice(start, stop)


def round_robin(items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
    """All items, and whether each is this rank's to work on."""
    group = _group.get()
    for number, item in enumerate(items):
        yield item, group is None or number % group.world_size == group.rank


def all_reduce(values: Iterable[Tensor]) -> None:
    """Replace tensors by their sums over all ranks, in place."""
    if _group.get() is not None:
        for value in values:
            dist.all_reduce(value)


def all_gather(local: Mapping[int, Item]) -> list[Item]:
    """All that the ranks found, each under its number, in the order of numbers; on the CPU."""
    group = _group.get()
    found = dict(local)
    if group is not None:
        parts: list[Any] = [None] * group.world_size
        dist.all_gather_object(parts, found)
        found = {number: item for part in parts for number, item in part.items()}

    return [found[number] for number in sorted(found)]


def all_gather_batch(local: Tensor) -> Tensor:
    """While `data_parallel`, the rows of all ranks, in order; differentiable.

    Every rank computes the same loss from them, and DDP then takes the mean of the gradients that
    it gives to each one's weights; so the gradient of its own rows counts once for each rank.
    """
    group = _batch_group.get()
    return local if group is None else AllGather.apply(local, group)


def all_reduce_batch(local: Tensor) -> Tensor:
    """While `data_parallel`, the sum over all ranks; differentiable."""
    return local if _batch_group.get() is None else AllReduce.apply(local)


def mean_of_batch(local: Tensor) -> Tensor:
    """While `data_parallel`, the mean over all ranks of what is no longer differentiated.

    Of gradients that each rank has taken of the same loss it is the gradient by all rows.
    """
    group = _batch_group.get()
    if group is None:
        return local

    found = local.detach().clone()
    dist.all_reduce(found)

    return found / group.world_size


class AllGather(torch.autograd.Function):
    """Rows of all ranks, of which each may hold another number."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, group: ProcessGroup) -> Tensor:
        counts = [torch.zeros(1, dtype=torch.long) for _ in range(group.world_size)]
        dist.all_gather(counts, torch.tensor([len(local)]))
        sizes = [int(count) for count in counts]

        start = sum(sizes[: group.rank])
        ctx.rows, ctx.world_size = slice(start, start + len(local)), group.world_size

        # Gathering wants parts of one size.
        padded = local.new_zeros(max(sizes), *local.shape[1:])
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)

        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return ctx.world_size * slope[ctx.rows], None


class AllReduce(torch.autograd.Function):
    """The sum over all ranks, whose gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        found = local.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        found = slope.contiguous().clone()
        dist.all_reduce(found)
        return found
