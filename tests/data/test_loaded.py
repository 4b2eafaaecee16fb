import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from mlu.data.loaded import split_of
from mlu.system.errors import UserError

LABELS = ("Bald", "Male", "Young")
IMAGES = torch.arange(10 * 2 * 3).reshape(10, 2, 3)  # of any shape and type


def loader_of(targets, images=IMAGES, **options):
    return DataLoader(TensorDataset(images, targets), **({"batch_size": 4} | options))


def test_classes_become_one_hot_and_are_all_known():
    classes = torch.tensor([0, 2, 1, 1, 0, 2, 2, 0, 1, 0])
    split, task = split_of(loader_of(classes), LABELS)
    assert task == "singlelabel"
    assert torch.equal(split.targets, torch.eye(3)[classes])
    assert split.known.all()
    assert split.identities.tolist() == list(range(10))


def test_unknown_targets_of_independent_labels_read_0():
    targets = torch.tensor([[0.0, 1.0, float("nan")]] * 10)
    split, task = split_of(loader_of(targets), LABELS)
    assert task == "multilabel"
    assert split.known.tolist() == [[True, True, False]] * 10
    assert split.targets.tolist() == [[0.0, 1.0, 0.0]] * 10


@pytest.mark.parametrize("options", [{"shuffle": True}, {"drop_last": True}, {"batch_size": 3}])
def test_rows_are_those_of_the_data_set_however_the_loader_draws_them(options):
    targets = torch.randint(0, 2, (10, 3), generator=torch.Generator().manual_seed(0))
    split, _ = split_of(loader_of(targets, **options), LABELS)
    assert torch.equal(split.targets, targets.float())
    batch = split[[7, 0, 7]]
    assert torch.equal(batch.images, IMAGES[[7, 0, 7]])
    assert len(split.images) == 10
    np.testing.assert_array_equal(split.images[np.array([3])], IMAGES[[3]].numpy())


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


GOOD = torch.zeros(10, 3)


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        ([1, 2], "held must be a torch DataLoader, got list"),
        (DataLoader(Stream(), batch_size=2), "held has an iterable data set"),
        (loader_of(GOOD, batch_size=None), "held has batch_size=None"),
        (loader_of(GOOD[:0], IMAGES[:0]), "held has no images"),
        (DataLoader(IMAGES, batch_size=2), "two tensors first; got Tensor: set a collate_fn"),
        (DataLoader(TensorDataset(IMAGES), batch_size=2), "two tensors first; got list"),
        (loader_of(GOOD, IMAGES.bfloat16()), "images are bfloat16"),
        (loader_of(GOOD[:, 0]), "must be whole numbers, one class per image; got torch.float32"),
        (loader_of(GOOD[:, 0].bool()), "one class per image; got torch.bool"),
        (loader_of(torch.arange(10)), "classes must lie in 0 to 2, one per label; got 0 to 9"),
        (loader_of(torch.arange(10) - 8), "one per label; got -8 to 1"),
        (loader_of(GOOD[:, :2]), "or (n, 3) for independent labels, got (n, 2)"),
        (loader_of(GOOD[..., None]), "for independent labels, got (n, 3, 1)"),
        (loader_of(GOOD + 0.5), "targets must be 0, 1 or NaN (unknown), got 0.5"),
    ],
)
def test_what_is_no_such_loader_or_no_targets_ends_in_one_line(loader, says):
    with pytest.raises(UserError) as error:
        split_of(loader, LABELS, "held")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_concepts_stand_behind_the_labels_or_beside_classes():
    generator = torch.Generator().manual_seed(0)
    whole = torch.randint(0, 2, (10, 4), generator=generator).float()
    whole[2, 3] = torch.nan
    split, task = split_of(loader_of(whole), LABELS, concepts=["Old"])
    assert (task, split.targets.shape) == ("multilabel", (10, 4))
    assert split.known[:, 3].tolist() == [row != 2 for row in range(10)]

    classes = torch.arange(10) % 3
    beside = DataLoader(TensorDataset(IMAGES, classes, whole[:, 3:]), batch_size=4)
    split, task = split_of(beside, LABELS, concepts=["Old"])
    assert task == "singlelabel"
    assert torch.equal(split.targets[:, :3], torch.eye(3)[classes])
    assert torch.equal(split.targets[:, 3], whole[:, 3].nan_to_num(0))
    assert split.known[:, 3].tolist() == [row != 2 for row in range(10)]
    # Without a concept a third part is nobody's business.
    assert split_of(beside, LABELS)[0].targets.shape == (10, 3)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((torch.arange(10) % 3,), "must be the third part of each batch, a tensor of shape (n, 1)"),
        (
            (torch.arange(10) % 3, torch.zeros(10)),
            "the targets of concepts must have shape (n, 1), got (n)",
        ),
        ((torch.arange(10) % 3, torch.zeros(10, 1) + 2), "must be 0, 1 or NaN (unknown), got 2"),
        ((GOOD,), "(n, 4) for independent labels, got (n, 3)"),
    ],
)
def test_targets_of_concepts_that_are_none_end_in_one_line(parts, says):
    loader = DataLoader(TensorDataset(IMAGES, *parts), batch_size=4)
    with pytest.raises(UserError) as error:
        split_of(loader, LABELS, concepts=["Old"])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_batches_may_be_named_as_hugging_face_names_them():
    classes = torch.arange(10) % 3
    old = torch.arange(10)[:, None] % 2
    rows = [
        {"pixel_values": image, "labels": label, "concepts": concept}
        for image, label, concept in zip(IMAGES, classes, old, strict=True)
    ]
    split, task = split_of(DataLoader(rows, batch_size=4), LABELS, concepts=["Old"])
    assert task == "singlelabel"
    assert torch.equal(split[[4, 1]].images, IMAGES[[4, 1]])
    assert torch.equal(split.targets[:, 3], old[:, 0].float())
