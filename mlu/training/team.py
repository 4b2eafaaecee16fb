"""The processes of a run that works on several devices, one for each.

The first of them is the run itself: alone it reads the cache, attacks, reports and writes. Where a
stage trains, scores or evaluates, it calls the others, and all carry out the same function with the
same arguments (see `mlu.system.collectives`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.layer_sync import LayerSync
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from mlu.models.batch_norm import sync_norms, unsync_norms
from mlu.system.collectives import (
    ProcessGroup,
    current_group,
    threads_per_process,
    within_group,
)
from mlu.system.errors import UserError
from mlu.system.process import Unheard, end_with_parent, tune_process
from mlu.system.progress import bars_hidden
from mlu.training.trainer import quiet_lightning

_HOST = "localhost"
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}

_SECONDS_TO_END = 10
"""How long a process is given to end by itself."""

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Team:
    """The processes of a run, as one of them sees them.

    Attributes:
        group: Which of them this is; rank 0 is the run.
        device: What this one works on.
        connections: Of rank 0, one to each of the other ranks.
    """

    group: ProcessGroup
    device: torch.device
    connections: tuple[Connection, ...] = ()

    def run(self, function: Callable[..., Found], context: Any, *arguments: Any) -> Found:
        """`function(context, *arguments)`, by all ranks at once; returns what it gave this one.

        Args:
            function: Of a module, since the other ranks find it by its name.
            context: Has a `team`, for which each takes its own, and a `logger`, which the other
                ranks do without.
            *arguments: Whatever can be pickled.

        Raises:
            UserError: If another rank met one.
            RuntimeError: If another rank failed otherwise, with its reason.
        """
        if not self.connections:
            return function(context, *arguments)

        for connection in self.connections:
            connection.send((function, replace(context, logger=None), arguments))

        try:
            with within_group(self.group):
                found = function(context, *arguments)
        except UserError:
            raise  # the other ranks meet the same
        except Exception as fault:
            self.raise_failures(fault)
            raise

        self.raise_failures(None)

        return found

    def raise_failures(self, fault: Exception | None) -> None:
        """Raise what went wrong in another rank.

        Args:
            fault: What this rank met since it lost sight of the other, whose failure is its reason.
        """
        for connection in self.connections:
            with suppress(EOFError, ConnectionError):
                failure = connection.recv() if fault is None or connection.poll(1) else None
                if failure:
                    raise failure from fault

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, it is that process alone."""
        return team_of_one, (self.device,)

    def trainer_options(self) -> dict[str, Any]:
        """Arguments of Lightning's Trainer, for a training by all ranks, or by this one alone."""
        if current_group() is None:
            return {"devices": 1}

        environment = StartedRanks(self.group.rank)
        return {
            "devices": self.group.world_size,
            "strategy": DDPStrategy(cluster_environment=environment, broadcast_buffers=False),
            "plugins": [SyncedNorms()],
            "use_distributed_sampler": False,
        }


def team_of_one(device: torch.device) -> Team:
    """This process, and no other."""
    return Team(ProcessGroup(0, 1), device)


@contextmanager
def team_of(world_size: int, device: torch.device) -> Iterator[Team]:
    """The processes of a run, until the block ends; with a world size of 1 there is only this one.

    Args:
        world_size: How many.
        device: What this one works on; the other ranks take the next ones.
    """
    if world_size == 1:
        yield team_of_one(device)
        return

    store = dist.TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    all_threads = torch.get_num_threads()
    threads = threads_per_process(world_size)
    connections: list[Connection] = []
    processes: list[SpawnProcess] = []
    try:
        for rank in range(1, world_size):
            own = device if device.type == "cpu" else torch.device(device.type, rank)
            group = ProcessGroup(rank, world_size)
            connection, process = start_rank(group, own, store.port, threads)
            connections.append(connection)
            processes.append(process)

        for connection in connections:
            connection.recv()

        torch.set_num_threads(threads)
        join_group(ProcessGroup(0, world_size), device, store)
        yield Team(ProcessGroup(0, world_size), device, tuple(connections))
    finally:
        for connection in connections:
            with suppress(ConnectionError):
                connection.send(None)

        if dist.is_initialized():
            dist.destroy_process_group()

        for process in processes:
            process.join(_SECONDS_TO_END)
            process.terminate()

        torch.set_num_threads(all_threads)


def start_rank(
    group: ProcessGroup, device: torch.device, port: int, threads: int
) -> tuple[Connection, SpawnProcess]:
    """Start the process of a rank, which then serves; returns the connection to it, and itself."""
    context = Unheard()
    connection, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, port, threads, group, device))
    process.start()
    theirs.close()

    return connection, process


def join_group(group: ProcessGroup, device: torch.device, store: dist.TCPStore) -> None:
    """Take this rank's part in the group of torch.distributed; waits until all ranks have."""
    dist.init_process_group(
        _BACKENDS[device.type], store=store, rank=group.rank, world_size=group.world_size
    )


def serve(
    connection: Connection, port: int, threads: int, group: ProcessGroup, device: torch.device
) -> None:
    """Carry out what rank 0 sends, until it sends None."""
    end_with_parent()
    tune_process()
    quiet_lightning()
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)

    connection.send("ready")
    join_group(group, device, dist.TCPStore(_HOST, port, is_master=False))
    team = Team(group, device)
    while (task := connection.recv()) is not None:
        function, context, arguments = task
        try:
            with within_group(group), bars_hidden():
                function(replace(context, team=team), *arguments)
        except Exception as fault:
            connection.send(failure_of(group, fault))
            # Ends with its part of the group, so that no other rank waits for it.
            break

        connection.send(None)

    dist.destroy_process_group()


def failure_of(group: ProcessGroup, fault: Exception) -> Exception:
    """A rank's fault as it is sent: the user's own as it is, else with the number of the rank."""
    if isinstance(fault, UserError):
        return fault

    which = f"process {group.rank} of {group.world_size}"
    return RuntimeError(f"{which} failed: {type(fault).__name__}: {fault}")


class StartedRanks(LightningEnvironment):
    """Tells Lightning which rank this is, and that all of them have been started."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.rank


class SyncedNorms(LayerSync):
    """Batch norms that see the whole batch; torch's own that do have no form for CPUs."""

    def apply(self, model: nn.Module) -> nn.Module:
        sync_norms(model)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        unsync_norms(model)
        return model
