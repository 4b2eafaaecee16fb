from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from mlu.data.split import Batch
from mlu.models.tasks import MultiLabel
from mlu.system.errors import UserError
from mlu.system.seeding import generator
from mlu.training.classifier import LOG_EVERY, Classifier
from mlu.training.optimise import Training
from mlu.training.trainer import trainer_of
from tests.support.made_nets import LABELS, assert_equal, tiny

SETTINGS = Training(batch_size=4, lr=0.05, epochs=1)


def made_batches(count=LOG_EVERY):
    """Random images, and targets of which every third is not known."""
    found = []
    for number in range(count):
        random = generator(0, number)
        images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=random)
        targets = torch.randint(0, 2, (4, LABELS), generator=random).float()
        known = torch.arange(targets.numel()).view_as(targets) % 3 != 0
        found.append(Batch(images, targets, known))
    return found


def trained(batches, seed=0, settings=SETTINGS):
    """The module, and what its trainer logged."""
    module = Classifier(tiny(1).train(), MultiLabel(), settings, seed, "original")
    trainer = trainer_of("original", 1, settings, logger=False, accelerator="cpu")
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return module, trainer.logged_metrics


def test_targets_that_are_not_known_are_not_read():
    batches = made_batches()
    others = [
        replace(batch, targets=torch.where(batch.known, batch.targets, 1 - batch.targets))
        for batch in batches
    ]
    assert_equal(trained(batches)[0].net, trained(others)[0].net)


def test_what_is_drawn_depends_on_the_seed_and_the_step_alone():
    one, _ = trained(made_batches(), seed=3)
    torch.rand(7)
    same, _ = trained(made_batches(), seed=3)
    other, _ = trained(made_batches(), seed=4)
    assert_equal(one.net, same.net)
    assert not torch.equal(one.net.head.weight, other.net.head.weight)


def test_the_loss_is_logged_under_the_stages_name():
    _, logged = trained(made_batches())
    assert list(logged) == ["original/fit/loss"]
    assert 0 < logged["original/fit/loss"] < 10


def test_a_training_that_diverges_ends_with_what_to_do():
    with pytest.raises(UserError, match=r"^the loss is (nan|inf) after \d+ steps; original: ") as e:
        trained(made_batches(), settings=replace(SETTINGS, lr=1e30))
    assert "training.lr=1e+30" in str(e.value)
