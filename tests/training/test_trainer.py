import io
import logging
import os
import re
import signal
import sys
import warnings

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from mlu.system import progress
from mlu.system.progress import bars_hidden
from mlu.training.classifier import LOG_EVERY, log_loss
from mlu.training.optimise import Training, optimiser_of
from mlu.training.trainer import TALKERS, lightning_quiet, trainer_of
from tests.support.terminal import terminal

SETTINGS = Training(batch_size=1, lr=0.1, epochs=2)


class Line(L.LightningModule):
    """Trains one weight, and fails at a step where it shall."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.net, self.fails_at = nn.Linear(1, 1), fails_at

    def training_step(self, batch, batch_idx):
        if self.global_step == self.fails_at:
            raise ArithmeticError("no more numbers")
        loss = self.net(batch).square().sum()
        log_loss(self, "original", loss, len(batch), "nothing")
        return loss

    def configure_optimizers(self):
        return optimiser_of(self.net, SETTINGS, 10, [SETTINGS.lr] * SETTINGS.epochs)


class Interrupted(Line):
    """Hears Ctrl-C at its first step."""

    def training_step(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGINT)
        return super().training_step(batch, batch_idx)


def fit(module, **options):
    trainer = trainer_of("original", 2, SETTINGS, logger=False, accelerator="cpu", **options)
    trainer.fit(module, DataLoader(torch.ones(LOG_EVERY, 1)))
    return trainer


def test_the_bar_names_stage_and_epoch_counts_batches_and_shows_the_loss():
    with terminal() as screen:
        fit(Line())
    drawn = screen.lines()
    assert any("original: epoch 1 of 2" in line for line in drawn)
    begun = [line for line in drawn if "original: epoch 2 of 2" in line]
    assert any("0/5" in line for line in begun)
    assert all(re.search(r"loss: \d\.\d{3}", line) for line in begun)


def logged(monkeypatch, caplog, seconds, **options):
    """Lines of a training whose batches take so many seconds, where nobody sees a bar."""
    now = [0.0]

    class Slow(Line):
        def training_step(self, batch, batch_idx):
            now[0] += seconds
            return super().training_step(batch, batch_idx)

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, "mlu"):
        fit(Slow(), **options)
    assert sys.stderr.getvalue() == ""
    ours = [record for record in caplog.records if record.name == progress.__name__]
    return [re.sub(r"loss: \d+\.\d+", "loss", record.getMessage()) for record in ours]


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [
        (1, []),
        (4, ["original: epoch 2 of 2, loss, 0 s left"]),
        (
            10,
            [
                "original: epoch 1 of 2, loss, 50 s left",
                "original: epoch 2 of 2, loss, 0 s left",
            ],
        ),
        (
            80,
            [
                "original: epoch 1 of 2, 8 min left",
                "original: epoch 1 of 2, loss, 7 min left",
                "original: epoch 2 of 2, loss, 80 s left",
                "original: epoch 2 of 2, loss, 0 s left",
            ],
        ),
    ],
)
def test_a_log_hears_a_line_after_each_long_epoch(seconds, lines, monkeypatch, caplog):
    assert logged(monkeypatch, caplog, seconds) == lines


def test_the_time_that_is_left_goes_by_the_most_steps(monkeypatch, caplog):
    (line,) = logged(monkeypatch, caplog, 10, steps=6)
    assert line == "original: epoch 1 of 2, loss, 10 s left"


def test_a_hidden_training_says_nothing(monkeypatch, caplog):
    with bars_hidden():
        assert logged(monkeypatch, caplog, 100) == []


def test_the_bar_is_gone_after_a_training_also_after_one_that_failed():
    for module, failure in ((Line(), None), (Line(fails_at=7), ArithmeticError)):
        with terminal() as screen:
            if failure is None:
                fit(module)
            else:
                with pytest.raises(failure):
                    fit(module)
        assert screen.getvalue().endswith("\x1b[1A\x1b[2K")


def test_a_training_in_a_pipe_prints_nothing(capfd):
    with lightning_quiet():
        fit(Line())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("steps", "taken"), [(None, 2 * LOG_EVERY), (3, 3)])
def test_it_ends_after_its_epochs_or_its_steps(steps, taken):
    assert fit(Line(), steps=steps).global_step == taken


def test_what_lightning_says_comes_back_when_the_block_ends():
    before = [logging.getLogger(name).level for name in TALKERS]
    with lightning_quiet():
        assert all(logging.getLogger(name).level == logging.ERROR for name in TALKERS)
        filters = [str(module) for _, _, _, module, _ in warnings.filters]
    assert any("lightning" in one for one in filters)
    assert [logging.getLogger(name).level for name in TALKERS] == before


def test_ctrl_c_reaches_whoever_has_asked_for_the_training_and_is_heard_again():
    """Lightning of itself would end the process, and ignore what follows."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(Interrupted())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
