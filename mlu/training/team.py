"""The processes of a run that works on several devices, one for each.

The first of them is the run itself: alone it reads the cache, attacks, reports and writes. Where a
stage trains, scores or evaluates, it calls the others, and all carry out the same function with the
same arguments (see `mlu.system.collectives`).
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.layer_sync import LayerSync
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from mlu.models.batch_norm import pool_norms, separate_norms
from mlu.system.collectives import Place, place, threads_each, working
from mlu.system.errors import UserError
from mlu.system.process import end_with_parent, tune_process
from mlu.system.progress import bars_hidden
from mlu.training.trainer import quiet_lightning

HOST = "localhost"
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}

PATIENCE = 10
"""Seconds that a process is given to end."""

Found = TypeVar("Found")
Way = Connection


@dataclass(frozen=True, eq=False)
class Team:
    """The processes of a run, as one of them sees them.

    Attributes:
        place: Which of them this is; rank 0 is the run.
        device: What this one works on.
        others: Of rank 0, the way to each of the others.
    """

    place: Place
    device: torch.device
    others: tuple[Way, ...] = ()

    def run(self, function: Callable[..., Found], context: Any, *arguments: Any) -> Found:
        """`function(context, *arguments)`, by all processes at once; returns what it gave this one.

        Args:
            function: Of a module, since the others find it by its name.
            context: Has a `team`, for which each takes its own, and a `logger`, which the others do
                without.
            *arguments: Whatever can be pickled.

        Raises:
            UserError: If another process met one.
            RuntimeError: If another process failed otherwise, with its reason.
        """
        if not self.others:
            return function(context, *arguments)

        for way in self.others:
            way.send((function, replace(context, logger=None), arguments))

        try:
            with working(self.place):
                found = function(context, *arguments)
        except UserError:
            raise  # the others meet the same
        except Exception as fault:
            self.refuse_failures(fault)
            raise

        self.refuse_failures(None)

        return found

    def refuse_failures(self, fault: Exception | None) -> None:
        """Raise what went wrong in another process; of one that was only lost sight of (`fault`)
        that is the reason."""
        for way in self.others:
            with suppress(EOFError, ConnectionError):
                failure = way.recv() if fault is None or way.poll(1) else None
                if failure:
                    raise failure from fault

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, it is that process alone."""
        return alone, (self.device,)

    def trainer_options(self) -> dict[str, Any]:
        """Arguments of Lightning's Trainer, for a training by all of them, or by this one alone."""
        if place() is None:
            return {"devices": 1}
        return {
            "devices": self.place.size,
            "strategy": DDPStrategy(
                cluster_environment=Seat(self.place.rank), broadcast_buffers=False
            ),
            "plugins": [PooledNorms()],
            "use_distributed_sampler": False,
        }


def alone(device: torch.device) -> Team:
    """This process, and no other."""
    return Team(Place(0, 1), device)


@contextmanager
def team_of(size: int, device: torch.device) -> Iterator[Team]:
    """The processes of a run, until the block ends; with a size of 1 there is only this one.

    Args:
        size: How many.
        device: What this one works on; the others take the next ones.
    """
    if size == 1:
        yield alone(device)
        return

    spawn = multiprocessing.get_context("spawn")
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    all_threads = torch.get_num_threads()
    threads = threads_each(size)
    ways, processes = [], []
    try:
        for rank in range(1, size):
            own, theirs = spawn.Pipe()
            seat = device if device.type == "cpu" else torch.device(device.type, rank)
            processes.append(
                spawn.Process(
                    target=serve, args=(theirs, store.port, threads, Place(rank, size), seat)
                )
            )
            processes[-1].start()
            theirs.close()
            ways.append(own)

        for way in ways:
            way.recv()

        torch.set_num_threads(threads)
        dist.init_process_group(BACKENDS[device.type], store=store, rank=0, world_size=size)
        yield Team(Place(0, size), device, tuple(ways))
    finally:
        for way in ways:
            with suppress(ConnectionError):
                way.send(None)
        if dist.is_initialized():
            dist.destroy_process_group()
        for process in processes:
            process.join(PATIENCE)
            process.terminate()
        torch.set_num_threads(all_threads)


def serve(way: Way, port: int, threads: int, here: Place, device: torch.device) -> None:
    """What a process besides the first one does: carry out what it is sent."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tune_process()
    quiet_lightning()
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)

    way.send("ready")
    store = dist.TCPStore(HOST, port, is_master=False)
    dist.init_process_group(
        BACKENDS[device.type], store=store, rank=here.rank, world_size=here.size
    )
    team = Team(here, device)
    while (task := way.recv()) is not None:
        function, context, arguments = task
        try:
            with working(here), bars_hidden():
                function(replace(context, team=team), *arguments)
        except Exception as fault:
            reason = f"process {here.rank} of {here.size} failed: {type(fault).__name__}: {fault}"
            way.send(fault if isinstance(fault, UserError) else RuntimeError(reason))
            # Ends with its part of the group, so that no other process waits for it.
            break
        way.send(None)

    dist.destroy_process_group()


class Seat(LightningEnvironment):
    """Tells Lightning which process this is, and that all of them are there."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.rank


class PooledNorms(LayerSync):
    """Batch norms that see the whole batch; torch's own that do have no form for CPUs."""

    def apply(self, model: nn.Module) -> nn.Module:
        pool_norms(model)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        separate_norms(model)
        return model
