import numpy as np
import pytest
import torch

from mlu.data.base import LabelledImages
from mlu.data.divided import ImageData, ShuffledBatches
from mlu.system.errors import UserError


def toy(images: int) -> LabelledImages:
    targets = np.random.default_rng(0).integers(0, 2, (images, 3)).astype(np.uint8)
    return LabelledImages(
        "toy",
        "multilabel",
        np.zeros((images, 3, 4, 4), np.uint8),
        targets,
        ("Bald", "Male", "Young"),
        "0",
    )


def test_names_become_columns_by_either_spelling():
    data = ImageData(toy(100), seed=0, batch_size=8)
    assert data.columns(["Young", "Gender", "Male"]) == (2, 1, 1)
    with pytest.raises(
        UserError, match=r"toy has no label 'Blad', did you mean 'Bald'.*It has Bald, Male, Young"
    ):
        data.columns(["Blad"])


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match="toy has 7 images: at least 20 are needed"):
        ImageData(toy(7), seed=0, batch_size=8)


@pytest.mark.parametrize(("length", "batches"), [(64, 4), (65, 4), (66, 5), (15, 1)])
def test_an_epoch_is_a_permutation_without_a_rest_of_one(length, batches):
    order = ShuffledBatches(length, 16, seed=3)
    rows = torch.cat(list(order))
    assert len(order) == len(list(order)) == batches
    assert len(rows.unique()) == len(rows) == length - (length % 16 == 1)


def test_the_order_depends_on_seed_and_epoch_alone():
    first, again, other = (
        ShuffledBatches(50, 16, 3),
        ShuffledBatches(50, 16, 3),
        ShuffledBatches(50, 16, 4),
    )
    list(first)
    assert torch.equal(torch.cat(list(first)), torch.cat(list(again)))
    assert not torch.equal(torch.cat(list(first)), torch.cat(list(other)))
    again.set_epoch(1)
    assert not torch.equal(torch.cat(list(first)), torch.cat(list(again)))


@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_change_nothing(workers):
    data = ImageData(toy(100), seed=0, batch_size=16, workers=workers)
    targets = torch.cat([batch.targets for batch in data.train_batches(data.splits["train"])])
    expected = torch.cat(
        [
            data.splits["train"].targets[rows]
            for rows in ShuffledBatches(len(data.splits["train"]), 16, 0)
        ]
    )
    assert torch.equal(targets, expected)
