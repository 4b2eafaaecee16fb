import math

import numpy as np
import pytest

from mlu.evaluate.forgetting import FORGOTTEN_METRICS, forgotten_findings
from mlu.metrics.labels import Figures
from mlu.models.tasks import MultiLabel, SingleLabel

LABELS = ("Male", "Bald", "Young", "Smiling")


PATHS = [f"forgotten/{metric}" for metric in (*FORGOTTEN_METRICS, "remembered")]


def figures(balanced_accuracy):
    """Figures whose value tells metric and label: 10 times the metric's number plus the label's."""
    numbered = {
        metric: Figures(10.0 * number + np.arange(len(LABELS)))
        for number, metric in enumerate(FORGOTTEN_METRICS)
    }
    value = np.array(balanced_accuracy)
    return numbered | {"balanced_accuracy": Figures(value, value - 0.1, value + 0.1)}


@pytest.mark.parametrize(
    ("balanced_accuracy", "forgotten", "worst"),
    [
        ([0.9, 0.6, 0.8, 0.5], (1, 2), 2),  # not Male, which is retained
        ([0.9, 0.6, 0.1, 0.5], (0, 2), 0),
        ([0.8, 0.6, 0.1, 0.5], (0, 2), 2),  # inverted, and so better known
        ([0.5, 0.5, 0.5, 0.0], (3, 0), 3),
        ([0.9, math.nan, 0.45, 0.5], (1, 2), 2),
        ([0.9, 0.1, 0.2, 0.3], (3,), 3),
    ],
)
def test_the_label_that_is_remembered_best_is_shown(balanced_accuracy, forgotten, worst):
    found = {
        finding.path: finding
        for finding in forgotten_findings(
            MultiLabel(), figures(balanced_accuracy), LABELS, forgotten
        )
    }

    assert list(found) == PATHS
    remembered = found.pop("forgotten/remembered").value
    assert remembered == abs(balanced_accuracy[worst] - 0.5)
    shown = found.pop("forgotten/balanced_accuracy")
    ends = (
        balanced_accuracy[worst] - 0.1,
        balanced_accuracy[worst],
        balanced_accuracy[worst] + 0.1,
    )
    assert (shown.low, shown.value, shown.high) == ends
    # All figures are of one and the same label.
    assert {finding.value % 10 for finding in found.values()} == {worst}


def test_an_undefined_label_is_shown_with_a_reason():
    undefined = {metric: Figures(np.full(len(LABELS), math.nan)) for metric in FORGOTTEN_METRICS}
    found = forgotten_findings(SingleLabel(), undefined, LABELS, (2, 1))
    assert [finding.path for finding in found] == PATHS
    assert all(finding.value is None and "Young" in finding.missing for finding in found)


@pytest.mark.parametrize(
    ("accuracy", "recall", "label", "classed"),
    [
        (0.5, 0.0, 0.0, 0.0),  # never said, as Retrain's
        (0.5, 1.0, 0.0, 1.0),  # always said: of a label that tells nothing
        (0.9, 0.85, 0.4, 1.25),
        (0.1, 0.05, 0.4, 0.45),  # turned round
    ],
)
def test_what_an_output_remembers_is_its_distance_from_saying_nothing(
    accuracy, recall, label, classed
):
    found = MultiLabel().remembered(accuracy, recall), SingleLabel().remembered(accuracy, recall)
    assert found == pytest.approx((label, classed))
