import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mlu.metrics.verification import verification_finding, weighted_auroc


def people_and_embeddings(spread=1.0, people=25, seed=0):
    """Four images of each person, around a direction of the person's own."""
    random = np.random.default_rng(seed)
    persons = np.repeat(np.arange(people), 4)
    centres = random.normal(size=(people, 8))
    return persons, centres[persons] + spread * random.normal(size=(len(persons), 8))


def test_it_is_the_auroc_of_cosine_over_all_pairs():
    persons, embeddings = people_and_embeddings()
    found = verification_finding("path", embeddings, persons)
    scores, same = [], []
    for one in range(len(persons)):
        for other in range(one):
            a, b = embeddings[one], embeddings[other]
            scores.append(a @ b / np.sqrt(a @ a * (b @ b)))
            same.append(persons[one] == persons[other])
    assert found.value == pytest.approx(roc_auc_score(same, scores), abs=1e-12)
    assert found.low < found.value < found.high
    # The length of an embedding does not matter.
    longer = embeddings * np.arange(1, len(persons) + 1)[:, None]
    assert verification_finding("path", longer, persons).value == pytest.approx(found.value)


def test_embeddings_that_know_nobody_are_at_chance():
    persons, _ = people_and_embeddings()
    random = np.random.default_rng(1).normal(size=(len(persons), 8))
    found = verification_finding("path", random, persons)
    assert found.low < 0.5 < found.high
    assert verification_finding("path", people_and_embeddings(0.01)[1], persons).value > 0.999


def test_the_interval_is_as_wide_as_what_other_people_give():
    values, widths = [], []
    for seed in range(12):
        persons, embeddings = people_and_embeddings(seed=seed)
        found = verification_finding("path", embeddings, persons)
        values.append(found.value)
        widths.append(found.high - found.low)
    assert 0.5 < np.mean(widths) / (4 * np.std(values)) < 2.5


@pytest.mark.parametrize("persons", [np.zeros(6), np.arange(6)])
def test_without_pairs_of_both_kinds_there_is_a_reason(persons):
    found = verification_finding("path", np.eye(6), persons)
    assert found.value is None
    assert "nothing to verify" in found.missing


def test_a_weighted_auroc_is_that_of_repeated_cases():
    random = np.random.default_rng(0)
    scores = np.sort(random.integers(0, 5, 40).astype(float))
    truth, weights = random.random(40) < 0.4, random.integers(0, 4, 40)
    repeated = roc_auc_score(np.repeat(truth, weights), np.repeat(scores, weights))
    assert weighted_auroc(scores, truth, weights.astype(float)) == pytest.approx(repeated)
    assert np.isnan(weighted_auroc(scores, truth, np.zeros(40)))
