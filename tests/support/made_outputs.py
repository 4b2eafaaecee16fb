"""Outputs of no model, and what scikit-learn says of them."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn

from mlu.metrics.labels import METRICS
from mlu.models.outputs import Outputs
from mlu.models.tasks import MultiLabel, SingleLabel

NAMES = ("Male", "Bald", "Young", "Brown_Hair")
IMAGES, LABELS = 240, len(NAMES)
EVERYTHING = (*METRICS, "recall", "positive_rate", "mutual_information")
by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)


def random_outputs(task, seed=0, unknown=0.2):
    """Correct more often than not, with many equal logits, four images a person and some unknown
    targets."""
    random = torch.Generator().manual_seed(seed)
    targets = (
        torch.rand(IMAGES, LABELS, generator=random) < torch.tensor([0.5, 0.1, 0.7, 0.3])
    ).double()
    if task.name == "singlelabel":
        classes = torch.multinomial(
            torch.tensor([0.4, 0.1, 0.2, 0.3]), IMAGES, replacement=True, generator=random
        )
        targets = nn.functional.one_hot(classes, LABELS).double()
    logits = (
        targets - 0.5 + torch.randn(IMAGES, LABELS, dtype=torch.float64, generator=random)
    ).mul(2).round() / 2
    known = torch.rand(IMAGES, LABELS, generator=random) >= unknown
    return Outputs(logits, targets, known, np.arange(IMAGES) // 4)


def sklearns(task, outputs, columns=range(LABELS)):
    """Every metric by scikit-learn, one label at a time, on the images that are known: {metric:
    (columns,)}."""
    probs, predictions = (
        task.probs(outputs.logits).numpy(),
        task.predictions(outputs.logits).numpy(),
    )
    found = {metric: [] for metric in EVERYTHING}
    for column in columns:
        rows = outputs.known[:, column].numpy()
        true, said, score = (
            outputs.targets[rows, column].numpy(),
            predictions[rows, column],
            probs[rows, column],
        )
        found["accuracy"].append(metrics.accuracy_score(true, said))
        found["balanced_accuracy"].append(metrics.balanced_accuracy_score(true, said))
        found["auroc"].append(metrics.roc_auc_score(true, score))
        found["f1"].append(metrics.f1_score(true, said))
        found["average_precision"].append(metrics.average_precision_score(true, score))
        found["recall"].append(metrics.recall_score(true, said))
        found["positive_rate"].append(said.mean())
        found["mutual_information"].append(metrics.mutual_info_score(true, said) / math.log(2))
    return found


def outputs_of(targets, logits, known=None):
    """One label, and beside it another that has all figures; one image a person."""
    known = [True] * len(targets) if known is None else known
    other = torch.arange(len(targets)) % 2
    logits, targets, known = (
        torch.stack([torch.tensor(of), other], 1) for of in (logits, targets, known)
    )
    return Outputs(
        logits.double(),
        targets.double(),
        known.bool() | torch.tensor([False, True]),
        np.arange(len(other)),
    )


def values_of(findings):
    return {finding.path: finding.value for finding in findings}
