"""Each baseline as runs carry it out, through Lightning, against a direct loop in plain PyTorch
with the same result.

Same network (tiny), images (64 pixels), epochs, batches, order and augmentation; a pair that ends
with other weights is refused. LEACE and SPLINCE are held against closed forms in numpy.
"""

import math

import torch

from benchmarks import plain
from benchmarks.measure import Comparison, compare, context_with, quiet_trainer
from mlu.models.network import Network
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import problem_of
from mlu.unlearning.unlearner import carry_out

FACES = ("dataset.images=2000",)
DIGITS = ("dataset=digits", "dataset.image_size=64")
LOOPS = {
    "finetune": (plain.finetune, FACES),
    "cfk": (plain.cfk, FACES),
    "scrub": (plain.scrub, FACES),
    "unsir": (plain.unsir, FACES),
    "salun": (plain.salun, FACES),
    "neggrad": (plain.neggrad, FACES),
    "ssd": (plain.ssd, FACES),
    "lfssd": (plain.lfssd, FACES),
    "jit": (plain.jit, DIGITS),
    "orthograd": (plain.orthograd, DIGITS),
    "boundary": (plain.boundary, DIGITS),
    "leace": (plain.leace, FACES),
    "splince": (plain.splince, FACES),
}
TARGET = 1.05
ROUNDING = 0.01
"""Largest distance between both results, as a share of their way from the original: what float32
loses at one step, the next ones amplify. Tests hold the same loops against the same methods in
float64, to nine digits."""


def run() -> list[Comparison]:
    return [against_loop(name) for name in LOOPS]


def against_loop(name: str) -> Comparison:
    loop, data = LOOPS[name]
    context = context_with(f"method={name}", "trainer.accelerator=cpu", *data)
    method, problem = (
        context.experiment.method,
        problem_of(context, original_model(context).net),
    )

    def ours() -> Network:
        return carry_out(method, problem, quiet_trainer, context.data.train_batches)

    def theirs() -> Network:
        return loop(method, problem)

    apart = distance(ours(), theirs()) / distance(theirs(), problem.net)
    assert apart <= ROUNDING, f"{name} and its plain loop differ by {apart:.2g} of their way"
    return compare(f"{name}, {context.data.source.name}", ours, "plain PyTorch", theirs, TARGET)


@torch.no_grad()
def distance(one: Network, other: Network) -> float:
    """Euclidean, of all weights that both have."""
    first, second = dict(one.named_parameters()), dict(other.named_parameters())
    return math.sqrt(
        sum((first[name] - second[name]).square().sum() for name in first.keys() & second.keys())
    )
