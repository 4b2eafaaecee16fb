"""Images and targets of a user's own DataLoader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mlu.data.base import TaskName
from mlu.data.split import Split
from mlu.system.errors import UserError
from mlu.system.progress import progress_bar

_BATCH = 64
"""Images at once where the loader does not say."""

_NAMED = ("pixel_values", "labels")
"""Images and targets of a batch as Hugging Face's collators name them."""

_CONCEPTS = "concepts"
"""Their targets in such a batch."""


@dataclass(frozen=True, eq=False)
class LoadedImages:
    """Images of a data set that gives one sample at a time; as `Images`, but of any shape and type.

    Attributes:
        dataset: Of any length, indexed by whole numbers.
        collate: Makes a batch of some of its samples; images are what stands first in it.
    """

    dataset: Any
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Images of the given rows, in their order, as the user's transforms give them."""
        images, _ = parts_of(self.collate([self.dataset[int(row)] for row in rows]))
        return images.detach().cpu().numpy()


def split_of(
    loader: Any, labels: Sequence[str], what: str = "loader", concepts: Sequence[str] = ()
) -> tuple[Split, TaskName]:
    """All images of a loader's data set with their targets, and the task that the targets show.

    Targets are read in one pass, in the order of the data set; images are read again whenever they
    are needed.

    Args:
        loader: A DataLoader of a map-style data set; its sampler, shuffling and `drop_last` do not
            matter. Its batches are (images, targets, ...). Whole numbers of shape (n,) are classes;
            0, 1 and NaN (unknown) of shape (n, labels) are independent labels.
        labels: Name of each output, in order; of an embedding none.
        what: Name of the argument, for messages.
        concepts: Names of attributes that are no output: their columns stand behind those of the
            labels, in the targets of independent labels; beside classes they are a third part of
            each batch, shape (n, concepts).

    Raises:
        UserError: If it is no such loader or its targets are none of these.
    """
    check_loader(loader, what)
    found, beside = [], []
    reading = f"reading the targets of {what}"
    with progress_bar(reading, len(loader.dataset), "images") as bar:
        for batch in loader_in_order(loader):
            images, targets = parts_of(batch)
            found.append(targets.detach().cpu())
            if concepts and labels and targets.ndim == 1:
                beside.append(concepts_of(batch, concepts).detach().cpu())
            bar.advance(len(images))

    targets = torch.cat(found)
    if targets.ndim == 1 and labels:
        classes = one_hot(targets, labels)
        everything = torch.ones_like(classes, dtype=torch.bool)
        if beside:
            attributes = torch.cat(beside)
            known = multi_hot(attributes, concepts, "the targets of concepts")
            classes = torch.cat([classes, torch.where(known, attributes, 0).float()], 1)
            everything = torch.cat([everything, known], 1)
        return whole_loader(loader, classes, everything), "singlelabel"

    known = multi_hot(targets, [*labels, *concepts])

    return whole_loader(loader, torch.where(known, targets, 0).float(), known), "multilabel"


def check_loader(loader: Any, what: str) -> None:
    """Raises UserError where rows cannot be read."""
    if not isinstance(loader, DataLoader):
        raise UserError(f"{what} must be a torch DataLoader, got {type(loader).__name__}")
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__getitem__"):
        raise UserError(
            f"{what} has an iterable data set: give it one with a length that is indexed by row"
        )
    if loader.batch_size is None and loader.batch_sampler is None:
        raise UserError(
            f"{what} has batch_size=None: give it a batch size and a data set of single samples"
        )

    dataset: Any = loader.dataset
    if len(dataset) == 0:
        raise UserError(f"{what} has no images")


def loader_in_order(loader: Any) -> DataLoader[Any]:
    """A loader's data set from its first row to its last."""
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size or _BATCH,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
    )


def parts_of(batch: Any) -> tuple[Tensor, Tensor]:
    """Images and targets of a batch, a pair or named as Hugging Face names them."""
    if isinstance(batch, Mapping) and all(name in batch for name in _NAMED):
        batch = tuple(batch[name] for name in _NAMED)

    several = isinstance(batch, tuple | list) and len(batch) >= 2
    if not several or not all(isinstance(part, Tensor) for part in batch[:2]):
        kind = type(batch).__name__
        raise UserError(
            f"a batch must be (images, targets, ...), two tensors first; got {kind}: "
            "set a collate_fn"
        )

    if batch[0].dtype == torch.bfloat16:
        raise UserError("images are bfloat16, which NumPy does not know: give float32")

    return batch[0], batch[1]


def concepts_of(batch: Any, concepts: Sequence[str]) -> Tensor:
    """The targets of concepts beside classes, which a batch has as its third part."""
    found = batch.get(_CONCEPTS) if isinstance(batch, Mapping) else (*batch, None)[2]
    if not isinstance(found, Tensor):
        raise UserError(
            "beside classes the targets of concepts must be the third part of each batch, a tensor "
            f"of shape (n, {len(concepts)}); got {type(found).__name__}"
        )

    return found


def one_hot(targets: Tensor, labels: Sequence[str]) -> Tensor:
    """Classes as 0 or 1, shape (n, labels)."""
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise UserError(
            f"targets of shape (n,) must be whole numbers, one class per image; got {targets.dtype}"
        )
    if targets.min() < 0 or targets.max() >= len(labels):
        low, high = int(targets.min()), int(targets.max())
        raise UserError(
            f"classes must lie in 0 to {len(labels) - 1}, one per label; got {low} to {high}"
        )

    return F.one_hot(targets.long(), len(labels)).float()


def multi_hot(targets: Tensor, labels: Sequence[str], what: str = "") -> Tensor:
    """Whether each target is known, shape (n, labels); refuses others than 0, 1 and NaN.

    Args:
        targets: As the loader gives them.
        labels: Name of each column.
        what: What they are, for messages; empty for all targets, which may also be classes.
    """
    if targets.ndim != 2 or targets.shape[1] != len(labels):
        shape = ("n", *targets.shape[1:])
        got = f"got ({', '.join(map(str, shape))})"
        if what:
            raise UserError(f"{what} must have shape (n, {len(labels)}), {got}")

        raise UserError(
            f"targets must have shape (n,) for classes or (n, {len(labels)}) for independent "
            f"labels, {got}"
        )

    known = torch.ones_like(targets, dtype=torch.bool)
    if targets.is_floating_point():
        known = ~targets.isnan()

    strange = known & (targets != 0) & (targets != 1)
    if strange.any():
        raise UserError(
            f"targets must be 0, 1 or NaN (unknown), got {targets[strange][0].item():g}"
        )

    return known


def whole_loader(loader: Any, targets: Tensor, known: Tensor) -> Split:
    """All images of a loader, each of a person of its own."""
    rows = np.arange(len(targets))
    return Split(LoadedImages(loader.dataset, loader.collate_fn), rows, targets, known, rows)
