"""Judgement of an edit before any fine-tuning: how well it forgets, and what it costs."""

import numpy as np
import torch

from mlu.data.split import Split
from mlu.methods.parts.scoring import MEAN_BATCH, on_device, speaking
from mlu.models.batch_norm import recalibrate
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.unlearning.contract import Edit, Problem


def without_tuning(problem: Problem, edit: Edit, images: Split) -> Network:
    """The edited body under the original's head, with batch-norm statistics of its own."""
    net = speaking(problem)
    with torch.no_grad():
        for name, value in edit.weights.items():
            if name.startswith("body."):
                net.get_parameter(name).copy_(value)

    recalibrate(net, (batch.images for batch in on_device(problem, images, MEAN_BATCH)))

    return net


def forgetting_score(net: Network, problem: Problem, images: Split) -> float:
    """2 (1 - max(A, 1 - A)), A the AUROC of a forgotten output: 1 where it knows nothing.

    The mean over the forgotten labels; 0 where none of them occurs both ways.
    """
    aurocs = forgotten_aurocs(net, problem, images)
    found = [2 * (1 - max(auroc, 1 - auroc)) for auroc in aurocs]
    return float(np.mean(found)) if found else 0.0


def forgotten_aurocs(net: Network, problem: Problem, images: Split) -> list[float]:
    """AUROC of each forgotten output on some images, of those labels that occur both ways."""
    logits, _ = respond(net, images)
    columns = problem.request.forgotten
    return problem.task.aurocs(logits, images.targets, images.known, columns)


def retained_accuracy(net: Network, problem: Problem, images: Split) -> float:
    """Share of right retained outputs; of classes, on images of the retained ones."""
    task, columns = problem.task, list(problem.request.retained)
    logits, _ = respond(net, images)

    right = task.predictions(logits) == (images.targets > 0)
    scope = task.scope(images.targets, images.known, columns)
    counted = task.rows(scope, right.shape[1])[:, columns]

    return ((right[:, columns] & counted).sum() / counted.sum().clamp(min=1)).item()
