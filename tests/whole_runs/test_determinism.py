"""The same configuration and seed give the same weights and figures to the last bit, whatever else
differs."""

import json

import pytest

from tests.support.killing import SAID, SMALL, ended, launch, started

RUN = (
    *SMALL,
    "method=wp",
    "training.epochs=2",
    "logger=none",
)


def left_by(outputs, *overrides):
    """Weights and figures of a run."""
    process = started(launch, outputs, (*RUN, f"hydra.run.dir={outputs}/run", *overrides))
    assert ended(process) == 0, (outputs / SAID).read_text()
    results = json.loads((outputs / "run" / "results.json").read_text())
    weights = (outputs / "run" / "unlearned.safetensors").read_bytes()
    return weights, {key: results[key] for key in ("metrics", "missing", "work")}, results


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("first")
    return outputs, left_by(outputs)


@pytest.mark.parametrize("difference", [[], ["trainer.workers=2"]], ids=["anew", "workers"])
def test_a_second_run_leaves_the_same(difference, first, tmp_path):
    weights, figures, results = left_by(tmp_path, *difference)
    assert not results["measured"]["original"]["cached"]
    assert weights == first[1][0]
    assert figures == first[1][1]


def test_models_from_the_cache_give_the_same(first):
    outputs, (weights, figures, _) = first
    again = left_by(outputs)
    assert again[2]["measured"]["original"]["cached"]
    assert again[:2] == (weights, figures)


def test_another_seed_gives_something_else(first, tmp_path):
    weights, figures, _ = left_by(tmp_path, "seed=43")
    assert weights != first[1][0]
    assert figures["metrics"] != first[1][1]["metrics"]
