"""A training that is ended after any epoch goes on from there, and ends as if it had not been."""

import hashlib
import io
import logging
import pickle
import time
from collections import OrderedDict

import pytest
import torch
from torch import nn

from mlu.models.network import Network
from mlu.pipeline.context import context_of
from mlu.pipeline.trained import from_scratch
from mlu.training import classifier
from mlu.training.resumption import Resumption, Sealed, read_sealed
from mlu.training.team import team_of

pytestmark = pytest.mark.usefixtures("quick_processes")

EPOCHS = 3
SMALL = ("dataset.images=120", f"training.epochs={EPOCHS}", "method=original")
KINDS = {
    "one cycle": [],
    "constant": ["training.schedule=constant"],
    "warm restarts": ["training.schedule=warm_restarts"],
    "adam": ["+training.optimiser=adam"],
    "workers": ["trainer.workers=1"],
}


@pytest.fixture
def train(experiment, tmp_path):
    """Trains on small data in some number of epochs, or all that are left; returns weights and
    cost."""

    def from_overrides(*overrides: str, last: int | None = None, name: str = "progress", **others):
        context = context_of(experiment(*SMALL, *overrides), **others)
        net, meter = ending(context, last, tmp_path / name)
        return net.state_dict(), meter

    return from_overrides


def ending(context, last, progress):
    """A training that ends after its epoch `last`, which leaves on disk what a killed one does."""
    whole = Resumption.on_train_epoch_end

    def cut(self, trainer, module):
        whole(self, trainer, module)
        trainer.should_stop = last is not None and trainer.current_epoch + 1 >= last

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resumption, "on_train_epoch_end", cut)
        return from_scratch(context, "original", context.train, progress)


def test_what_an_ended_training_comes_to_is_what_an_undisturbed_one_does(train):
    for name, overrides in KINDS.items():
        whole, cost = train(*overrides, name=f"{name} whole")
        for last in range(1, EPOCHS + 1):
            train(*overrides, last=last, name=f"{name} {last}")
            found, again = train(*overrides, name=f"{name} {last}")
            torch.testing.assert_close(
                found, whole, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}"
            )
            assert (again.forward, again.backward) == (cost.forward, cost.backward)


def test_only_the_epochs_that_are_left_are_trained(train, monkeypatch):
    seen, step = [], classifier.Classifier.training_step
    monkeypatch.setattr(
        classifier.Classifier,
        "training_step",
        lambda self, *given: seen.append(self.current_epoch) or step(self, *given),
    )
    _, early = train(last=2)
    assert set(seen) == {0, 1}
    seen.clear()
    _, all_of_it = train()
    assert set(seen) == {2}
    assert all_of_it.forward == early.forward * EPOCHS // 2
    assert all_of_it.seconds["total"] > early.seconds["total"]


class Forgetful(Network):
    """Drops half of its features out while it learns."""

    @classmethod
    def build(cls, labels: int) -> Network:
        parts = [
            ("flat", nn.Flatten()),
            ("mix", nn.Linear(3 * 32 * 32, 16)),
            ("drop", nn.Dropout()),
        ]
        return Network(OrderedDict(parts), 16, labels)


@pytest.mark.parametrize("seeded", [True, False])
def test_dropout_is_drawn_for_each_step_anew(seeded, train, monkeypatch):
    monkeypatch.setattr(
        "mlu.models.backbones.Tiny.build", lambda self, labels: Forgetful.build(labels)
    )
    if not seeded:
        monkeypatch.setattr(classifier, "seed_torch", lambda *numbers: None)
    whole, _ = train(name="whole")
    train(last=1)
    torch.rand(7)  # another process has drawn other numbers by then
    found, _ = train()
    assert seeded == all(torch.equal(found[name], whole[name]) for name in whole)


def test_two_processes_go_on_together(experiment, tmp_path):
    with team_of(2, torch.device("cpu")) as team:
        context = context_of(experiment(*SMALL), team)
        whole, cost = team.run(ending, context, None, tmp_path / "whole")
        team.run(ending, context, 1, tmp_path / "cut")
        found, again = team.run(ending, context, None, tmp_path / "cut")
    torch.testing.assert_close(found.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert (again.forward, again.backward) == (cost.forward, cost.backward)


def sealed(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def flipped(file, marker):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file, marker):
    file.write_bytes(file.read_bytes()[:-100])


def emptied(file, marker):
    file.write_bytes(b"")


def foreign(file, marker):
    content = io.BytesIO()
    torch.save({"epoch": 1}, content)
    file.write_bytes(sealed(content.getvalue()))


def malicious(file, marker):
    content = io.BytesIO()
    torch.save({"epoch": 1, "callbacks": Bomb(marker)}, content)
    file.write_bytes(sealed(content.getvalue()))


def bare_pickle(file, marker):
    file.write_bytes(sealed(pickle.dumps(Bomb(marker), protocol=2)))


@pytest.mark.parametrize("spoil", [flipped, cut, emptied, foreign, malicious, bare_pickle])
def test_what_cannot_be_trusted_is_named_and_training_starts_anew(spoil, train, tmp_path, caplog):
    whole, cost = train(name="whole")
    train(last=2)
    spoil(tmp_path / "progress", tmp_path / "marker")
    with caplog.at_level(logging.WARNING):
        found, again = train()
    assert "original: what is left of an earlier training cannot be used" in caplog.text
    assert not (tmp_path / "marker").exists()
    assert again.forward == cost.forward
    torch.testing.assert_close(found, whole, rtol=0, atol=0)


def test_a_bomb_would_go_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker"))).close()
    assert (tmp_path / "marker").exists()


def test_another_device_starts_anew(train, monkeypatch, caplog):
    train(last=2)
    monkeypatch.setattr("mlu.pipeline.trained.device_name", lambda team: "another processor")
    with caplog.at_level(logging.INFO):
        _, again = train()
    assert "starting anew on another processor" in caplog.text
    assert again.forward == train(name="whole")[1].forward


def test_a_checkpoint_is_there_as_a_whole_or_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "progress"
    Sealed().save_checkpoint({"epoch": 1}, file)
    monkeypatch.setattr(
        "os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space left"):
        Sealed().save_checkpoint({"epoch": 2}, file)
    assert read_sealed(file) == {"epoch": 1}


def test_writing_checkpoints_is_no_part_of_the_cost(train, monkeypatch):
    slow, save = 0.3, Sealed.save_checkpoint
    monkeypatch.setattr(
        Sealed, "save_checkpoint", lambda *given, **named: time.sleep(slow) or save(*given, **named)
    )
    start = time.perf_counter()
    _, meter = train(last=2)
    assert time.perf_counter() - start - meter.seconds["total"] >= 2 * slow
    assert meter.seconds["total"] > 0
