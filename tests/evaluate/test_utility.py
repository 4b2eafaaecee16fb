import numpy as np
import pytest
import torch

from mlu.evaluate.forgetting import forgotten_findings
from mlu.evaluate.utility import label_findings, retained_findings
from mlu.metrics.labels import METRICS, label_figures
from mlu.models.tasks import MultiLabel, SingleLabel
from mlu.pipeline.outcome import metrics_of
from tests.support.made_outputs import (
    EVERYTHING,
    IMAGES,
    outputs_of,
    random_outputs,
    sklearns,
    values_of,
)


@pytest.mark.parametrize(
    ("targets", "known", "undefined"),
    [
        ([1, 1, 1], None, {"balanced_accuracy", "auroc"}),
        ([0, 0, 0], None, {"balanced_accuracy", "auroc", "f1", "average_precision", "recall"}),
        ([1, 1, 0], [True, True, False], {"balanced_accuracy", "auroc"}),
        ([1, 0, 1], [False] * 3, set(EVERYTHING)),
    ],
)
def test_what_is_undefined_is_kept_with_a_reason(targets, known, undefined):
    figures = label_figures(MultiLabel(), outputs_of(targets, [1.0, -1, 2], known))

    assert {metric for metric in figures if np.isnan(figures[metric].value[0])} == undefined
    findings = label_findings(figures, ["Bald", "Other"])
    assert [f.path for f in findings] == [
        f"label/{name}/{metric}" for name in ("Bald", "Other") for metric in METRICS
    ]
    assert all(finding.missing is None for finding in findings[len(METRICS) :])
    for finding in findings[: len(METRICS)]:
        if finding.path.split("/")[-1] in undefined:
            assert (finding.value, finding.low, finding.high) == (None, None, None)
            assert "Bald" in finding.missing
        else:
            assert finding.missing is None
            assert isinstance(finding.value, float)


@pytest.mark.parametrize(
    "names",
    [
        ("retained", "forgotten", "label"),
        ("accuracy", "label/accuracy", "accuracy/accuracy"),
        ("a", "a/accuracy", "a/accuracy/low"),
        ("entropy", "loss", "mean"),
        ("attack", "aia/features", "excess"),
        ("original", "test", "unlearned/test"),
        ("low", "high", "p_value"),
    ],
)
def test_labels_that_are_called_like_paths_hide_no_figure(names):
    """Each figure, and each end of an interval, has a path of its own, with the right value."""
    task, outputs = MultiLabel(), random_outputs(MultiLabel())
    figures = label_figures(task, outputs)

    def findings(labels):
        return [
            *retained_findings(task, outputs, (1, 2, 3)),
            *forgotten_findings(task, figures, labels, (0,)),
            *label_findings(figures, labels),
        ]

    plain, odd = metrics_of(findings("abcd")), metrics_of(findings((*names, "d")))
    assert list(odd.values()) == list(plain.values())
    for path in odd.keys() & plain.keys():
        assert odd[path] == plain[path], path
    for path, value in plain.items():
        if not path.startswith("label/"):
            assert odd[path] == value


def test_retained_figures_are_means_over_retained_labels():
    task, retained = MultiLabel(), [0, 2, 3]
    outputs = random_outputs(task)
    found, expected = values_of(retained_findings(task, outputs, retained)), sklearns(task, outputs)
    assert set(found) == {f"retained/{metric}" for metric in METRICS}
    for metric in METRICS:
        assert found[f"retained/{metric}"] == pytest.approx(
            np.mean(np.take(expected[metric], retained)), abs=2e-6
        )


def test_the_forgotten_label_has_no_say_in_the_retained_figures():
    task, outputs = MultiLabel(), random_outputs(MultiLabel())
    before = values_of(retained_findings(task, outputs, [0, 2, 3]))
    outputs.logits[:, 1] *= -3
    assert values_of(retained_findings(task, outputs, [0, 2, 3])) == before


