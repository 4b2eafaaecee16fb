import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlu.evaluate.entropy import entropy_findings, log_entropies
from mlu.tasks import MultiLabel, SingleLabel

COLUMNS = (0, 2, 3)
PATHS = ["entropy/mean", "entropy/jensen_shannon", "entropy/ks"]
by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)


def random_logits(seed, images=100, scale=2.0):
    return scale * torch.randn(images, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def distributions(task, row):
    """The distributions that an image's retained outputs are: a Bernoulli per label, or one over the classes."""
    z = row[list(COLUMNS)].numpy()
    if task.name == "singlelabel":
        return [np.exp(z) / np.exp(z).sum()]
    return [[1 / (1 + math.exp(-x)), 1 / (1 + math.exp(x))] for x in z]


def plain_entropies(task, logits):
    return np.array([sum(map(stats.entropy, distributions(task, row))) for row in logits])


def found(task, logits, reference):
    return {f.path: f for f in entropy_findings(task, logits, reference, COLUMNS, "no Retrain")}


@by_task
def test_findings_equal_scipys(task):
    ours, theirs = random_logits(0), random_logits(1, scale=3.0)
    findings = found(task, ours, theirs)
    assert list(findings) == PATHS
    entropies, references = plain_entropies(task, ours), plain_entropies(task, theirs)
    assert findings["entropy/mean"].value == pytest.approx(entropies.mean(), abs=1e-12)
    assert findings["entropy/ks"].value == pytest.approx(stats.ks_2samp(entropies, references).statistic, abs=1e-12)
    divergences = [
        np.mean([jensenshannon(p, q) ** 2 for p, q in zip(distributions(task, a), distributions(task, b), strict=True)])
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert findings["entropy/jensen_shannon"].value == pytest.approx(np.mean(divergences), abs=1e-12)
    assert 0 < findings["entropy/jensen_shannon"].value < math.log(2)


@by_task
def test_a_model_is_at_no_distance_from_itself(task):
    findings = found(task, random_logits(0), random_logits(0))
    assert (findings["entropy/jensen_shannon"].value, findings["entropy/ks"].value) == (0, 0)


@by_task
def test_the_forgotten_output_has_no_say(task):
    ours, theirs = random_logits(0), random_logits(1)
    before = found(task, ours, theirs)
    ours[:, 1], theirs[:, 1] = 50, -50
    assert found(task, ours, theirs) == before


@by_task
def test_without_a_reference_distances_are_missing_with_the_reason(task):
    findings = found(task, random_logits(0), None)
    assert list(findings) == PATHS
    assert findings["entropy/mean"].value == found(task, random_logits(0), random_logits(1))["entropy/mean"].value
    for path in PATHS[1:]:
        assert (findings[path].value, findings[path].missing) == (None, "no Retrain")


def test_ks_sees_how_sure_models_are_beyond_float32():
    one, two = torch.full((50, 4), 20.0), torch.full((50, 4), 25.0)
    for task in (MultiLabel(), SingleLabel()):
        if task.name == "singlelabel":
            one[:, 1:], two[:, 1:] = 0, 0
        assert found(task, one, two)["entropy/ks"].value == 1


@by_task
def test_log_entropies_are_natural_and_finite(task):
    logits = random_logits(0)
    np.testing.assert_allclose(log_entropies(task, logits, COLUMNS), np.log(plain_entropies(task, logits)), atol=1e-10)
    certain = torch.tensor([[1000.0, 0, -1000, -1000]])
    np.testing.assert_allclose(log_entropies(task, certain, COLUMNS), [math.log(1e-12)])
