import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from mlu.evaluate.confidences import (
    CELLS,
    ONE_SIDED,
    SHUFFLES,
    chance_divergence,
    confidence_findings,
    histogram_divergence,
)
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, MultiLabel, SingleLabel

REQUEST = ForgetRequest((0,), (1, 2))
IMAGES = 4000


def outputs_of(logits, targets, known=None):
    known = torch.ones(targets.shape, dtype=torch.bool) if known is None else known
    return Outputs(logits, targets, known, np.arange(len(targets)))


def said(strength, seed=0):
    """Outputs whose first logit is higher by so much where the label is true."""
    random = torch.Generator().manual_seed(seed)
    targets = (torch.rand(IMAGES, 3, generator=random) < 0.4).float()
    logits = torch.randn(IMAGES, 3, generator=random)
    logits[:, 0] += strength * targets[:, 0]
    return outputs_of(logits, targets)


def found_of(outputs, task=None, request=REQUEST):
    found = confidence_findings(task or MultiLabel(), outputs, request)
    return {finding.path: finding for finding in found}


def test_the_divergence_is_that_of_the_histograms_counted_one_by_one():
    outputs = said(1.5)
    sides = np.full((2, CELLS), 0.5)
    for value, truth in zip(outputs.logits[:, 0].sigmoid(), outputs.targets[:, 0], strict=True):
        sides[int(truth), min(int(value.double() * CELLS), CELLS - 1)] += 1
    without, having = sides / sides.sum(1, keepdims=True)
    wanted = rel_entr(having, without).sum()
    assert found_of(outputs)["forgotten/confidence_kl"].value == pytest.approx(wanted, rel=0.02)


def test_many_images_give_the_divergence_of_their_law():
    """Beta distributions with shapes (2, 1) and (1, 1): ln 2 - 1/2."""
    random = np.random.default_rng(0)
    values = np.concatenate([random.beta(2, 1, 400_000), random.random(400_000)])
    truth = np.arange(len(values)) < 400_000
    cells = (values * CELLS).astype(int)
    having, without = (np.bincount(cells[side], minlength=CELLS) for side in (truth, ~truth))
    assert histogram_divergence(having, without) == pytest.approx(np.log(2) - 0.5, abs=3e-3)


@pytest.mark.parametrize("images", [30, 400])
def test_chance_is_what_shuffled_targets_give_on_average(images):
    """Shuffled one image after the other, against the law of their counts."""
    random = np.random.default_rng(images)
    cells, truth = random.integers(0, CELLS, images), np.arange(images) % 3 == 0
    found = []
    for _ in range(2000):
        shuffled = random.permutation(truth)
        sides = [np.bincount(cells[side], minlength=CELLS) for side in (shuffled, ~shuffled)]
        found.append(histogram_divergence(*sides))
    wanted, error = np.mean(found), np.std(found) / np.sqrt(SHUFFLES)
    having, without = (np.bincount(cells[side], minlength=CELLS) for side in (truth, ~truth))
    assert abs(chance_divergence(having, without) - wanted) < 4 * error
    # What is no chance lies far beyond it.
    told = np.sort(cells) >= CELLS // 2
    sides = [np.bincount(np.sort(cells)[side], minlength=CELLS) for side in (told, ~told)]
    assert abs(histogram_divergence(*sides) - wanted) > 4 * error


def test_what_tells_nothing_diverges_by_chance_alone():
    told, silent = found_of(said(2.0)), found_of(said(0.0))
    for found in (told, silent):
        chance = found["forgotten/confidence_kl_by_chance"].value
        assert 0 < chance < 0.02
    assert told["forgotten/confidence_kl"].value > 0.5
    assert silent["forgotten/confidence_kl"].value < 0.02
    assert told["forgotten/sureness_kl"].value < 0.02

    muted = said(2.0)
    muted.logits[:, 0] = -0.4
    # Nearly: half an image a cell weighs a little more among fewer images.
    assert found_of(muted)["forgotten/confidence_kl"].value < 1e-3


def test_retained_outputs_that_are_surer_with_the_label_show_it():
    outputs = said(0.0)
    outputs.logits[:, 1:] *= 1 + 4 * outputs.targets[:, :1]
    assert found_of(outputs)["forgotten/sureness_kl"].value > 0.5


def test_of_several_labels_the_one_that_diverges_most_counts():
    both = ForgetRequest((0, 1), (2,))
    outputs = said(1.0)
    assert (
        found_of(outputs, request=both)["forgotten/confidence_kl"]
        == found_of(outputs)["forgotten/confidence_kl"]
    )


def test_classes_are_compared_by_the_probability_of_the_class():
    random = torch.Generator().manual_seed(0)
    targets = torch.nn.functional.one_hot(torch.randint(0, 3, (600,), generator=random), 3).float()
    found = found_of(outputs_of(4 * targets, targets), SingleLabel())
    assert found["forgotten/confidence_kl"].value > 3


def test_unknown_targets_are_left_out_and_one_sided_ones_have_a_reason():
    outputs = said(1.0)
    known = torch.rand(outputs.targets.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    hidden = outputs_of(outputs.logits, outputs.targets, known)
    rows = known[:, 0]
    seen = outputs_of(outputs.logits[rows], outputs.targets[rows])
    path = "forgotten/confidence_kl"
    assert found_of(hidden)[path] == found_of(seen)[path]

    none = outputs_of(outputs.logits, torch.zeros_like(outputs.targets))
    assert {finding.missing for finding in found_of(none).values()} == {ONE_SIDED}
