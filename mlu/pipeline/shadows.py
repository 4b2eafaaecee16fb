"""Shadow models: trained as a model was, each on the images of half of all people, and treated as
it was."""

import contextlib
import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from mlu.attacks.contract import Shadows
from mlu.data.split import Split, united_splits
from mlu.methods.retrain import Retrain
from mlu.models.network import Network
from mlu.pipeline.canaries import planted
from mlu.pipeline.context import Context, Model
from mlu.pipeline.stages import cached, from_scratch, from_scratch_without, unlearn_in_turn
from mlu.system.collectives import threads_each
from mlu.system.process import end_with_parent, tune_process
from mlu.system.store import code_digest, digest
from mlu.training.meter import Meter
from mlu.training.trainer import quiet_lightning
from mlu.unlearning.contract import Method

log = logging.getLogger(__name__)

METHOD_CODE = (
    "mlu.unlearning.contract",
    "mlu.unlearning.edits",
    "mlu.methods",
    "mlu.scores",
    "mlu.unlearning.unlearner",
)
"""What an unlearned model depends on besides what a trained one does."""

Treatment = Method | Retrain | None
"""What a model went through after training; Retrain: training without the forgotten targets
instead. None: nothing."""


def shadows_of(context: Context, treatment: Treatment, count: int, jobs: int) -> Shadows:
    """What `count` shadow models say, found in the cache or trained.

    Args:
        context: Of the model that they stand for.
        treatment: What that model went through.
        count: Even: everybody's images are in the training of half of them. With canaries all
            training images are, and everybody's forgotten targets in half.
        jobs: How many are trained side by side, in processes of their own that share the processor.
    """
    pool = context.data.splits["train"]
    if context.canaries is None:
        pool = united_splits(pool, context.data.splits["test"])
    else:
        pool = planted(
            pool, context.request, replace(context.canaries, supervised=np.ones(len(pool), bool))
        )

    inside = halves(pool.identities, count, context.experiment.seed)
    all_but_number = (replace(context, logger=None), treatment, pool, inside)
    recipes = [recipe(*all_but_number, number) for number in range(count)]
    lacking = [
        number
        for number, (own, stage, key) in enumerate(recipes)
        if not own.store.holds(stage, key)
    ]
    one, make = partial(shadow, *all_but_number), partial(make_unless_claimed, *all_but_number)
    if jobs > 1 and lacking:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            jobs, spawn, initializer=share_processor, initargs=(jobs,)
        ) as processes:
            done = processes.map(partial(make_silently, make), lacking)
            list(track(done, description=f"{len(lacking)} shadow models", total=len(lacking)))
    else:
        for number in lacking:
            make(number)

    # Those that another process was making are waited for here, and what it left unmade is made.
    with threads_shared(jobs):
        said = [
            {name: outputs.logits for name, outputs in one(number).outputs.items()}
            for number in range(count)
        ]

    return Shadows(
        inside, {name: torch.stack([logits[name] for logits in said]) for name in said[0]}
    )


def shadow(
    context: Context, treatment: Treatment, pool: Split, inside: np.ndarray, number: int
) -> Model:
    """One of them, `number` from 0; what it says of all images."""
    own, stage, key = recipe(context, treatment, pool, inside, number)
    name = f"shadow model {number + 1} of {len(inside)}"

    def make(progress: Path) -> tuple[Network, Meter]:
        if treatment is None:
            return from_scratch(own, name, own.train, progress)
        if isinstance(treatment, Retrain):
            return from_scratch_without(own, f"{name}, retrained", progress)
        source = shadow(context, None, pool, inside, number)
        log.info("%s: unlearning by %s", name, treatment.name)
        return unlearn_in_turn(own, treatment, source.net)

    return cached(own, stage, key, make, exposed=())


def make_unless_claimed(
    context: Context, treatment: Treatment, pool: Split, inside: np.ndarray, number: int
) -> None:
    """Make one of them, unless another process is at it or has done it: so jobs that need the same
    divide them."""
    own, stage, key = recipe(context, treatment, pool, inside, number)
    with own.store.claim(stage, key) as ours:
        if ours and not own.store.holds(stage, key):
            shadow(context, treatment, pool, inside, number)


def recipe(
    context: Context, treatment: Treatment, pool: Split, inside: np.ndarray, number: int
) -> tuple[Context, str, dict[str, Any]]:
    """Where a shadow model is made, its stage and its key in the cache."""
    chosen = torch.from_numpy(inside[number])
    if context.canaries is None:
        train = pool.subset(chosen.nonzero().squeeze(1))
    else:
        train = pool.withhold(context.request.forgotten, ~chosen)

    seed = int(np.random.SeedSequence([context.experiment.seed, number]).generate_state(1)[0])
    own = replace(context, experiment=replace(context.experiment, seed=seed), train=train)
    key = own.key() | {"images": digest(np.flatnonzero(inside[number]).tolist())}
    if treatment is None:
        return own, "shadow", key

    key |= {"forgotten": list(context.request.forgotten)}
    if isinstance(treatment, Retrain):
        return own, "shadow-retrain", key

    return own, "shadow-unlearned", key | treatment_key(context)


def treatment_key(context: Context) -> dict[str, Any]:
    """What an unlearned model depends on besides the original."""
    return {
        "method": context.experiment.config["method"],
        "methods": code_digest(*METHOD_CODE),
        "requests": [list(columns) for columns in context.requests],
    }


def halves(persons: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Whose images which model learns from, bool, shape (count, images): each person's in exactly
    half of them.

    Args:
        persons: Person on each image, shape (images,).
        count: Of models, even.
        seed: Of the choice.
    """
    people, person = np.unique(persons, return_inverse=True)
    order = np.random.default_rng([seed, count]).random((count, len(people))).argsort(0)
    return (order < count // 2)[:, person]


def make_silently(make: partial[None], number: int) -> None:
    """Make a model in a process of its own, whose progress bar would write over the others'."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        make(number)


def share_processor(jobs: int) -> None:
    """At the start of one of so many processes."""
    end_with_parent()
    tune_process()
    quiet_lightning()
    torch.set_num_threads(threads_each(jobs))


@contextlib.contextmanager
def threads_shared(jobs: int) -> Iterator[None]:
    """Have as many threads as each of so many processes: another number would round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_each(jobs))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