def test_undefined_labels_are_left_out_of_the_mean():
    task, outputs = MultiLabel(), random_outputs(MultiLabel())
    outputs.targets[:, 2] = 0
    found, figures = (
        values_of(retained_findings(task, outputs, [0, 2])),
        label_figures(task, outputs),
    )
    assert found["retained/auroc"] == pytest.approx(figures["auroc"].value[0])
    assert found["retained/accuracy"] == pytest.approx(
        figures["accuracy"].value[[0, 2]].mean(), abs=1e-6
    )


def test_unknown_labels_are_left_out_of_the_mean():
    task, outputs = MultiLabel(), random_outputs(MultiLabel())
    expected = sklearns(task, outputs)
    outputs.known[:, 3] = False
    found = values_of(retained_findings(task, outputs, [0, 2, 3]))
    for metric in METRICS:
        assert found[f"retained/{metric}"] == pytest.approx(
            np.mean(expected[metric][:3:2]), abs=2e-6
        )


def test_there_may_be_no_retained_figure():
    task, outputs = MultiLabel(), random_outputs(MultiLabel())
    outputs.targets[:, 2] = 1
    found = {finding.path: finding for finding in retained_findings(task, outputs, [2])}
    assert set(found) == {f"retained/{metric}" for metric in METRICS}
    for metric in ("auroc", "balanced_accuracy"):
        assert (found[f"retained/{metric}"].value, found[f"retained/{metric}"].low) == (None, None)
        assert found[f"retained/{metric}"].missing
    assert found["retained/accuracy"].value is not None


def test_without_a_known_target_all_figures_are_missing():
    outputs = random_outputs(MultiLabel(), unknown=1.0)
    findings = retained_findings(MultiLabel(), outputs, [0, 2])
    assert len(findings) == len(METRICS)
    assert all(
        finding.value is None and finding.low is None and finding.missing for finding in findings
    )


def test_single_label_retained_figures_are_of_images_of_retained_classes():
    task, retained = SingleLabel(), [0, 2, 3]
    outputs = random_outputs(task, unknown=0)
    classes, said = outputs.targets.argmax(1).numpy(), outputs.logits.argmax(1).numpy()
    rows = np.isin(classes, retained)

    assert 0 < rows.sum() < IMAGES
    findings = {finding.path: finding for finding in retained_findings(task, outputs, retained)}
    accuracy = findings["retained/accuracy"]
    assert accuracy.value == pytest.approx((classes == said)[rows].mean(), abs=1e-12)
    assert accuracy.value != pytest.approx((classes == said).mean(), abs=1e-3)
    assert accuracy.low < accuracy.value < accuracy.high
    expected = sklearns(task, outputs.subset(torch.from_numpy(np.flatnonzero(rows))), retained)
    for metric in ("balanced_accuracy", "auroc", "average_precision"):
        assert findings[f"retained/{metric}"].value == pytest.approx(
            np.mean(expected[metric]), abs=2e-6
        )


def test_single_label_retained_figures_without_images_are_missing():
    task, outputs = SingleLabel(), random_outputs(SingleLabel(), unknown=0)
    outputs = outputs.subset(outputs.targets[:, 1].nonzero().squeeze(1))
    assert len(outputs.targets)
    findings = retained_findings(task, outputs, [0, 2, 3])
    assert [finding.path for finding in findings] == [f"retained/{metric}" for metric in METRICS]
    assert all(finding.value is None and finding.missing for finding in findings)


def test_retained_accuracy_lies_in_its_interval():
    for seed in range(5):
        accuracy = retained_findings(MultiLabel(), random_outputs(MultiLabel(), seed), [0, 2, 3])[0]
        assert accuracy.low < accuracy.value < accuracy.high


def test_retained_accuracy_lies_in_its_interval_where_a_label_is_rarely_known():
    outputs = random_outputs(MultiLabel(), unknown=0)
    outputs.logits[:] = outputs.targets - 0.5
    outputs.logits[:, 2] *= -1
    outputs.known[5:, 2] = False
    accuracy = retained_findings(MultiLabel(), outputs, [0, 2, 3])[0]
    assert accuracy.low <= accuracy.value <= accuracy.high
