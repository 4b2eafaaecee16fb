"""Memory at the peak of unlearning by wp and wf, against a training step; and what jobs leave in a
sweep's process."""

import copy
import tempfile
from pathlib import Path

from benchmarks.measure import (
    Comparison,
    compare_memory,
    context_with,
    method_named,
    quiet_trainer,
    sweep,
    training_steps,
)
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import problem_of
from mlu.unlearning.unlearner import carry_out

FIRST, LAST = 2, 8
"""Jobs after which a sweep's process is looked at."""


def run() -> list[Comparison]:
    context = context_with("dataset.images=2000", "trainer.accelerator=cpu")
    problem, size = (
        problem_of(context, original_model(context).net),
        context.data.batch_size,
    )
    trained = copy.deepcopy(problem.net).requires_grad_(True)
    batches = [batch for batch, _ in zip(problem.train.batches(size), range(3), strict=False)]
    peaks = [
        compare_memory(
            f"unlearning by {name}",
            lambda name=name: carry_out(
                method_named(name), problem, quiet_trainer, context.data.train_batches
            ),
            f"a training step on {size} images",
            lambda: training_steps(trained, context.task, batches),
        )
        for name in ("wp", "wf")
    ]
    return [*peaks, growth()]


def growth() -> Comparison:
    """Of the process of a sweep whose jobs find everything in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "resident")
        sweep("original", 1, f"{folder}/warm")
        sweep(
            "original",
            LAST,
            f"{folder}/sweep",
            "+hydra.callbacks.resident._target_=benchmarks.resident.Resident",
            f"+hydra.callbacks.resident.file={file}",
        )
        held = [float(line) for line in file.read_text().splitlines()]
    early, late = held[FIRST - 1], held[LAST - 1]
    more = (late - early) / (LAST - FIRST)
    return Comparison(
        "kept by each further job of a sweep",
        f"all after {FIRST} jobs",
        "MB",
        more,
        early,
        more / early,
    )
