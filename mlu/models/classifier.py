"""The LightningModule that trains a network from scratch: the original, and Retrain on targets that lack a label."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from mlu.data.augment import augmented
from mlu.data.split import Batch
from mlu.models.network import Network
from mlu.optimise import Training, optimiser_of
from mlu.progress import log_loss
from mlu.seeding import generator
from mlu.sharing import pooling
from mlu.tasks import Task


class Classifier(L.LightningModule):
    """Minimises the mean loss of all targets that are known.

    What must not be learnt is withheld by the data (`Split.withhold`), so that this module cannot read it.
    """

    def __init__(self, net: Network, task: Task, training: Training, seed: int, stage: str) -> None:
        """
        Args:
            net: Trained in place.
            task: Loss of its outputs.
            training: Optimiser and schedule.
            seed: Of the augmentation.
            stage: First part of the logged names, such as `original`.
        """
        super().__init__()
        self.net, self.task, self.training_settings, self.seed, self.stage = net, task, training, seed, stage

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device, non_blocking=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        batch = augmented(batch, generator(self.seed, self.global_step))
        every = range(batch.targets.shape[1])
        scope = self.task.scope(batch.targets, batch.known, every)
        with pooling():
            loss = self.task.loss(self.net(batch.images), batch.targets, scope)
        log_loss(self, self.stage, loss, len(batch))
        return loss

    def configure_optimizers(self) -> Any:
        settings, steps = self.training_settings, int(self.trainer.estimated_stepping_batches)
        return optimiser_of(self.net, settings, steps, [settings.lr] * settings.epochs)
