"""The LightningModule that wraps any method: start from its edit, minimise its objective, stay within its bounds."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor

from mlu.contracts import Edit, Method, Problem
from mlu.data.augment import augment
from mlu.data.split import Batch
from mlu.edits import constrain
from mlu.models.batch_norm import recalibrate
from mlu.optimise import sgd
from mlu.seeding import generator

RECALIBRATION_BATCH = 256
"""Most images per pass of batch-norm recalibration."""


class Unlearner(L.LightningModule):
    """Fine-tunes an edited copy of a network; `net` is the result."""

    def __init__(self, method: Method, problem: Problem, edit: Edit) -> None:
        """
        Args:
            method: Its objective and its fine-tuning.
            problem: With the network to start from: the original, or what an earlier round left.
            edit: Applied to a copy of it.
        """
        super().__init__()
        self.method, self.problem, self.edit = method, problem, edit
        # Lightning keeps the mode it finds; with the stored statistics of other weights, fine-tuning would diverge.
        self.net = copy.deepcopy(problem.net).requires_grad_(True).train()
        self.parameters_by_name = dict(self.net.named_parameters())
        with torch.no_grad():
            for name, value in edit.weights.items():
                self.parameters_by_name[name].copy_(value)
        self.before: dict[str, Tensor] = {}
        self.centre = {name: self.parameters_by_name[name].detach().clone() for name in edit.radius}

    def renew_statistics(self) -> None:
        """Batch-norm statistics of the edited weights, from plain training images."""
        recalibrate(self.net, calibration_images(self.problem, self.method.tuning.recalibrate))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images = augment(batch.images, generator(self.problem.seed, self.global_step))
        loss = self.method.objective(
            self.net, Batch(images, batch.targets, batch.known), self.problem, self.current_epoch
        )
        self.log("loss", loss, prog_bar=True, logger=False, batch_size=len(batch))
        self.log("unlearned/fit/loss", loss, batch_size=len(batch))
        return loss

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        before = {name: self.parameters_by_name[name].detach().clone() for name in self.edit.rate}
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        stopped = constrain(self.parameters_by_name, before, self.centre, self.edit.radius, self.edit.rate)
        for name, where in stopped.items():
            momentum = optimizer.state[self.parameters_by_name[name]].get("momentum_buffer")
            if momentum is not None:
                momentum.masked_fill_(where, 0)

    def configure_optimizers(self) -> Any:
        tuning = self.method.tuning
        return sgd(self.net, tuning.lr, tuning.momentum, tuning.weight_decay, tuning.schedule, tuning.steps)


def calibration_images(problem: Problem, images: int) -> Iterator[Tensor]:
    """At most `images` plain training images, seeded, in batches of one size (to within one) on the problem's device.

    None where there is but one: it has no variance.
    """
    rows = torch.randperm(len(problem.train), generator=problem.generator())[:images]
    if len(rows) > 1:
        for chosen in rows.tensor_split(math.ceil(len(rows) / RECALIBRATION_BATCH)):
            yield problem.train[chosen].images.to(problem.device)
