import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from mlu.training.optimise import LOWEST_RESTART, Training, Tuning, optimiser_of


class Recorder(L.LightningModule):
    """Trains one weight and notes the learning rate of every step."""

    def __init__(self, settings, steps, lrs):
        super().__init__()
        self.net, self.settings, self.steps, self.wanted, self.seen = (
            nn.Linear(1, 1),
            settings,
            steps,
            lrs,
            [],
        )

    def training_step(self, batch, batch_idx):
        self.seen.append(self.optimizers().param_groups[0]["lr"])
        return self.net(batch).sum()

    def configure_optimizers(self):
        return optimiser_of(self.net, self.settings, self.steps, self.wanted)


def rates(settings, epochs, batches=4, lrs=None):
    """Learning rate of each step of a real training."""
    module = Recorder(settings, epochs * batches, lrs or [settings.lr] * epochs)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.ones(batches, 1)))
    return module.seen


def test_a_constant_rate_is_that_of_each_epoch():
    settings = Tuning(lr=0.1, epochs=3)
    assert rates(settings, 3, lrs=[0.1, 0.02, 0.3]) == pytest.approx(
        [0.1] * 4 + [0.02] * 4 + [0.3] * 4
    )


def test_one_cycle_rises_to_the_peak_and_ends_near_zero():
    seen = rates(Training(epochs=5, batch_size=1, lr=0.2, schedule="one_cycle"), 5)
    assert max(seen) == pytest.approx(0.2, rel=0.05)
    assert seen[0] == pytest.approx(0.2 / 25)
    assert seen[-1] < 1e-4


def test_warm_restarts_are_cosine_cycles_of_one_two_and_four_epochs():
    batches, lr = 6, 0.1
    seen = rates(Tuning(lr=lr, epochs=7, schedule="warm_restarts"), 7, batches)
    expected, low = [], LOWEST_RESTART * lr
    for epochs in (1, 2, 4):
        steps = epochs * batches
        progress = torch.arange(steps) / steps
        expected += (low + (lr - low) * (1 + torch.cos(torch.pi * progress)) / 2).tolist()
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_the_optimiser_has_its_settings(name, kind):
    settings = Tuning(lr=0.1, optimiser=name, momentum=0.8, weight_decay=0.3, steps=1)
    optimiser = optimiser_of(nn.Linear(1, 1), settings, 1, [0.1])["optimizer"]
    assert type(optimiser) is kind
    group = optimiser.param_groups[0]
    assert group["weight_decay"] == 0.3
    assert group.get("momentum", 0.8) == 0.8


def test_fine_tuning_ends_with_its_epochs_or_its_steps():
    assert Tuning(epochs=3).epochs_of(7) == 3
    assert Tuning(steps=15).epochs_of(7) == 3
    assert Tuning(steps=14).epochs_of(7) == 2
    assert Tuning(epochs=1, steps=15).epochs_of(7) == 1
    assert Tuning(epochs=5, steps=0).epochs_of(7) == 0
