"""Prepared images against a constant tensor, and against torchvision's CelebA with one transform
after another."""

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice, repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.measure import Comparison, compare
from mlu.data.augment import JITTER as COLOURS
from mlu.data.augment import MAX_SHEAR, SCALES, augmented
from mlu.data.divided import ImageData
from mlu.data.labels import CELEBA, PAPER
from mlu.data.sets.celeba import CelebA
from mlu.data.split import Batch
from mlu.models.backbones import ResNet
from mlu.models.network import Network
from mlu.system.seeding import generator

IMAGES, WIDTH, HEIGHT = 5000, 178, 218
WORKERS = 2
FILES = (
    "list_attr_celeba",
    "identity_CelebA",
    "list_eval_partition",
    "list_bbox_celeba",
    "list_landmarks_align_celeba",
)


class Setting:
    """What a step of training is: on a GPU larger images and batches, mixed precision."""

    def __init__(self) -> None:
        gpu = torch.cuda.is_available()
        self.device = torch.device("cuda" if gpu else "cpu")
        self.image_size, self.batch_size, self.steps = (128, 512, 60) if gpu else (64, 64, 8)
        self.workers = 8 if gpu else 0
        self.precision = torch.bfloat16 if gpu else torch.float32


def write_celeba(root: Path) -> None:
    """CelebA's layout with made-up photographs: coarse colours, enlarged, of about the size of real
    ones."""
    random = np.random.default_rng(0)
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{number:06}.jpg" for number in range(1, IMAGES + 1)]
    for name in names:
        coarse = Image.fromarray(random.integers(0, 256, (28, 23, 3), dtype=np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(
            folder / "img_align_celeba" / name, quality=92
        )
    signs = np.where(random.random((IMAGES, len(CELEBA))) < 0.5, " 1", "-1")
    rows = {
        "list_attr_celeba": [
            str(IMAGES),
            " ".join(CELEBA),
            *map(" ".join, np.column_stack([names, signs])),
        ],
        "identity_CelebA": [f"{name} {number}" for number, name in enumerate(names)],
        "list_eval_partition": [f"{name} 0" for name in names],
        "list_bbox_celeba": [
            str(IMAGES),
            "image x y width height",
            *(f"{name} 0 0 1 1" for name in names),
        ],
        "list_landmarks_align_celeba": [
            str(IMAGES),
            "x " * 10,
            *(f"{name}{' 1' * 10}" for name in names),
        ],
    }
    for name, lines in rows.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def prepared(root: Path, setting: Setting) -> ImageData:
    """Ours, from arrays that were made before the clock starts."""
    dataset = CelebA(
        name="celeba",
        root=root,
        image_size=setting.image_size,
        labels=PAPER,
        prepared=root / "prepared",
    )
    dataset.arrays(dataset.read()).make(jobs=WORKERS)
    return ImageData(dataset.load(), seed=0, batch_size=setting.batch_size, workers=setting.workers)


def ours(data: ImageData, setting: Setting) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of one epoch, augmented on the device."""
    for step, batch in enumerate(data.train_batches(data.splits["train"])):
        there: Batch = batch.to(setting.device, non_blocking=True)
        yield augmented(there, generator(0, step)).images, there.targets


def torchvisions(root: Path, setting: Setting) -> DataLoader:
    """The usual way: every image decoded, cut, resized and augmented by itself, in worker
    processes."""
    datasets.CelebA._check_integrity = lambda self: True  # it wants the published files
    steps = transforms.Compose(
        [
            transforms.CenterCrop(WIDTH),
            transforms.Resize(setting.image_size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(0, shear=MAX_SHEAR, scale=SCALES),
            transforms.ColorJitter(COLOURS, COLOURS, COLOURS),
            transforms.ToTensor(),
        ]
    )
    source = datasets.CelebA(str(root), split="train", transform=steps)
    return DataLoader(source, setting.batch_size, shuffle=True, num_workers=WORKERS)


def train(
    net: Network, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], setting: Setting
) -> None:
    """Some steps of training; the last one is waited for."""
    optimiser, loss = (
        torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9),
        torch.nn.BCEWithLogitsLoss(),
    )
    for images, targets in islice(batches, setting.steps):
        optimiser.zero_grad()
        with torch.autocast(
            setting.device.type, setting.precision, enabled=setting.precision is torch.bfloat16
        ):
            found = loss(net(images), targets)
        found.backward()
        optimiser.step()
    if setting.device.type == "cuda":
        torch.cuda.synchronize()


def run() -> list[Comparison]:
    setting = Setting()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_celeba(root)
        data = prepared(root, setting)
        net = ResNet(name="resnet18").build(len(PAPER)).to(setting.device).train()
        first = next(ours(data, setting))
        loader = torchvisions(root, setting)
        steps = (
            f"{setting.steps} steps of resnet18 on {setting.batch_size} images "
            f"of {setting.image_size} pixels"
        )
        return [
            compare(
                f"{steps}, prepared and augmented",
                lambda: train(
                    net, chain.from_iterable(ours(data, setting) for _ in count()), setting
                ),
                "on the same batch",
                lambda: train(net, repeat(first), setting),
            ),
            compare(
                f"one epoch of {len(data.splits['train']):,} prepared images, augmented",
                lambda: deque(ours(data, setting), maxlen=0),
                f"torchvision's CelebA, {WORKERS} workers",
                lambda: deque(
                    islice(loader, len(data.train_batches(data.splits["train"]))), maxlen=0
                ),
            ),
        ]
