import numpy as np
import pytest
import torch

from mlu.metrics.intervals import mean_interval, rate_interval
from mlu.metrics.labels import label_figures, mutual_information
from mlu.models.outputs import Outputs
from mlu.models.tasks import MultiLabel, SingleLabel
from tests.support.made_outputs import LABELS, by_task, outputs_of, random_outputs, sklearns


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
    np.testing.assert_allclose(
        label_figures(task, outputs)["f1"].value, expected, rtol=0, atol=2e-6
    )


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
            "balanced_accuracy": mean_interval(
                *rates, recall, specificity, shared(right, known, positive, rates)
            ),
        }
        for metric, (low, high) in expected.items():
            found = figures[metric].low[column], figures[metric].high[column]
            np.testing.assert_allclose(found, (low, high), atol=1e-12, err_msg=metric)


def test_a_label_that_is_never_predicted_has_f1_zero():
    figures = label_figures(MultiLabel(), outputs_of([1, 0, 0], [-1.0, -2, -3]))
    assert (figures["f1"].value[0], figures["recall"].value[0], figures["auroc"].value[0]) == (
        0,
        0,
        1,
    )


@pytest.mark.parametrize("seed", range(3))
def test_an_inverted_predictor_knows_as_much(seed):
    outputs = random_outputs(MultiLabel(), seed)
    outputs.logits[outputs.logits == 0] = 0.5
    inverted = Outputs(-outputs.logits, outputs.targets, outputs.known, outputs.identities)
    one, two = (label_figures(MultiLabel(), given) for given in (outputs, inverted))
    np.testing.assert_allclose(
        one["mutual_information"].value, two["mutual_information"].value, rtol=1e-12
    )
    assert (one["mutual_information"].value > 1e-3).all()
    np.testing.assert_allclose(one["accuracy"].value, 1 - two["accuracy"].value)


def test_mutual_information_by_hand():
    tp, fp, tn, fn = np.array(
        [[50, 0, 25, 0, 10], [0, 50, 25, 0, 30], [50, 0, 25, 0, 0], [0, 50, 25, 0, 0]], float
    )
    bits = mutual_information(tp, fp, tn, fn)
    np.testing.assert_allclose(bits[[0, 1, 2, 4]], [1, 1, 0, 0], atol=1e-15)
    assert np.isnan(bits[3])


def test_confidence_does_not_blur_the_ranking():
    outputs = outputs_of([0, 1, 0], [20.0, 25.0, -20.0])
    outputs = Outputs(outputs.logits.float(), outputs.targets, outputs.known, outputs.identities)
    assert label_figures(MultiLabel(), outputs)["auroc"].value[0] == 1
