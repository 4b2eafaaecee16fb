"""A problem that a small network has learnt: label k makes channel k bright. Label or class 0 is to
be forgotten."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from mlu.data.augment import augmented
from mlu.data.base import TaskName
from mlu.data.divided import ShuffledBatches
from mlu.data.split import Split
from mlu.models.network import Network
from mlu.models.tasks import ForgetRequest, task_of
from mlu.system.seeding import generator
from mlu.unlearning.contract import Method, Problem
from mlu.unlearning.unlearner import carry_out

BASE_RATE = 0.25
"""Of what is forgotten: whoever knows this alone never predicts it."""


def bright(images: int, task: TaskName, seed: int) -> Split:
    """Channels 0, 1, 2 are dim or bright, each pixel with noise; of a single-label task class 3 has
    none bright."""
    draw = torch.Generator().manual_seed(seed)
    if task == "singlelabel":
        targets = nn.functional.one_hot(torch.arange(images) % 4, 4).float()
    else:
        targets = torch.randint(0, 2, (images, 3), generator=draw).float()
        targets[:, 0] = (torch.arange(images) % round(1 / BASE_RATE) == 0).float()
    level = 96 + 64 * targets[:, :3, None, None] + 18 * torch.randn(images, 3, 1, 1, generator=draw)
    pixels = (
        (level + 16 * torch.randn(images, 3, 8, 8, generator=draw)).clamp(0, 255).to(torch.uint8)
    )
    rows = np.arange(images)
    return Split(pixels.numpy(), rows, targets, torch.ones_like(targets, dtype=torch.bool), rows)


def small_net(labels: int, norm: bool) -> Network:
    torch.manual_seed(0)
    stages: OrderedDict[str, nn.Module] = OrderedDict(conv=nn.Conv2d(3, 8, 3, padding=1))
    if norm:
        stages["bn"] = nn.BatchNorm2d(8)
    stages |= OrderedDict(relu=nn.ReLU(), pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    return Network(stages, features=8, labels=labels).double()


@contextmanager
def one_thread() -> Iterator[None]:
    """For what is so small that a second thread only waits for the first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
@one_thread()
def learnt_problem(task: TaskName = "multilabel", norm: bool = False) -> Problem:
    """In float64; with or without batch norm. Shared: nothing may write to it."""
    train, validation = bright(256, task, seed=1), bright(256, task, seed=2)
    labels = train.targets.shape[1]
    net, meaning = small_net(labels, norm), task_of(task)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for step in range(150):
        rows = torch.randperm(len(train), generator=generator(3, step))[:64]
        batch = train[rows]
        optimiser.zero_grad()
        logits = net(augmented(batch, generator(4, step)).images)
        meaning.loss(
            logits, batch.targets, meaning.scope(batch.targets, batch.known, range(labels))
        ).backward()
        optimiser.step()
    optimiser.zero_grad()
    net.eval().requires_grad_(False)
    request = ForgetRequest((0,), tuple(range(1, labels)))
    return Problem(net, net, meaning, request, train, validation, seed=0)


def brief_problem(task: TaskName = "multilabel", norm: bool = True) -> Problem:
    """The same with fewer training images, for what is no question of how much is learnt."""
    problem = learnt_problem(task, norm)
    return replace(problem, train=problem.train.subset(torch.arange(96)))


def unlearnt(method: Method, problem: Problem) -> Network:
    """The network that the method leaves, by the real road."""

    def loader(split, size, seed):
        return DataLoader(split, batch_size=None, sampler=ShuffledBatches(len(split), size, seed))

    def trainers(stage, epochs, tuning, steps):
        return L.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            max_steps=-1 if steps is None else steps,
            gradient_clip_val=tuning.clip,
            reload_dataloaders_every_n_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        )

    return carry_out(method, problem, trainers, loader)
