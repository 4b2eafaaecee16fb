"""The LightningModule that trains a network from scratch: the original, and Retrain.

Retrain's targets lack a label.
"""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from mlu.data.augment import augmented
from mlu.data.split import Batch
from mlu.models.network import Network
from mlu.models.tasks import Task
from mlu.system.collectives import current_rank, data_parallel
from mlu.system.errors import UserError
from mlu.system.seeding import generator, seed_torch
from mlu.training.optimise import Training, optimiser_of

LOG_EVERY = 5
"""Steps from one loss that is logged to the next: Lightning takes a millisecond for each."""


class Classifier(L.LightningModule):
    """Minimises the mean loss of all targets that are known.

    What must not be learnt is withheld by the data (`Split.withhold`), so that this module cannot
    read it.
    """

    def __init__(self, net: Network, task: Task, training: Training, seed: int, stage: str) -> None:
        """Take what is trained, and how.

        Args:
            net: Trained in place.
            task: Loss of its outputs.
            training: Optimiser and schedule.
            seed: Of augmentation and dropout.
            stage: First part of the logged names, such as `original`.
        """
        super().__init__()
        self.net, self.task, self.training_settings = net, task, training
        self.seed, self.stage = seed, stage

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch.to(device, non_blocking=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        batch = augmented(batch, generator(self.seed, self.global_step))
        # Of this step alone, so that a training that was ended goes on as if it had not been.
        seed_torch(self.seed, self.global_step, current_rank())

        every = range(batch.targets.shape[1])
        scope = self.task.scope(batch.targets, batch.known, every)
        with data_parallel():
            loss = self.task.loss(self.net(batch.images), batch.targets, scope)

        log_loss(self, self.stage, loss, len(batch), self.training_settings.remedy(self.stage))

        return loss

    def configure_optimizers(self) -> Any:
        settings, steps = self.training_settings, int(self.trainer.estimated_stepping_batches)
        return optimiser_of(self.net, settings, steps, [settings.lr] * settings.epochs)


def log_loss(module: L.LightningModule, stage: str, loss: Tensor, images: int, remedy: str) -> None:
    """Show the loss of every LOG_EVERY-th step in the progress bar and the logger.

    It is logged as `<stage>/fit/loss`.

    Args:
        module: That takes the step.
        stage: Such as `original`.
        loss: A scalar.
        images: In the batch.
        remedy: What to do where training diverges.

    Raises:
        UserError: If the loss is not finite, with the remedy.
    """
    if (module.global_step + 1) % LOG_EVERY == 0:
        if not loss.isfinite():
            raise UserError(
                f"the loss is {loss.item():g} after {module.global_step} steps; {remedy}"
            )
        module.log(f"{stage}/fit/loss", loss, prog_bar=True, batch_size=images)
