"""A data set in three splits, names for its columns, and the batches that training reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mlu.data.base import LabelledImages
from mlu.data.labels import resolve_label
from mlu.data.split import Batch, Split, count_batches, partition
from mlu.system.collectives import ProcessGroup, current_group, local_rows
from mlu.system.commands import images_command
from mlu.system.errors import UserError
from mlu.system.process import quiet_loader
from mlu.system.seeding import generator

FEWEST_IMAGES = 20
"""Below this the test split has not even two images."""


@final
class ImageData:
    """A data set in three splits.

    Only training needs a loader; scores and evaluation read plain images, `splits[name].batches`.

    Attributes:
        source: The whole data set.
        task: Name of its task.
        labels: Name of each column.
        splits: `train`, `validation` and `test`, plain images.
    """

    def __init__(self, data: LabelledImages, seed: int, batch_size: int, workers: int = 0) -> None:
        """Divide a data set.

        Args:
            data: The whole data set.
            seed: Of the partition and of the order of training images.
            batch_size: Images per training step.
            workers: Processes that load batches; 0 loads in this one.

        Raises:
            UserError: If there are too few images, in all or in a split, or unreadable ones.
        """
        refuse_unfit(data)
        self.source, self.task, self.labels = data, data.task, data.labels
        self.seed, self.batch_size, self.workers = seed, batch_size, workers

        self.splits = partition(data, seed)
        for name, split in self.splits.items():
            if len(split) < 2:
                raise UserError(
                    f"the {name} split of {data.name} has {len(split)} images: give it more"
                )

    def columns(self, names: Sequence[str]) -> tuple[int, ...]:
        """Columns of labels, in the order of their names.

        Raises:
            UserError: With the nearest name, if one is unknown.
        """
        found = [resolve_label(name, self.labels, self.source.name) for name in names]
        return tuple(self.labels.index(label) for label in found)

    def train_batches(
        self, split: Split, batch_size: int | None = None, seed: int | None = None, epoch: int = 0
    ) -> DataLoader[Batch]:
        """Shuffled batches of `split`, for training that begins with an epoch, from 0.

        Where none is given this data's own batch size and seed count.
        """
        seed = self.seed if seed is None else seed
        return shuffled_batches(split, batch_size or self.batch_size, seed, self.workers, epoch)


def refuse_unfit(data: LabelledImages) -> None:
    """Raises UserError for a data set too small to divide, or with images that cannot be read."""
    if len(data.images) < FEWEST_IMAGES:
        raise UserError(
            f"{data.name} has {len(data.images)} images: at least {FEWEST_IMAGES} are needed "
            "to train and to test"
        )

    if data.unreadable:
        raise UserError(
            f"{len(data.unreadable)} of the {len(data.images)} images of {data.name} "
            f"cannot be read; the first: {next(iter(data.unreadable.values()))}; or leave them "
            "all out with dataset.exclude=FILE, which "
            f"{images_command('mlu.doctor', data.name)} writes"
        )


def shuffled_batches(
    split: Split, batch_size: int, seed: int, workers: int = 0, epoch: int = 0
) -> DataLoader[Batch]:
    """Batches of a split for training, in another order in every epoch."""
    # The sampler gives whole batches of row numbers, so one array look-up makes a batch.
    return DataLoader(
        SharedSplit(split, current_group()),
        batch_size=None,
        sampler=ShuffledBatches(len(split), batch_size, seed, epoch),
        num_workers=workers,
        worker_init_fn=quiet_loader,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


@dataclass(frozen=True)
class SharedSplit(Dataset[Batch]):
    """A split as training reads it: all targets of a batch, the images of this process's part."""

    split: Split
    group: ProcessGroup | None

    def __getitem__(self, rows: Tensor) -> Batch:
        return self.split.batch(rows, local_rows(len(rows), self.group))


class ShuffledBatches(Sampler[Tensor]):
    """Row numbers in batches, in an order that depends on the seed and the epoch alone.

    Lightning calls `set_epoch`; but of the first epoch it asks worker processes for batches before.
    """

    def __init__(self, length: int, batch_size: int, seed: int, epoch: int = 0) -> None:
        self.length, self.batch_size, self.seed, self.epoch = length, batch_size, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(self.length, generator=generator(self.seed, self.epoch))
        batches = order.split(self.batch_size)
        yield from batches[: len(self)]

    def __len__(self) -> int:
        return count_batches(self.length, self.batch_size)
