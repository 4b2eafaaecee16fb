"""Augmentation of whole batches against torchvision's, image by image."""

import torch
from torchvision.transforms import v2

from benchmarks.measure import Comparison, compare
from mlu.data.augment import DRAWS, JITTER, MAX_SHEAR, SCALES, augment
from mlu.system.seeding import generator

BATCHES, BATCH, SIZE = 10, 64, 64


def run() -> list[Comparison]:
    images = torch.randint(
        0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator(0)
    )
    each = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(
                0, shear=MAX_SHEAR, scale=SCALES, interpolation=v2.InterpolationMode.BILINEAR
            ),
            v2.ColorJitter(JITTER, JITTER, JITTER),
        ]
    )

    def ours() -> None:
        for step in range(BATCHES):
            augment(images, torch.rand(DRAWS, BATCH, generator=generator(step)))

    def torchvisions() -> None:
        for _ in range(BATCHES):
            torch.stack([each(image) for image in images])

    return [compare("augmentation", ours, "torchvision, image by image", torchvisions)]
