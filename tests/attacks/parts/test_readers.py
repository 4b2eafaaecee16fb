import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from mlu.attacks.parts.cases import Cases
from mlu.attacks.parts.readers import LINEAR, NEIGHBOURS, learnt_scores, panel_of

WEIGHED = {"class_weight": "balanced"}


def drawn(seed, images=300, kind="told", share=0.5):
    """Three numbers of each image, of which one tells the label, or two only together."""
    random = np.random.default_rng(seed)
    truth = random.random(images) < share
    numbers = random.normal(size=(images, 3))
    if kind == "told":
        numbers[:, 0] += 2 * truth
    if kind == "together":
        truth = (numbers[:, 0] > 0) ^ (numbers[:, 1] > 0)
    return Cases({"one": numbers}, truth, np.arange(images))


def panel():
    return panel_of(strength=1.0, weaker=0.01, hidden=16, seed=0)


def read(name, fit, asked):
    return learnt_scores(panel()[name], "one", fit, asked)


def binned(fit, asked):
    """Numbers by how many of 31 quantiles lie below them."""
    edges = np.quantile(fit.seen["one"], np.arange(1, 32) / 32, axis=0)
    return [(one.seen["one"][:, None] > edges).sum(1) for one in (fit, asked)]


def scaled(fit, asked):
    seen = fit.seen["one"]
    return [(one.seen["one"] - seen.mean(0)) / seen.std(0) for one in (fit, asked)]


@pytest.mark.parametrize(
    ("name", "written_out"),
    [
        (LINEAR, LogisticRegression(C=1.0, **WEIGHED)),
        ("weak", LogisticRegression(C=0.01, **WEIGHED)),
        ("svm", SVC(C=10, **WEIGHED)),
        (
            "trees",
            HistGradientBoostingClassifier(max_leaf_nodes=8, early_stopping=False, **WEIGHED),
        ),
    ],
)
def test_a_reader_is_scikit_learns_classifier_of_scaled_numbers(name, written_out):
    fit, asked = drawn(0, share=0.3), drawn(1, share=0.3)
    own, theirs = (binned if name == "trees" else scaled)(fit, asked)
    expected = written_out.fit(own, fit.truth).decision_function(theirs)
    np.testing.assert_allclose(read(name, fit, asked), expected, atol=1e-6)


def test_neighbours_of_even_classes_vote_as_scikit_learns_do():
    fit, asked = drawn(0), drawn(1)
    fit = fit.subset(
        np.concatenate([fit.truth.nonzero()[0][:100], (~fit.truth).nonzero()[0][:100]])
    )
    own, theirs = scaled(fit, asked)
    shares = KNeighborsClassifier(NEIGHBOURS).fit(own, fit.truth).predict_proba(theirs)[:, 1]
    np.testing.assert_allclose(read("knn", fit, asked), 2 * shares - 1, atol=1e-9)


@pytest.mark.parametrize("name", panel())
def test_a_rare_label_is_told_as_often_as_its_absence(name):
    """Without weights nearly everybody would be said to lack it."""
    fit, asked = drawn(0, 2000, share=0.05), drawn(1, 2000, share=0.05)
    said = read(name, fit, asked) > 0
    caught, wrongly = said[asked.truth].mean(), said[~asked.truth].mean()
    assert caught > (0.2 if name == "trees" else 0.5)
    assert wrongly < 0.5


@pytest.mark.parametrize("name", panel())
def test_what_two_numbers_tell_together_is_told_by_all_but_linear_readers(name):
    fit, asked = drawn(0, 1500, "together"), drawn(1, 1500, "together")
    auroc = roc_auc_score(asked.truth, read(name, fit, asked))
    assert auroc > 0.9 if name not in (LINEAR, "weak") else abs(auroc - 0.5) < 0.08


@pytest.mark.parametrize("name", panel())
def test_shuffled_labels_are_told_by_chance_alone(name):
    aurocs = []
    for seed in range(10):
        asked = drawn(2 * seed + 1, 200, "nothing")
        aurocs.append(
            roc_auc_score(asked.truth, read(name, drawn(2 * seed, 200, "nothing"), asked))
        )
    # The standard deviation of the AUROC of noise about 100 and 100 images is 0.041.
    assert abs(np.mean(aurocs) - 0.5) < 4 * 0.041 / np.sqrt(10)


@pytest.mark.parametrize("name", panel())
def test_a_constant_and_a_mirrored_number_are_read_for_what_they_are(name):
    fit, asked = drawn(0), drawn(1)
    blank = [
        Cases({"one": 0 * one.seen["one"] - 3}, one.truth, one.persons) for one in (fit, asked)
    ]
    assert np.ptp(read(name, *blank)) == 0
    mirrored = [Cases({"one": -one.seen["one"]}, one.truth, one.persons) for one in (fit, asked)]
    plain, other = read(name, fit, asked), read(name, *mirrored)
    # Trees cut between numbers, and not always at the same side of one.
    agree = np.mean((plain > 0) == (other > 0))
    assert agree > 0.95 if name == "trees" else agree == 1


@pytest.mark.parametrize("name", panel())
def test_twenty_images_are_enough_to_learn_from(name):
    assert len(read(name, drawn(0, 20), drawn(1, 30))) == 30


@pytest.mark.parametrize("elsewhere", [1.0, 3.0, 0.0])
@pytest.mark.parametrize("constant", [0.3, -1e9, 1e24])
@pytest.mark.parametrize("name", panel())
def test_a_number_that_is_the_same_for_all_that_is_learnt_from_blinds_no_reader(
    name, constant, elsewhere
):
    fit, asked = drawn(0), drawn(1)
    told = roc_auc_score(asked.truth, read(name, fit, asked))
    assert told > 0.85

    def beside(cases, values):
        column = np.resize(values, (len(cases.truth), 1))
        return Cases({"one": np.hstack([column, cases.seen["one"]])}, cases.truth, cases.persons)

    planted = read(name, beside(fit, [constant]), beside(asked, [constant, elsewhere * constant]))
    assert roc_auc_score(asked.truth, planted) > told - 0.02
