"""The figures of a trial and their bootstrap intervals against scikit-learn's, one resample at a
time."""

import numpy as np
from sklearn.metrics import balanced_accuracy_score, mutual_info_score, roc_auc_score

from benchmarks.measure import Comparison, compare
from mlu.metrics.findings import Trial
from mlu.metrics.trials import RESAMPLES, bootstrapped

IMAGES, EACH = 1000, 4
"""Test images of the default faces, and images of each person."""


def run() -> list[Comparison]:
    random = np.random.default_rng(0)
    persons = np.arange(IMAGES) // EACH
    truth = random.random(IMAGES // EACH)[persons] < 0.4
    trials = iter([Trial(truth + random.normal(size=IMAGES), truth, persons) for _ in range(100)])
    rows = [np.flatnonzero(persons == person) for person in range(IMAGES // EACH)]
    scores = truth + random.normal(size=IMAGES)

    def ours() -> None:
        bootstrapped(next(trials))

    def one_by_one() -> None:
        for _ in range(RESAMPLES):
            drawn = np.concatenate(
                [rows[person] for person in random.integers(len(rows), size=len(rows))]
            )
            true, score = truth[drawn], scores[drawn]
            balanced_accuracy_score(true, score > 0)
            roc_auc_score(true, score)
            mutual_info_score(true, score > 0)

    return [
        compare("bootstrap of a trial", ours, "scikit-learn, one resample at a time", one_by_one)
    ]
