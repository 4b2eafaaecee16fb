"""Scores of all labels and the diagonal of the curvature, against forward and backward passes over
the same images."""

import torch

from benchmarks.measure import Comparison, compare, compare_memory, training_steps
from mlu.data.split import Batch
from mlu.methods.parts.scoring import MEAN_BATCH
from mlu.models.backbones import Tiny
from mlu.models.tasks import MultiLabel
from mlu.scores.curvature import diagonal
from mlu.scores.gradients import all_weights, sensitivity
from mlu.system.seeding import generator

LABELS, IMAGES, SIZE = 10, 1024, 64
SIGNS = 32
"""Images per random-sign draw of the diagonal."""


def run() -> list[Comparison]:
    torch.manual_seed(0)
    net, task = Tiny(name="tiny").build(LABELS).eval(), MultiLabel()
    random = generator(0)
    images = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    targets = torch.randint(0, 2, (IMAGES, LABELS), generator=random).float()
    known, columns = (
        torch.ones_like(targets, dtype=torch.bool),
        {str(label): (label,) for label in range(LABELS)},
    )

    def batches(size: int) -> list[Batch]:
        return [
            Batch(images[rows], targets[rows], known[rows])
            for rows in torch.arange(IMAGES).split(size)
        ]

    def scores() -> None:
        weights = all_weights(net)
        sensitivity(net, task, batches(MEAN_BATCH), columns, weights)
        diagonal("ggn", net, task, batches(SIGNS), {"all": range(LABELS)}, weights, generator(1))

    def passes() -> None:
        for batch in batches(MEAN_BATCH):
            scope = task.scope(batch.targets, batch.known, range(LABELS))
            task.loss(net(batch.images), batch.targets, scope).backward()
            net.zero_grad()

    name = f"{LABELS} sensitivities and the diagonal"
    return [
        compare(name, scores, "one forward and backward pass", passes),
        # In batches of the size of both budgets.
        compare_memory(
            name,
            scores,
            "a training step",
            lambda: training_steps(net, task, batches(MEAN_BATCH)[:3]),
        ),
    ]
