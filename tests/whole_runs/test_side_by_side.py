"""Processes that meet in one cache.

A model is trained once, and what a dead process held is free.
"""

import json
import time
from pathlib import Path

import pytest
import torch
from filelock import Timeout

from mlu.launch.build import build
from mlu.launch.check import check_config
from mlu.launch.compose import composed, values_of
from mlu.pipeline.context import context_of
from mlu.pipeline.evidence import digest_of
from mlu.pipeline.trained import original_model
from mlu.system.store import Store
from tests.support.killing import ended, started

SMALL = (
    "dataset.images=120",
    "dataset.image_size=32",
    "training.epochs=2",
    "logger=none",
    "trainer.accelerator=cpu",
)
ASKERS = 8
KEY = {"seed": 1}


def ask(outputs: Path, number: int) -> None:
    """Ask for the original as a run does, and write down what came."""
    torch.set_num_threads(1)
    config = values_of(composed([*SMALL, f"outputs={outputs}"]))
    check_config(config)
    model = original_model(context_of(build(config, outputs)))
    facts = {"cached": model.cost.cached, "weights": digest_of(model.net), "date": model.cost.date}
    (outputs / f"answer{number}").write_text(json.dumps(facts))


def hold(root: Path) -> None:
    """Take the lock of an entry, and never give it back."""
    lock = Store(root).lock("original", KEY)
    lock.acquire()
    (root / "held").touch()
    time.sleep(600)


def test_eight_that_ask_for_the_same_original_train_it_once(tmp_path):
    processes = [started(ask, tmp_path, number) for number in range(ASKERS)]
    assert [ended(process) for process in processes] == [0] * ASKERS
    answers = [json.loads((tmp_path / f"answer{number}").read_text()) for number in range(ASKERS)]
    assert sum(not answer["cached"] for answer in answers) == 1
    assert len({(answer["weights"], answer["date"]) for answer in answers}) == 1
    assert not list(tmp_path.rglob("*.draft"))


def test_the_lock_of_a_dead_process_is_free_at_once(tmp_path):
    store = Store(tmp_path)
    process = started(hold, tmp_path)
    while not (tmp_path / "held").exists():
        assert process.is_alive()
        time.sleep(0.01)
    with pytest.raises(Timeout):
        store.lock("original", KEY).acquire(timeout=0.2)
    with store.claim("original", KEY) as ours:
        assert not ours
    process.kill()
    ended(process)
    # Its file is still there: that is no lock.
    assert list(tmp_path.rglob("*.lock"))
    with store.lock("original", KEY).acquire(timeout=5):
        assert store.get("original", KEY, lambda folder: {}).fresh
