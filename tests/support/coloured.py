"""Noisy images whose labels show as colours, and networks that know them, hide them or lack them.

Label c adds to colour c, so that it can be seen at once.
"""

import copy
from functools import cache

import numpy as np
import torch

from mlu.attacks.contract import Victim
from mlu.data.split import Split
from mlu.models.backbones import Tiny
from mlu.models.outputs import Answers, outputs_of, respond
from mlu.models.tasks import ForgetRequest, MultiLabel, SingleLabel, task_of

LABELS, SIZE = 3, 6
SPLITS = {"train": range(40), "validation": range(40, 160), "test": range(160, 240)}
TASKS = (MultiLabel(), SingleLabel())


class Watched:
    """Images that remember which were asked for, and whether to learn from them."""

    def __init__(self, pixels):
        self.pixels, self.asked = pixels, []

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, rows):
        self.asked.append((np.array(rows), torch.is_grad_enabled()))
        return self.pixels[rows]

    def learnt_from(self):
        return [rows for rows, learning in self.asked if learning]


def coloured(task, seed=0):
    """Splits of noisy images; two images show one person."""
    random = np.random.default_rng(seed)
    images = sum(map(len, SPLITS.values()))
    targets = random.random((images, LABELS)) < 0.5
    if task.name == "singlelabel":
        targets = np.eye(LABELS)[random.integers(0, LABELS, images)]

    pixels = random.normal(70, 25, (images, 3, SIZE, SIZE)) + 90 * targets[:, :, None, None]
    pixels = Watched(pixels.clip(0, 255).astype(np.uint8))
    targets = torch.from_numpy(np.asarray(targets)).float()

    return {
        name: Split(
            pixels,
            np.array(rows),
            targets[list(rows)],
            targets[list(rows)] >= 0,
            np.array(rows) // 2,
        )
        for name, rows in SPLITS.items()
    }


@cache
def knowing(name):
    """A network that has learnt a task; shared, so nothing may write to it."""
    task = task_of(name)
    torch.manual_seed(0)
    net = Tiny(name="tiny", widths=(8, 8)).build(LABELS).train()
    batch = coloured(task)["train"][range(40)]
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(150):
        loss = task.loss(
            net(batch.images),
            batch.targets,
            torch.ones(40, *[LABELS] * (task.name == "multilabel")),
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return net.eval()


def silenced(net, task, columns=(0,)):
    net = copy.deepcopy(net)
    task.silence(net.head, columns, torch.tensor([0.2, 0.5, 0.5]))
    return net


def blind(net, task, columns=(0,)):
    """Silent, and red is not seen (of classes, whose absence tells as much, no colour).

    It really lacks the label.
    """
    net = silenced(net, task, columns)
    with torch.no_grad():
        net.body.block1.conv.weight[:, columns if task.name == "multilabel" else slice(None)] = 0
    return net


def coloured_victim(task=TASKS[0], done=lambda net, task: net, columns=(0,), seed=0):
    """A victim whose original is the trained network, by task and by what was done to that."""
    splits = coloured(task)
    outputs = {
        name: outputs_of(part, Answers(respond(knowing(task.name), part)[0]))
        for name, part in splits.items()
    }
    splits["test"].images.asked.clear()
    request = ForgetRequest(columns, tuple({0, 1, 2} - {*columns}))

    return Victim(
        net=done(knowing(task.name), task),
        task=task,
        request=request,
        splits=splits,
        outputs=outputs,
        canaries=None,
        original=outputs,
        retrain=None,
        seed=seed,
        labels=("Red", "Green", "Blue"),
        original_net=knowing(task.name),
    )
