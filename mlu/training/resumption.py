"""The state of a training, kept after every epoch: one that was killed goes on from there."""

import hashlib
import io
import logging
import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import CheckpointIO

from mlu.training.meter import Meter, aside

log = logging.getLogger(__name__)


class Resumption(Callback):
    """Writes a checkpoint at the end of every epoch, which is no part of what training costs.

    Everything else that an epoch depends on (order of images, augmentation, dropout) comes from the
    seed and the step.
    """

    def __init__(self, file: Path, meter: Meter, device: str) -> None:
        """Keep the state of one training in one file.

        Args:
            file: Where the checkpoint is kept.
            meter: Of the training; it goes on counting from where the one before it was when it was
                ended.
            device: Name of what is trained on: on another one training starts anew, since seconds
                would be of both.
        """
        self.file, self.meter, self.device = file, meter, device
        self.spent: dict[str, Any] = {}

    def epochs_done(self, stage: str, epochs: int) -> int:
        """Epochs after which a training may go on from the file.

        0 where that is not whole, or not ours.
        """
        if not self.file.is_file():
            return 0

        try:
            found = read_sealed(self.file)
            device, done = found["callbacks"][self.state_key]["device"], int(found["epoch"]) + 1
        except Exception as fault:  # whatever a broken disk or a stranger has left there
            log.warning(
                "%s: what is left of an earlier training cannot be used (%s): starting anew",
                stage,
                fault,
            )
            return 0

        if device != self.device:
            log.info(
                "%s: an earlier training was ended on %s: starting anew on %s",
                stage,
                device,
                self.device,
            )
            return 0

        log.info("%s: going on after epoch %d of %d", stage, done, epochs)

        return done

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        with aside(self.meter):
            self.spent = self.meter.so_far()
            trainer.save_checkpoint(self.file)

    def state_dict(self) -> dict[str, Any]:
        return {"spent": self.spent, "device": self.device}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.meter.go_on(**state_dict["spent"])


class Sealed(CheckpointIO):
    """Checkpoints that are there as a whole or not at all, with a checksum.

    Reading runs nothing of what is in them.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        file, draft = Path(path), Path(f"{path}.draft")
        with draft.open("wb") as stream:
            stream.write(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())

        draft.replace(file)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_sealed(Path(path), map_location)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink()


def read_sealed(file: Path, map_location: Any = None) -> dict[str, Any]:
    """A checkpoint that `Sealed` has written; raises ValueError where it is something else."""
    content = file.read_bytes()
    size = hashlib.sha256().digest_size
    if hashlib.sha256(content[size:]).digest() != content[:size]:
        raise ValueError(f"{file} has another checksum than when it was written")

    found = torch.load(io.BytesIO(content[size:]), map_location=map_location, weights_only=True)
    assert isinstance(found, dict)

    return found
