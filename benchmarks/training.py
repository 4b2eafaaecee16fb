"""Training through Lightning against a bare loop over the same batches."""

import lightning as L
import torch

from benchmarks.measure import Comparison, compare
from mlu.data.augment import augmented
from mlu.data.base import LabelledImages
from mlu.data.divided import ImageData
from mlu.models.backbones import Tiny
from mlu.models.tasks import MultiLabel
from mlu.system.seeding import generator
from mlu.training.classifier import Classifier
from mlu.training.optimise import Training

LABELS, IMAGES, SIZE = 10, 4000, 64
TARGET = 1.05
SETTINGS = Training(
    epochs=1, batch_size=64, lr=0.05, momentum=0.9, weight_decay=5e-4, schedule="constant"
)


def images() -> ImageData:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    targets = torch.randint(0, 2, (IMAGES, LABELS), dtype=torch.uint8, generator=random)
    labels = tuple(f"label{number}" for number in range(LABELS))
    return ImageData(
        LabelledImages("noise", "multilabel", pixels.numpy(), targets.numpy(), labels, "0"), 0, 64
    )


def through_lightning(data: ImageData) -> None:
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Classifier(
        Tiny(name="tiny").build(LABELS), MultiLabel(), SETTINGS, seed=0, stage="benchmark"
    )
    trainer.fit(module, data.train_batches(data.splits["train"]))


def bare_loop(data: ImageData) -> None:
    net = Tiny(name="tiny").build(LABELS)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    loss = torch.nn.BCEWithLogitsLoss()
    for step, batch in enumerate(data.train_batches(data.splits["train"])):
        optimiser.zero_grad()
        loss(net(augmented(batch, generator(0, step)).images), batch.targets).backward()
        optimiser.step()


def run() -> list[Comparison]:
    data = images()
    return [
        compare(
            "one epoch",
            lambda: through_lightning(data),
            "bare loop",
            lambda: bare_loop(data),
            TARGET,
        )
    ]
