"""What CIFAR-10, MNIST and SVHN share, held against each of the three."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from mlu.data.arrays import Resized
from mlu.data.divided import ImageData
from mlu.data.sets.cifar import CIFAR10
from mlu.data.sets.mnist import MNIST
from mlu.data.sets.svhn import SVHN
from mlu.data.split import OPEN, partition
from mlu.launch.check import check_config, forgotten_names
from mlu.launch.compose import register_resolvers, values_of
from mlu.launch.options import CONF
from mlu.system.errors import UserError
from tests.support.array_files import (
    CIFAR_CLASSES,
    TEST,
    TRAIN,
    refusal,
    write_cifar,
    write_mnist,
    write_svhn,
)

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Kind:
    """One of the three: its class, labels and torchvision's name, how to write it, and one of its
    files."""

    reader: type
    labels: tuple[str, ...]
    write: Callable
    file: str

    def at(self, root, **fields):
        return self.reader(
            **{"name": "small", "root": root, "image_size": 32, "labels": self.labels, **fields}
        )


KINDS = {
    "CIFAR10": Kind(CIFAR10, CIFAR_CLASSES, write_cifar, "cifar-10-batches-py/test_batch"),
    "MNIST": Kind(MNIST, DIGITS, write_mnist, "MNIST/raw/t10k-labels-idx1-ubyte"),
    "SVHN": Kind(SVHN, DIGITS, write_svhn, "test_32x32.mat"),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def written(kind, tmp_path):
    return kind.write(tmp_path)


@pytest.fixture
def data(kind, written, tmp_path):
    return kind.at(tmp_path).load()


def test_says_what_it_holds(kind, data, written):
    assert (data.name, data.task, data.labels) == ("small", "singlelabel", kind.labels)
    assert (data.images.dtype, data.images.shape) == (np.uint8, (TRAIN + TEST, 3, 32, 32))
    assert data.images.flags.c_contiguous
    assert data.targets.dtype == np.uint8
    assert data.split is None
    assert data.known is None
    assert data.identities is None
    np.testing.assert_array_equal(data.targets, np.eye(10, dtype=int)[written.classes])


@pytest.mark.parametrize("columns", [(3, 9), (7, 0, 4), (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)])
def test_with_fewer_labels_only_their_images_count(kind, written, data, tmp_path, columns):
    labels = [kind.labels[column] for column in columns]
    some = kind.at(tmp_path, labels=labels, split="official").load()
    kept = np.isin(written.classes, columns)
    assert some.labels == tuple(labels)
    np.testing.assert_array_equal(some.images, data.images[kept])
    np.testing.assert_array_equal(some.targets, data.targets[kept][:, list(columns)])
    np.testing.assert_array_equal(some.split == 2, written.test[kept])


def test_whole_numbers_of_a_config_are_labels(tmp_path):
    write_mnist(tmp_path)
    assert KINDS["MNIST"].at(tmp_path, labels=[3, 5]).load().labels == ("3", "5")


def test_official_split_keeps_the_test_part_and_leaves_the_rest_open(kind, written, tmp_path):
    data = kind.at(tmp_path, split="official").load()
    np.testing.assert_array_equal(data.split, np.where(written.test, 2, OPEN))
    assert data.split.dtype == np.int8
    splits = partition(data, seed=0)
    np.testing.assert_array_equal(splits["test"].rows, np.arange(TRAIN, TRAIN + TEST))
    assert abs(len(splits["train"]) - TRAIN * 65 / 90) <= 3


@pytest.mark.parametrize("split", ["paper", "official"])
def test_the_parts_are_complete_and_disjoint(kind, written, tmp_path, split):
    splits = partition(kind.at(tmp_path, split=split).load(), seed=1)
    rows = np.concatenate([part.rows for part in splits.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(TRAIN + TEST))
    for part in splits.values():
        np.testing.assert_array_equal(part.targets.argmax(1), written.classes[part.rows])


def test_the_papers_split_mixes_the_two_parts(kind, written, tmp_path):
    splits = partition(kind.at(tmp_path).load(), seed=1)
    assert {written.test[part.rows].any() for part in splits.values()} == {True}
    assert not written.test[splits["test"].rows].all()


def test_some_images_are_drawn_by_a_seed_and_stay_in_order(kind, written, data, tmp_path):
    first = kind.at(tmp_path, images=20, split="official").load()
    rows = rows_in(data.images, first.images)
    assert len(set(rows)) == 20
    assert rows == sorted(rows) != list(range(20))
    np.testing.assert_array_equal(first.targets, data.targets[rows])
    np.testing.assert_array_equal(first.split == 2, written.test[rows])

    again, other = (kind.at(tmp_path, images=20, seed=seed).load() for seed in (0, 1))
    np.testing.assert_array_equal(again.images, first.images)
    assert rows_in(data.images, other.images) != rows


def rows_in(images, some):
    """Where each of some images stands among all, which differ."""
    known = {image.tobytes(): row for row, image in enumerate(images)}
    assert len(known) == len(images)
    return [known[image.tobytes()] for image in some]


def test_of_fewer_labels_the_images_that_count_are_drawn(kind, written, tmp_path):
    there = int(np.isin(written.classes, (3, 9)).sum())
    labels = [kind.labels[column] for column in (3, 9)]
    assert len(kind.at(tmp_path, labels=labels, images=there).load().images) == there
    with pytest.raises(UserError, match=f"images={there + 1} is more than the {there} images"):
        kind.at(tmp_path, labels=labels, images=there + 1).load()


@pytest.mark.parametrize("size", [16, 32, 48])
def test_trains_and_tests_when_it_is_divided(kind, written, tmp_path, size):
    data = kind.at(tmp_path, split="official", image_size=size).load()
    module = ImageData(data, seed=0, batch_size=8)
    batch = next(iter(module.train_batches(module.splits["train"])))
    assert batch.images.shape == (8, 3, size, size)
    assert batch.images.dtype == torch.uint8
    assert (batch.targets.sum(1) == 1).all()
    assert batch.known.all()
    assert module.columns([kind.labels[3]]) == (3,)
    tested = torch.cat([batch.images for batch in module.splits["test"].batches(7)])
    np.testing.assert_array_equal(tested, data.images[np.flatnonzero(written.test)])


def test_resized_images_equal_pillows(kind, data, tmp_path):
    rows = np.array([5, 0, 5, 33])
    for size in (16, 24, 48, 80):
        images = kind.at(tmp_path, image_size=size).load().images
        assert len(images) == TRAIN + TEST
        assert images[rows].shape == (4, 3, size, size)
        assert images[rows].dtype == np.uint8
        plain = [
            np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))
            for picture in data.images[rows].transpose(0, 2, 3, 1)
        ]
        off = images[rows].transpose(0, 2, 3, 1).astype(int) - plain
        assert np.abs(off).max() <= 1  # both round whole numbers, each in its way


def test_only_the_rows_that_are_asked_for_are_resized(monkeypatch):
    from torchvision.transforms.v2 import functional

    resized, resize = [], functional.resize

    def count(images, *args, **options):
        resized.append(len(images))
        return resize(images, *args, **options)

    monkeypatch.setattr(functional, "resize", count)
    images = Resized(np.zeros((50, 3, 32, 32), np.uint8), 16)
    assert images[np.array([7, 3])].shape == (2, 3, 16, 16)
    assert images[np.array([], dtype=int)].shape == (0, 3, 16, 16)
    assert resized == [2, 0]


def test_the_fingerprint_is_of_the_content_alone(kind, data, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    kind.write(elsewhere)
    assert kind.at(elsewhere, name="other", download=True).load().fingerprint == data.fingerprint


def test_the_fingerprint_follows_all_that_matters(kind, data, tmp_path, monkeypatch):
    prints = [data.fingerprint]
    prints.append(kind.at(tmp_path, image_size=16).load().fingerprint)
    prints.append(kind.at(tmp_path, split="official").load().fingerprint)
    prints.append(kind.at(tmp_path, labels=kind.labels[::-1]).load().fingerprint)
    prints.append(kind.at(tmp_path, labels=kind.labels[:9]).load().fingerprint)
    monkeypatch.setattr("mlu.data.arrays.code_digest", lambda *modules: " ".join(modules))
    prints.append(kind.at(tmp_path).load().fingerprint)
    monkeypatch.undo()
    kind.write(tmp_path, seed=1)
    prints.append(kind.at(tmp_path).load().fingerprint)
    kind.write(tmp_path, train=TRAIN - 10, test=TEST + 10)
    prints.append(kind.at(tmp_path, split="official").load().fingerprint)
    assert len(set(prints)) == len(prints)


@pytest.fixture
def changed_print(kind, written, tmp_path, monkeypatch):
    """The fingerprint after a change of the parts that were read."""
    read = kind.reader.read

    def after(change, labels=kind.labels):
        def changed(self, files):
            parts = [
                replace(part, pixels=part.pixels.copy(), classes=part.classes.copy())
                for part in read(self, files)
            ]
            change(parts)
            return parts

        monkeypatch.setattr(kind.reader, "read", changed)
        return kind.at(tmp_path, labels=labels).load().fingerprint

    return after


def test_one_pixel_or_one_label_changes_the_fingerprint(changed_print, data):
    def brighten(row):
        return lambda parts: np.add.at(parts[0 if row == 0 else -1].pixels, (row, 2, 31, 31), 1)

    def relabel(parts):
        parts[-1].classes[-1] = (parts[-1].classes[-1] + 1) % 10

    assert changed_print(lambda parts: None) == data.fingerprint
    assert (
        len(
            {
                data.fingerprint,
                changed_print(brighten(0)),
                changed_print(brighten(-1)),
                changed_print(relabel),
            }
        )
        == 4
    )


def test_the_names_of_the_classes_are_part_of_the_fingerprint(changed_print, kind):
    """The same pictures and columns, but of other classes."""

    def only_two(first):
        def change(parts):
            for part in parts:
                part.classes[:] = part.classes % 2 + first

        return change

    assert changed_print(only_two(0), kind.labels[:2]) != changed_print(
        only_two(4), kind.labels[4:6]
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"labels": ("trcuk", "cat", "5")}, ["has no label", "'trcuk'"]),
        ({"labels": ()}, ["dataset.labels", "empty"]),
        ({"labels": None}, ["dataset.labels", "empty"]),
        ({"split": "offical"}, ["'offical'", "did you mean 'official'?"]),
        ({"image_size": 0}, ["image_size", "got 0"]),
    ],
)
def test_a_wrong_field_is_named(kind, written, tmp_path, fields, says):
    message = refusal(kind.at(tmp_path, **fields))
    assert all(word in message for word in [*says, "small"]), message


def test_a_doubled_or_a_single_label_is_refused(kind, written, tmp_path):
    first, second = kind.labels[:2]
    assert f"{first!r} twice" in refusal(kind.at(tmp_path, labels=[first, second, first]))
    assert "at least two" in refusal(kind.at(tmp_path, labels=[first]))


def test_the_nearest_class_is_named(tmp_path):
    write_cifar(tmp_path)
    assert "did you mean 'truck'?" in refusal(
        KINDS["CIFAR10"].at(tmp_path, labels=("trcuk", "cat"))
    )


def test_a_missing_file_says_what_is_expected_where(kind, written, tmp_path):
    file = tmp_path / kind.file
    file.unlink()
    message = refusal(kind.at(tmp_path))
    words = [
        file.name,
        str(file.parent),
        kind.reader.origin,
        "dataset.root=",
        "dataset.download=true",
    ]
    assert all(word in message for word in words), message


def test_a_missing_root_says_what_is_expected_where(kind, tmp_path):
    message = refusal(kind.at(tmp_path / "nowhere"))
    assert str((tmp_path / "nowhere" / kind.file).parent) in message
    assert all(name in message for name in kind.reader.files)


def test_the_files_may_lie_in_any_of_the_folders(kind, written, data, tmp_path):
    inner = (tmp_path / kind.file).parent
    for folder in kind.reader.folders:
        root = [inner, *inner.parents][len(Path(folder).parts)]
        np.testing.assert_array_equal(kind.at(root).load().images, data.images)


def test_a_complete_folder_is_preferred_to_torchvisions(tmp_path):
    write_mnist(tmp_path / "other", seed=1)
    (tmp_path / "other" / "MNIST" / "raw").rename(tmp_path / "raw")
    write_mnist(tmp_path)
    kind = KINDS["MNIST"]
    both = kind.at(tmp_path).load().fingerprint
    (tmp_path / kind.file).unlink()
    assert kind.at(tmp_path).load().fingerprint != both


def downloads(kind, tmp_path, monkeypatch):
    """What torchvision is asked for, while it writes a small data set instead of fetching the real
    one."""
    datasets, calls = pytest.importorskip("torchvision.datasets"), []

    def fetch(root, download, **options):
        assert Path(root).parent == tmp_path
        calls.append((download, options))
        if options.get("split") != "train":  # with the last of the calls all files are there
            kind.write(Path(root))

    monkeypatch.setattr(datasets, kind.reader.__name__, fetch)
    return calls


def test_download_runs_only_when_files_are_missing(kind, tmp_path, monkeypatch):
    calls = downloads(kind, tmp_path, monkeypatch)
    for _ in range(2):
        assert len(kind.at(tmp_path, download=True).load().images) == TRAIN + TEST
    options = [{"split": "train"}, {"split": "test"}] if kind.reader is SVHN else [{}]
    assert calls == [(True, each) for each in options]


def test_download_fetches_what_is_missing_alone(kind, written, tmp_path, monkeypatch):
    calls = downloads(kind, tmp_path, monkeypatch)
    (tmp_path / kind.file).unlink()
    kind.at(tmp_path, download=True).load()
    assert calls == [(True, {"split": "test"} if kind.reader is SVHN else {})]


def test_a_download_that_was_cut_off_is_not_taken_for_one(kind, tmp_path, monkeypatch):
    def cut(root, download, **options):
        kind.write(Path(root))
        (Path(root) / kind.file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pytest.importorskip("torchvision.datasets"), kind.reader.__name__, cut)
    with pytest.raises(KeyboardInterrupt):
        kind.at(tmp_path, download=True).load()
    assert not (tmp_path / kind.file).exists()
    monkeypatch.undo()
    downloads(kind, tmp_path, monkeypatch)
    assert len(kind.at(tmp_path, download=True).load().images) == TRAIN + TEST
    assert not (tmp_path / "download.draft").exists()


def test_nothing_is_downloaded_unasked(kind, tmp_path, monkeypatch):
    calls = downloads(kind, tmp_path, monkeypatch)
    refusal(kind.at(tmp_path))
    assert calls == []


def test_a_failed_download_gives_the_reason_and_another_way(kind, tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")

    def fail(root, download, **options):
        raise RuntimeError("no network\ntry later")

    monkeypatch.setattr(datasets, kind.reader.__name__, fail)
    message = refusal(kind.at(tmp_path, download=True))
    assert all(
        word in message for word in (str(tmp_path), "no network", "dataset.root=", "small")
    ), message


def test_a_download_that_brings_too_little_is_no_success(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(
        pytest.importorskip("torchvision.datasets"), kind.reader.__name__, lambda *_, **__: None
    )
    assert "dataset.root=" in refusal(kind.at(tmp_path, download=True))


def test_an_empty_file_is_named(kind, written, tmp_path):
    (tmp_path / kind.file).write_bytes(b"")
    assert str(tmp_path / kind.file) in refusal(kind.at(tmp_path))


def test_a_file_that_ends_early_is_named(kind, written, tmp_path):
    file = tmp_path / kind.file
    content = file.read_bytes()
    for length in (3, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        message = refusal(kind.at(tmp_path))
        assert str(file) in message
        assert "intact" in message


@pytest.mark.parametrize(
    ("dataset", "forget"), [("cifar10", "truck"), ("mnist", "3"), ("svhn", "3")]
)
def test_its_config_makes_it(tmp_path, dataset, forget):
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"dataset={dataset}", f"dataset.root={tmp_path}"])
    check_config(values_of(config))
    made, kind = instantiate(config.dataset, _convert_="all"), KINDS[dataset.upper()]
    assert made == kind.at(
        str(tmp_path),
        name=dataset,
        task="singlelabel",
        default_forget=forget,
        labels=list(kind.labels),
    )
    assert forgotten_names(config) == (forget,)
