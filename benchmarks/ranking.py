"""How many images scores need: ranks of weights by wf and wp on a stratified few, against those on
all training images.

Of the contrast between forgotten and retained labels, by which both methods choose the weights that
they edit; Spearman's correlation, in each layer and over all of them. Faces, tiny, the original of
the small budget.
"""

import torch
from rich.table import Table
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.measure import Comparison, context_with, method_named
from mlu.data.split import Split
from mlu.methods.parts.scoring import both_sides, calibration, on_device, speaking
from mlu.methods.weight_pruning import WeightPruning
from mlu.models.network import Weights
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import problem_of
from mlu.runs.tables import show_table
from mlu.scores.gradients import body_weights, fisher
from mlu.scores.relative import ratio
from mlu.unlearning.contract import Method, Problem

FEW = (64, 128, 256, 512, 1024)
GOOD = 0.95


def run() -> list[Comparison]:
    context = context_with()
    problem = problem_of(context, original_model(context).net)
    return [one for name in ("wf", "wp") for one in correlations(name, problem)]


def correlations(name: str, problem: Problem) -> list[Comparison]:
    """Over all layers, and how many images are enough, against how many are the default; shows
    those of each layer."""
    method, everything = method_named(name), len(problem.train)
    reference = contrast(method, problem, problem.train)
    table = Table(
        "images",
        title=f"{name}: rank correlation with all images",
        title_justify="left",
        title_style="bold",
    )
    for column in (
        "all layers",
        *(layer.removeprefix("body.").removesuffix(".weight") for layer in reference),
    ):
        table.add_column(column, justify="right")
    overall = {}
    for images in FEW:
        scores = contrast(method, problem, calibration(problem, images))
        overall[images] = correlation(joined(scores), joined(reference))
        layers = [correlation(scores[layer], reference[layer]) for layer in reference]
        table.add_row(str(images), *(f"{value:.3f}" for value in (overall[images], *layers)))
    show_table(table)
    enough = next((images for images in FEW if overall[images] >= GOOD), everything)
    return [
        *(
            Comparison(
                f"{name}, {images} images",
                f"all {everything:,}",
                "rank correlation",
                value,
                1.0,
                value,
            )
            for images, value in overall.items()
        ),
        Comparison(
            f"{name}, for a rank correlation of {GOOD}",
            "the default",
            "images",
            enough,
            method.images,
            enough / method.images,
            target=1.0,
        ),
    ]


def contrast(method: Method, problem: Problem, points: Split) -> Weights:
    """How much more each weight of the body matters to the forgotten labels than to the retained
    ones, by layer."""
    if isinstance(method, WeightPruning):
        found = method.scores(problem, points)
        ours, theirs = (
            method.importances(problem, found[side]) for side in ("forgotten", "retained")
        )
    else:
        net = speaking(problem)
        batches = on_device(problem, points, method.score_batch)
        found = fisher(
            net, problem.task, batches, both_sides(problem), body_weights(net), problem.generator()
        )
        ours, theirs = found["forgotten"], found["retained"]
    return {layer: ratio(ours[layer], theirs[layer], method.delta) for layer in ours}


def joined(scores: Weights) -> Tensor:
    return torch.cat([layer.flatten() for layer in scores.values()])


def correlation(one: Tensor, other: Tensor) -> float:
    return float(spearmanr(one.flatten().cpu(), other.flatten().cpu()).statistic)
