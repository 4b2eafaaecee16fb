import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import log_loss

from mlu.evaluate.distributions import (
    NO_IMAGES,
    distribution_findings,
    drawn,
    losses,
    output_entropies,
)
from mlu.metrics.findings import NO_REFERENCE
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, MultiLabel, SingleLabel

REQUEST = ForgetRequest((1,), (0, 2, 3))
COLUMNS, LABELS, IMAGES = REQUEST.retained, 4, 100
DISTANCES = ["entropy/ks", "loss/ks", "entropy/jensen_shannon"]
PATHS = [
    "entropy/mean",
    "entropy/ks",
    "loss/mean",
    "loss/ks",
    "entropy/jensen_shannon",
    "forgotten/zrf",
]
by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)


def random_logits(seed, scale=2.0):
    return scale * torch.randn(
        IMAGES, LABELS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def said(task, logits, known=None):
    """Outputs with random targets, the same whatever the logits."""
    draw = torch.Generator().manual_seed(99)
    if task.name == "singlelabel":
        targets = torch.nn.functional.one_hot(
            torch.randint(0, LABELS, (len(logits),), generator=draw), LABELS
        ).double()
    else:
        targets = (torch.rand(len(logits), LABELS, generator=draw) < 0.4).double()
    known = torch.ones(targets.shape, dtype=torch.bool) if known is None else known
    return Outputs(logits, targets, known, np.arange(len(logits)))


def distributions(task, row, columns=COLUMNS):
    """The distributions that an image's outputs are.

    A Bernoulli per label, or one over the classes.
    """
    z = row[list(columns)].numpy()
    if task.name == "singlelabel":
        return [np.exp(z) / np.exp(z).sum()]
    return [[1 / (1 + math.exp(-x)), 1 / (1 + math.exp(x))] for x in z]


def plain_entropies(task, logits):
    return np.array([sum(map(stats.entropy, distributions(task, row))) for row in logits])


def plain_losses(task, outputs):
    """By scikit-learn, an image at a time.

    The mean over retained labels, or of images of retained classes.
    """
    rows = zip(outputs.logits, outputs.targets.numpy(), strict=True)
    if task.name == "singlelabel":
        every = range(LABELS)
        return np.array(
            [
                log_loss([true], [distributions(task, row, every)[0]], labels=[*every])
                for row, true in label_rows(rows)
            ]
        )

    return np.array(
        [
            np.mean(
                [
                    log_loss(
                        [true[column]], [distributions(task, row, [column])[0][0]], labels=[0, 1]
                    )
                    for column in COLUMNS
                ]
            )
            for row, true in rows
        ]
    )


def label_rows(rows):
    return ((row, true.argmax()) for row, true in rows if true.argmax() in COLUMNS)


def apart(task, first, second, columns):
    """Mean Jensen-Shannon divergence of the images' outputs, by SciPy."""
    means = []
    for pair in zip(first, second, strict=True):
        ours, theirs = (distributions(task, logits, columns) for logits in pair)
        means.append(np.mean([jensenshannon(p, q) ** 2 for p, q in zip(ours, theirs, strict=True)]))
    return np.mean(means)


def found(task, logits, reference, incompetent=None):
    retrain = None if reference is None else said(task, reference)
    fool = said(task, random_logits(7) if incompetent is None else incompetent)
    return {
        f.path: f for f in distribution_findings(task, said(task, logits), retrain, fool, REQUEST)
    }


@by_task
def test_findings_equal_scipys(task):
    ours, theirs = random_logits(0), random_logits(1, scale=3.0)
    findings = found(task, ours, theirs)
    assert list(findings) == PATHS
    for kind, plain in (
        ("entropy", lambda z: plain_entropies(task, z)),
        ("loss", lambda z: plain_losses(task, said(task, z))),
    ):
        values, references = plain(ours), plain(theirs)
        assert findings[f"{kind}/mean"].value == pytest.approx(values.mean(), abs=1e-12)
        assert findings[f"{kind}/ks"].value == pytest.approx(
            stats.ks_2samp(values, references).statistic, abs=1e-12
        )

    assert findings["entropy/jensen_shannon"].value == pytest.approx(
        apart(task, ours, theirs, COLUMNS), abs=1e-12
    )
    assert 0 < findings["entropy/jensen_shannon"].value < math.log(2)


@by_task
def test_zrf_is_the_distance_to_an_incompetent_teacher_on_what_was_forgotten(task):
    ours, fool = random_logits(0), random_logits(7)
    rows, columns = torch.ones(IMAGES, dtype=torch.bool), REQUEST.forgotten
    if task.name == "singlelabel":
        rows, columns = said(task, ours).targets[:, 1] > 0, range(LABELS)
    expected = 1 - apart(task, ours[rows], fool[rows], columns)
    assert found(task, ours, None)["forgotten/zrf"].value == pytest.approx(expected, abs=1e-12)
    assert 1 - math.log(2) < expected < 1
    assert found(task, fool, None)["forgotten/zrf"].value == 1


@by_task
def test_zrf_is_missing_where_nothing_forgotten_is_known(task):
    known = torch.ones(IMAGES, LABELS, dtype=torch.bool)
    known[:, 1] = False
    outputs = said(task, random_logits(0), known)
    (zrf,) = distribution_findings(task, outputs, None, outputs, REQUEST)[-1:]
    assert (zrf.path, zrf.value, zrf.missing) == ("forgotten/zrf", None, NO_IMAGES)


@by_task
def test_a_model_is_at_no_distance_from_itself(task):
    findings = found(task, random_logits(0), random_logits(0))
    assert [findings[path].value for path in DISTANCES] == [0, 0, 0]


def test_the_forgotten_output_has_no_say_in_what_is_retained():
    ours, theirs = random_logits(0), random_logits(1)
    before = found(MultiLabel(), ours, theirs)
    ours[:, 1], theirs[:, 1] = 50, -50
    after = found(MultiLabel(), ours, theirs)
    assert {path for path in PATHS if after[path] != before[path]} == {"forgotten/zrf"}


@by_task
def test_without_a_reference_distances_are_missing_with_the_reason(task):
    findings = found(task, random_logits(0), None)
    assert list(findings) == PATHS
    assert (
        findings["entropy/mean"].value
        == found(task, random_logits(0), random_logits(1))["entropy/mean"].value
    )
    for path in DISTANCES:
        assert (findings[path].value, findings[path].missing) == (None, NO_REFERENCE)


def test_ks_sees_how_sure_models_are_beyond_float32():
    one, two = torch.full((IMAGES, 4), 20.0), torch.full((IMAGES, 4), 25.0)
    for task in (MultiLabel(), SingleLabel()):
        if task.name == "singlelabel":
            one[:, 1:], two[:, 1:] = 0, 0
        assert found(task, one, two)["entropy/ks"].value == 1


@by_task
def test_what_is_drawn_are_natural_logarithms_and_finite(task):
    outputs = said(task, random_logits(0))
    of_entropies, of_losses = (
        drawn(values(task, outputs, REQUEST)) for values in (output_entropies, losses)
    )
    np.testing.assert_allclose(
        of_entropies, np.log(plain_entropies(task, outputs.logits)), atol=1e-10
    )
    np.testing.assert_allclose(of_losses, np.log(plain_losses(task, outputs)), atol=1e-10)
    np.testing.assert_allclose(drawn(np.zeros(1)), [math.log(1e-12)])


def test_an_unknown_target_counts_in_no_loss():
    known = torch.rand(IMAGES, LABELS, generator=torch.Generator().manual_seed(3)) < 0.5
    outputs = said(MultiLabel(), random_logits(0), known)
    terms = torch.nn.functional.binary_cross_entropy_with_logits(
        outputs.logits, outputs.targets, reduction="none"
    )
    expected = [
        row[seen][:].mean().item()
        for row, seen in zip(terms[:, list(COLUMNS)], known[:, list(COLUMNS)], strict=True)
        if seen.any()
    ]
    np.testing.assert_allclose(losses(MultiLabel(), outputs, REQUEST), expected, atol=1e-12)

    assert len(expected) < IMAGES
