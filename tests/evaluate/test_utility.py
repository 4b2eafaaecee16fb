import math

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn

from mlu.evaluate.utility import METRICS, label_figures, label_findings, mutual_information, retained_findings
from mlu.metrics.intervals import mean_interval, rate_interval
from mlu.models.outputs import Outputs
from mlu.tasks import MultiLabel, SingleLabel

NAMES = ("Male", "Bald", "Young", "Brown_Hair")
IMAGES, LABELS = 240, len(NAMES)
EVERYTHING = (*METRICS, "recall", "positive_rate", "mutual_information")
by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)


def random_outputs(task, seed=0, unknown=0.2):
    """Correct more often than not, with many equal logits, four images a person and some unknown targets."""
    random = torch.Generator().manual_seed(seed)
    targets = (torch.rand(IMAGES, LABELS, generator=random) < torch.tensor([0.5, 0.1, 0.7, 0.3])).double()
    if task.name == "singlelabel":
        classes = torch.multinomial(torch.tensor([0.4, 0.1, 0.2, 0.3]), IMAGES, replacement=True, generator=random)
        targets = nn.functional.one_hot(classes, LABELS).double()
    logits = (targets - 0.5 + torch.randn(IMAGES, LABELS, dtype=torch.float64, generator=random)).mul(2).round() / 2
    known = torch.rand(IMAGES, LABELS, generator=random) >= unknown
    return Outputs(logits, targets, known, np.arange(IMAGES) // 4)


def sklearns(task, outputs, columns=range(LABELS)):
    """Every metric by scikit-learn, one label at a time, on the images that are known: {metric: (columns,)}."""
    probs, predictions = task.probs(outputs.logits).numpy(), task.predictions(outputs.logits).numpy()
    found = {metric: [] for metric in EVERYTHING}
    for column in columns:
        rows = outputs.known[:, column].numpy()
        true, said, score = outputs.targets[rows, column].numpy(), predictions[rows, column], probs[rows, column]
        found["accuracy"].append(metrics.accuracy_score(true, said))
        found["balanced_accuracy"].append(metrics.balanced_accuracy_score(true, said))
        found["auroc"].append(metrics.roc_auc_score(true, score))
        found["f1"].append(metrics.f1_score(true, said))
        found["average_precision"].append(metrics.average_precision_score(true, score))
        found["recall"].append(metrics.recall_score(true, said))
        found["positive_rate"].append(said.mean())
        found["mutual_information"].append(metrics.mutual_info_score(true, said) / math.log(2))
    return found


@by_task
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_every_figure_equals_scikit_learns(task, seed, unknown):
    outputs = random_outputs(task, seed, unknown)
    figures, expected = label_figures(task, outputs), sklearns(task, outputs)
    assert set(figures) == set(expected)
    for metric, values in expected.items():
        # torchmetrics works in float32.
        np.testing.assert_allclose(figures[metric].value, values, rtol=0, atol=2e-6, err_msg=metric)


def test_f1_is_of_the_predicted_class():
    task, outputs = SingleLabel(), random_outputs(SingleLabel())
    expected = sklearns(task, outputs)["f1"]
    np.testing.assert_allclose(label_figures(task, outputs)["f1"].value, expected, rtol=0, atol=2e-6)


@by_task
def test_unknown_targets_are_not_read(task):
    outputs = random_outputs(task)
    lies = torch.where(outputs.known, outputs.targets, 1 - outputs.targets)
    other = label_figures(task, Outputs(outputs.logits, lies, outputs.known, outputs.identities))
    for metric, figures in label_figures(task, outputs).items():
        for one, two in ((figures.value, other[metric].value), (figures.low, other[metric].low)):
            assert (one is None and two is None) or np.array_equal(one, two)


@by_task
def test_intervals_contain_their_value(task):
    figures = label_figures(task, random_outputs(task))
    with_interval = {metric for metric in figures if figures[metric].low is not None}
    assert with_interval == {"accuracy", "balanced_accuracy", "recall", "positive_rate"}
    for metric in with_interval:
        one = figures[metric]
        assert ((one.low < one.value) & (one.value < one.high)).all()
        assert ((one.low >= 0) & (one.high <= 1)).all()


@by_task
def test_intervals_are_of_the_images_that_each_rate_is_of(task):
    outputs = random_outputs(task)
    figures, said = label_figures(task, outputs), task.predictions(outputs.logits).numpy()
    for column in range(LABELS):
        known, positive = outputs.known[:, column].numpy(), outputs.targets[:, column].numpy() == 1

        def ends(success, rows):
            success, persons = success[rows][:, None], outputs.identities[rows]
            return np.stack(rate_interval(success, np.ones_like(success), persons))[:, 0]

        def shared(right, known, positive, rates):
            errors = []
            for person in np.unique(outputs.identities):
                mine = outputs.identities == person
                with_, without = mine & known & positive, mine & known & ~positive
                errors.append([(right - rates[0])[with_].sum(), (right - rates[1])[without].sum()])
            one, other = np.array(errors).T
            return (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())

        right = said[:, column] == positive
        recall, specificity = ends(right, known & positive), ends(right, known & ~positive)
        rates = right[known & positive].mean(), right[known & ~positive].mean()
        expected = {
            "accuracy": ends(right, known),
            "recall": recall,
            "positive_rate": ends(said[:, column], known),
            "balanced_accuracy": mean_interval(*rates, recall, specificity, shared(right, known, positive, rates)),
        }
        for metric, (low, high) in expected.items():
            found = figures[metric].low[column], figures[metric].high[column]
            np.testing.assert_allclose(found, (low, high), atol=1e-12, err_msg=metric)


def outputs_of(targets, logits, known=None):
    """One label, and beside it another that has all figures; one image a person."""
    known = [True] * len(targets) if known is None else known
    other = torch.arange(len(targets)) % 2
    logits, targets, known = (torch.stack([torch.tensor(of), other], 1) for of in (logits, targets, known))
    return Outputs(logits.double(), targets.double(), known.bool() | torch.tensor([False, True]), np.arange(len(other)))


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
    assert [f.path for f in findings] == [f"label/{name}/{metric}" for name in ("Bald", "Other") for metric in METRICS]
    assert all(finding.missing is None for finding in findings[len(METRICS) :])
    for finding in findings[: len(METRICS)]:
        if finding.path.split("/")[-1] in undefined:
            assert (finding.value, finding.low, finding.high) == (None, None, None)
            assert "Bald" in finding.missing
        else:
            assert finding.missing is None
            assert isinstance(finding.value, float)


def test_a_label_that_is_never_predicted_has_f1_zero():
    figures = label_figures(MultiLabel(), outputs_of([1, 0, 0], [-1.0, -2, -3]))
    assert (figures["f1"].value[0], figures["recall"].value[0], figures["auroc"].value[0]) == (0, 0, 1)


def values_of(findings):
    return {finding.path: finding.value for finding in findings}


def test_retained_figures_are_means_over_retained_labels():
    task, retained = MultiLabel(), [0, 2, 3]
    outputs = random_outputs(task)
    found, expected = values_of(retained_findings(task, outputs, retained)), sklearns(task, outputs)
    assert set(found) == {f"retained/{metric}" for metric in METRICS}
    for metric in METRICS:
        assert found[f"retained/{metric}"] == pytest.approx(np.mean(np.take(expected[metric], retained)), abs=2e-6)


def test_the_forgotten_label_has_no_say_in_the_retained_figures():
    task, outputs = MultiLabel(), random_outputs(MultiLabel())
    before = values_of(retained_findings(task, outputs, [0, 2, 3]))
    outputs.logits[:, 1] *= -3
    assert values_of(retained_findings(task, outputs, [0, 2, 3])) == before


def test_undefined_labels_are_left_out_of_the_mean():
    task, outputs = MultiLabel(), random_outputs(MultiLabel())
    outputs.targets[:, 2] = 0
    found, figures = values_of(retained_findings(task, outputs, [0, 2])), label_figures(task, outputs)
    assert found["retained/auroc"] == pytest.approx(figures["auroc"].value[0])
    assert found["retained/accuracy"] == pytest.approx(figures["accuracy"].value[[0, 2]].mean(), abs=1e-6)


def test_unknown_labels_are_left_out_of_the_mean():
    task, outputs = MultiLabel(), random_outputs(MultiLabel())
    expected = sklearns(task, outputs)
    outputs.known[:, 3] = False
    found = values_of(retained_findings(task, outputs, [0, 2, 3]))
    for metric in METRICS:
        assert found[f"retained/{metric}"] == pytest.approx(np.mean(expected[metric][:3:2]), abs=2e-6)


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
    assert all(finding.value is None and finding.low is None and finding.missing for finding in findings)


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
        assert findings[f"retained/{metric}"].value == pytest.approx(np.mean(expected[metric]), abs=2e-6)


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


@pytest.mark.parametrize("seed", range(3))
def test_an_inverted_predictor_knows_as_much(seed):
    outputs = random_outputs(MultiLabel(), seed)
    outputs.logits[outputs.logits == 0] = 0.5
    inverted = Outputs(-outputs.logits, outputs.targets, outputs.known, outputs.identities)
    one, two = (label_figures(MultiLabel(), given) for given in (outputs, inverted))
    np.testing.assert_allclose(one["mutual_information"].value, two["mutual_information"].value, rtol=1e-12)
    assert (one["mutual_information"].value > 1e-3).all()
    np.testing.assert_allclose(one["accuracy"].value, 1 - two["accuracy"].value)


def test_mutual_information_by_hand():
    tp, fp, tn, fn = np.array([[50, 0, 25, 0, 10], [0, 50, 25, 0, 30], [50, 0, 25, 0, 0], [0, 50, 25, 0, 0]], float)
    bits = mutual_information(tp, fp, tn, fn)
    np.testing.assert_allclose(bits[[0, 1, 2, 4]], [1, 1, 0, 0], atol=1e-15)
    assert np.isnan(bits[3])


def test_confidence_does_not_blur_the_ranking():
    outputs = outputs_of([0, 1, 0], [20.0, 25.0, -20.0])
    outputs = Outputs(outputs.logits.float(), outputs.targets, outputs.known, outputs.identities)
    assert label_figures(MultiLabel(), outputs)["auroc"].value[0] == 1
