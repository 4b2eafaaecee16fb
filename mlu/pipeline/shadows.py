"""Shadow models: trained as a model was, each on half of all people, and treated as it was."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlu.attacks.contract import Shadows
from mlu.data.split import Split, united_splits
from mlu.methods.retrain import Retrain
from mlu.models.network import Network
from mlu.pipeline.canaries import planted
from mlu.pipeline.context import Context
from mlu.pipeline.entries import Model, cached_model
from mlu.pipeline.keys import method_key, model_key
from mlu.pipeline.trained import from_scratch, from_scratch_without
from mlu.pipeline.unlearned import unlearn_in_turn
from mlu.system.collectives import threads_per_process
from mlu.system.process import end_with_parent, processes, tune_process
from mlu.system.progress import bars_hidden, tracked
from mlu.system.store import digest
from mlu.training.meter import Meter
from mlu.training.trainer import quiet_lightning
from mlu.unlearning.contract import Method

log = logging.getLogger(__name__)

Treatment = Method | Retrain | None
"""What a model went through after training; Retrain: training without the forgotten targets
instead. None: nothing."""


@dataclass(frozen=True)
class Recipe:
    """One shadow model to be made or found.

    Attributes:
        context: Where it is made: with a seed and training images of its own.
        kind: Its folder in the cache.
        key: All that it depends on.
    """

    context: Context
    kind: str
    key: dict[str, Any]

    @property
    def made(self) -> bool:
        """Whether the cache has it, damaged or not."""
        return self.context.store.holds(self.kind, self.key)


def shadows_of(context: Context, treatment: Treatment, count: int, jobs: int) -> Shadows:
    """Shadow models and what they say, found in the cache or trained.

    Args:
        context: Of the model that they stand for.
        treatment: What that model went through.
        count: How many, even: everybody's images are in the training of half of them. With canaries
            all training images are, and everybody's forgotten targets in half.
        jobs: How many are trained side by side, in processes of their own that share the processor.
    """
    pool = shadow_pool(context)
    inside = halves(pool.identities, count, context.experiment.seeds.seed)
    # A logger belongs to this process.
    all_but_number = (replace(context, logger=None), treatment, pool, inside)
    lacking = [number for number in range(count) if not recipe(*all_but_number, number).made]
    make_side_by_side(partial(make_unless_claimed, *all_but_number), lacking, jobs)

    # Those that another process was making are waited for here, and what it left unmade is made.
    said = []
    with threads_shared(jobs):
        for number in range(count):
            outputs = shadow(*all_but_number, number).outputs
            said.append({name: one.logits for name, one in outputs.items()})

    logits = {name: torch.stack([one[name] for one in said]) for name in said[0]}

    return Shadows(inside, logits)


def shadow_pool(context: Context) -> Split:
    """The images that shadow models learn from: all of the training and the test split.

    With canaries those of the training split, as the original learnt it, and nothing withheld.
    """
    train = context.data.splits["train"]
    if context.canaries is None:
        return united_splits(train, context.data.splits["test"])

    everything = np.ones(len(train), bool)
    return planted(train, context.request, replace(context.canaries, supervised=everything))


def make_side_by_side(make: partial[None], lacking: list[int], jobs: int) -> None:
    """Make models by their number, in so many processes; with one job, in this one."""
    if jobs <= 1 or not lacking:
        for number in lacking:
            make(number)
        return

    with processes(jobs, share_processor, jobs) as pool:
        done = pool.map(partial(make_silently, make), lacking)
        list(tracked(done, f"{len(lacking)} shadow models", len(lacking)))


def shadow(
    context: Context, treatment: Treatment, pool: Split, inside: np.ndarray, number: int
) -> Model:
    """One of them, found or made; what it says of all images.

    Args:
        context: Of the model that they stand for.
        treatment: What that model went through.
        pool: Images that they learn from.
        inside: Which learns from which, shape (shadows, images).
        number: From 0.
    """
    own = recipe(context, treatment, pool, inside, number)
    name = f"shadow model {number + 1} of {len(inside)}"

    def make(progress: Path) -> tuple[Network, Meter]:
        if treatment is None:
            return from_scratch(own.context, name, own.context.train, progress)
        if isinstance(treatment, Retrain):
            return from_scratch_without(own.context, f"{name}, retrained", progress)

        source = shadow(context, None, pool, inside, number)
        log.info("%s: unlearning by %s", name, treatment.name)

        return unlearn_in_turn(own.context, treatment, source.net)

    return cached_model(own.context, own.kind, own.key, make, exposed=())


def make_unless_claimed(
    context: Context, treatment: Treatment, pool: Split, inside: np.ndarray, number: int
) -> None:
    """Make one of them, unless another process is at it or has done it.

    So jobs that need the same divide them.
    """
    own = recipe(context, treatment, pool, inside, number)
    with own.context.store.claim(own.kind, own.key) as ours:
        if ours and not own.made:
            shadow(context, treatment, pool, inside, number)


def recipe(
    context: Context, treatment: Treatment, pool: Split, inside: np.ndarray, number: int
) -> Recipe:
    """Where a shadow model is made and kept; arguments are those of `shadow`."""
    chosen = torch.from_numpy(inside[number])
    if context.canaries is None:
        train = pool.subset(chosen.nonzero().squeeze(1))
    else:
        train = pool.withhold(context.request.forgotten, ~chosen)

    seeds = context.experiment.seeds
    drawn = int(np.random.SeedSequence([seeds.seed, number]).generate_state(1)[0])
    # An attacker's own, whatever the victim's training and its method have drawn.
    seeds = replace(seeds, train=drawn, method=drawn)
    own = replace(context, experiment=replace(context.experiment, seeds=seeds), train=train)
    key = model_key(own) | {"images": digest(np.flatnonzero(inside[number]).tolist())}
    if treatment is None:
        return Recipe(own, "shadow", key)

    key |= {"forgotten": list(context.request.forgotten)}
    if isinstance(treatment, Retrain):
        return Recipe(own, "shadow-retrain", key)

    key |= method_key(own) | {"method_seed": own.experiment.seeds.method}

    return Recipe(own, "shadow-unlearned", key)


def halves(persons: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Whose images which model learns from: each person's are with exactly half of the models.

    Args:
        persons: Person on each image, shape (images,).
        count: Of models, even.
        seed: Of the choice.

    Returns:
        Bool, shape (count, images).
    """
    people, person = np.unique(persons, return_inverse=True)
    order = np.random.default_rng([seed, count]).random((count, len(people))).argsort(0)
    return (order < count // 2)[:, person]


def make_silently(make: partial[None], number: int) -> None:
    """Make a model in a process of its own, whose progress bar would write over the others'."""
    with bars_hidden():
        make(number)


def share_processor(jobs: int) -> None:
    """At the start of one of so many processes."""
    end_with_parent()
    tune_process()
    quiet_lightning()
    torch.set_num_threads(threads_per_process(jobs))


@contextlib.contextmanager
def threads_shared(jobs: int) -> Iterator[None]:
    """Have as many threads as each of so many processes: another number would round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_per_process(jobs))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
