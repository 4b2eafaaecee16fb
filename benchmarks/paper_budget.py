"""wp and wf against Retrain under the paper's budget of 50 epochs: time, what is retained, and what attackers read."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Comparison, context_with
from benchmarks.unlearning import against_retrain
from mlu import pipeline, stages
from mlu.report.table import SHOWN

TARGETS = {"wp": 1 / 100, "wf": 1 / 50}
"""Largest share of Retrain's seconds that is good."""
QUALITIES = ("retained accuracy", "read from features")


def run() -> list[Comparison]:
    """The original and Retrain are trained once, here and now; each method runs once with all that is measured."""
    with tempfile.TemporaryDirectory() as outputs:
        Path(outputs, "benchmarks").mkdir()
        contexts = {name: context_with(f"method={name}", "budget=paper", f"outputs={outputs}") for name in TARGETS}
        results = {name: pipeline.walk(context) for name, context in contexts.items()}
        methods = {name: context.experiment.method for name, context in contexts.items()}
        context = contexts["wp"]
        original, retrain = stages.original(context), stages.retrain(context)
        costs = against_retrain(context, methods, original.net, lambda: retrain.cost, TARGETS)
    return [*costs, *(figure for name in TARGETS for figure in qualities(name, results[name]["metrics"]))]


def qualities(method: str, metrics: Mapping[str, Any]) -> Iterator[Comparison]:
    for quality in QUALITIES:
        ours, theirs = (metrics[f"{model}/{SHOWN[quality]}"] for model in ("unlearned", "retrain"))
        yield Comparison(f"{method}, {quality}", "Retrain", "", ours, theirs, ours / theirs)
