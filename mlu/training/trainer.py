"""Lightning's Trainer as every training here uses it.

In a terminal it shows a progress bar, and nothing else; in a log a line per epoch, where it is
long.
"""

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from mlu.models.network import Network
from mlu.system.progress import PACE, ProgressBar, progress_bar
from mlu.training.classifier import LOG_EVERY
from mlu.training.optimise import Optimisation

TALKERS = ("lightning.pytorch", "lightning.fabric")
"""Loggers of Lightning's start-up notes."""

LONG_EPOCH = 10 * PACE
"""Seconds after which a log gets a line before an epoch is over."""


class TrainingBar(Callback):
    """Drives the progress bar: the stage's name, its epochs, the batches of one, and the loss.

    Without a terminal a long training says a line after each epoch, and within those that are long.
    """

    bar: ProgressBar

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.shown = ExitStack()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar = self.shown.enter_context(progress_bar(self.stage, 0, "steps"))
        if self.bar.lines is not None:
            self.bar.lines.counted = share_done(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.restart(f"{self.stage}: {epoch_text(trainer)}", int(trainer.num_training_batches))

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        if self.bar.shown:
            self.bar.advance(1, loss_text(trainer))
        else:
            self.say_if_due(trainer, LONG_EPOCH)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.say_if_due(trainer, PACE)

    def say_if_due(self, trainer: L.Trainer, pace: float) -> None:
        """Say a line, where there are lines and the last one was said so long ago."""
        lines = self.bar.lines
        if lines is not None and lines.are_due(pace):
            told = [f"{self.stage}: {epoch_text(trainer)}", loss_text(trainer)]
            lines.say(", ".join(filter(None, told)), share_done(trainer))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.shown.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self.shown.close()


def epoch_text(trainer: L.Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"


def loss_text(trainer: L.Trainer) -> str:
    """The losses that a training shows; empty before there is one."""
    metrics = trainer.progress_bar_metrics.items()
    return " ".join(f"{name.rpartition('/')[2]}: {value:.3f}" for name, value in metrics)


def share_done(trainer: L.Trainer) -> float:
    """Share of its steps that a training has done, in [0, 1]."""
    batches = trainer.num_training_batches
    total = batches * (trainer.max_epochs or 0)
    if trainer.max_steps >= 0:
        total = min(total, trainer.max_steps)

    return min(trainer.global_step / total, 1.0) if total else 1.0


class Interruptible(Callback):
    """Lets Ctrl-C through to whoever has asked for the training.

    Lightning would end the process itself, with an exit code of its own, and hear no second one.
    """

    def __init__(self) -> None:
        self.heard_by = signal.getsignal(signal.SIGINT)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, KeyboardInterrupt):
            signal.signal(signal.SIGINT, self.heard_by)
            raise exception


class Compiled(Callback):
    """Has `torch.compile` make the stages of a network faster while it is trained."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Each for itself, so that what looks at a whole body, such as a meter, still sees it
        # called.
        for stage in stages_of(pl_module):
            stage.compile(backend=self.backend)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for stage in stages_of(pl_module):
            stage._compiled_call_impl = None


def stages_of(module: L.LightningModule) -> list[nn.Module]:
    """Stages of the network that a module trains."""
    net = module.net
    assert isinstance(net, Network)
    return list(net.body.children())


def trainer_of(
    stage: str,
    epochs: int,
    settings: Optimisation,
    steps: int | None = None,
    compile: str | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> L.Trainer:
    """Trains for some epochs, or for some steps where these are fewer.

    Args:
        stage: What is trained, for the progress bar.
        epochs: Passes over what its loader gives.
        settings: Its `clip` counts here.
        steps: Most optimiser steps; None for no limit.
        compile: Backend of `torch.compile` for the network's stages; None for none.
        callbacks: Besides the progress bar.
        **options: Further arguments of Lightning's Trainer.
    """
    compiled = [] if compile is None else [Compiled(compile)]

    return L.Trainer(
        **options,
        max_epochs=epochs,
        max_steps=-1 if steps is None else steps,
        gradient_clip_val=settings.clip,
        log_every_n_steps=LOG_EVERY,
        # A method may go through other images in every epoch.
        reload_dataloaders_every_n_epochs=1,
        # Of those that end with the training the last, since those behind it are not asked.
        callbacks=[TrainingBar(stage), *compiled, *callbacks, Interruptible()],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def quiet_lightning() -> None:
    """Keep Lightning's notes and advice out of the terminal; what goes wrong still shows."""
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    for name in TALKERS:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def lightning_quiet() -> Iterator[None]:
    """Keep Lightning quiet until the block ends: a program that calls us may want its notes."""
    levels = {name: logging.getLogger(name).level for name in TALKERS}
    with warnings.catch_warnings():
        quiet_lightning()
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
