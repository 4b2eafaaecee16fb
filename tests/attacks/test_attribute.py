import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from torch.nn import functional as F

from mlu.attacks import attribute
from mlu.attacks.attribute import METRICS, NO_CLASSES, AttributeInference, views
from mlu.contracts import ForgetRequest, Victim
from mlu.data.base import LabelledImages
from mlu.data.split import partition
from mlu.models.outputs import Outputs
from mlu.tasks import MultiLabel, SingleLabel

VIEWS = ("output", "outputs", "retained_outputs", "features")
LABELS = 3
REQUEST = ForgetRequest((0,), (1, 2))
by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)


def attack(victim, strength=1.0):
    """Every finding by its path, without the attack's name."""
    found = AttributeInference(name="aia", strength=strength).run(victim)
    return {finding.path.removeprefix("aia/"): finding for finding in found}


def values(findings):
    return {path: finding.value for path, finding in findings.items()}


def noise(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def seen(targets, features=None, logits=None, seed=0, identities=None):
    """Outputs whose logits and features are noise where they are not given."""
    images = len(targets)
    return Outputs(
        noise(2 * seed, images, LABELS) if logits is None else logits,
        targets,
        torch.ones(images, targets.shape[1], dtype=torch.bool),
        np.arange(images) if identities is None else identities,
        noise(2 * seed + 1, images, 10) if features is None else features,
    )


def targets_of(images, seed, task=None, prevalence=0.5):
    draw = torch.Generator().manual_seed(1000 + seed)
    if task is not None and task.name == "singlelabel":
        return F.one_hot(torch.randint(0, LABELS, (images,), generator=draw), LABELS).float()
    return (torch.rand(images, LABELS, generator=draw) < prevalence).float()


def victim_of(validation, test, task=None, request=REQUEST):
    return Victim(task or MultiLabel(), request, validation, test)


def informed(images, seed, signal=1.0, task=None, prevalence=0.5):
    """Logits and features that tell the labels, with noise; one in ten targets is unknown."""
    targets = targets_of(images, seed, task, prevalence)
    logits = signal * (targets.double() - 0.5) + noise(3000 + seed, images, LABELS)
    features = torch.cat([logits[:, :1] + noise(4000 + seed, images, 1), noise(5000 + seed, images, 3)], 1)
    outputs = seen(targets, features, logits)
    return replace(outputs, known=torch.rand(images, LABELS, generator=torch.Generator().manual_seed(seed)) < 0.9)


def by_sklearn(victim, columns, seen_of, strength):
    """The attack written out: standardised by the validation images, classes weighted, judged on the test images."""
    (column,) = columns
    fitted, judged = (outputs.known[:, column].numpy() for outputs in (victim.validation, victim.test))
    fit, judge = (seen_of(outputs).numpy() for outputs in (victim.validation, victim.test))
    mean, spread = fit[fitted].mean(0), fit[fitted].std(0)
    true, wanted = victim.validation.targets[fitted, column].numpy(), victim.test.targets[judged, column].numpy()
    weight = np.where(true == 1, len(true) / (2 * true.sum()), len(true) / (2 * (1 - true).sum()))
    model = LogisticRegression(C=strength, max_iter=1000).fit((fit[fitted] - mean) / spread, true, weight)
    said = (judge[judged] - mean) / spread @ model.coef_[0] + model.intercept_[0]
    return {
        "balanced_accuracy": balanced_accuracy_score(wanted, said > 0),
        "auroc": roc_auc_score(wanted, said),
        "accuracy": accuracy_score(wanted, said > 0),
    }


@by_task
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_it_is_a_balanced_logistic_regression_on_standardised_views(task, strength):
    victim = victim_of(*(informed(200, seed, task=task, prevalence=0.3) for seed in (0, 1)), task)
    found = values(attack(victim, strength))
    looks = {
        "output": lambda outputs: outputs.logits[:, :1],
        "outputs": lambda outputs: outputs.logits,
        "retained_outputs": lambda outputs: outputs.logits[:, 1:],
        "features": lambda outputs: outputs.features,
    }
    for view, look in looks.items():
        for metric, value in by_sklearn(victim, (0,), look, strength).items():
            assert found[f"{view}/{metric}"] == pytest.approx(value, abs=1e-6), view


def test_every_view_has_every_metric_and_rates_have_intervals():
    found = AttributeInference(name="aia", strength=1.0).run(victim_of(informed(200, 0), informed(200, 1)))
    assert [finding.path for finding in found] == [f"aia/{view}/{metric}" for view in VIEWS for metric in METRICS]
    for finding in found:
        if finding.path.endswith("auroc"):
            assert finding.low is None
        else:
            assert 0 <= finding.low < finding.value < finding.high <= 1


def test_a_view_shows_the_columns_that_it_names():
    outputs = seen(targets_of(5, 0))
    found = views(victim_of(outputs, outputs, request=ForgetRequest((2, 0), (1,))), outputs)
    assert set(found) == set(VIEWS)
    assert torch.equal(found["output"], torch.stack([outputs.logits[:, 2], outputs.logits[:, 0]], 1))
    assert torch.equal(found["outputs"], outputs.logits)
    assert torch.equal(found["retained_outputs"], outputs.logits[:, 1:2])
    assert torch.equal(found["features"], outputs.features)


REPEATS = 25


def misses(make):
    """How often, of so many independent victims that know nothing, an interval leaves out one half, by view."""
    count = dict.fromkeys(VIEWS, 0)
    for seed in range(REPEATS):
        found = attack(make(seed))
        for view in VIEWS:
            balanced = found[f"{view}/balanced_accuracy"]
            count[view] += not balanced.low <= 0.5 <= balanced.high
    return count


def assert_calibrated(count):
    """No more misses than intervals of 95 % have, but for one experiment in a thousand."""
    assert max(count.values()) <= binom.ppf(0.999, REPEATS, 0.05)


def ignorant(seed):
    return victim_of(*(seen(targets_of(100, 2 * seed + part), seed=2 * seed + part) for part in (0, 1)))


def test_who_knows_nothing_reads_a_half():
    assert_calibrated(misses(ignorant))


def test_an_attacker_who_was_fitted_on_what_judges_him_would_be_noticed():
    def dishonest(seed):
        victim = ignorant(seed)
        return replace(victim, validation=victim.test)

    with pytest.raises(AssertionError):
        assert_calibrated(misses(dishonest))


def null_spread(positives, negatives):
    """Exact standard deviation of the AUROC of scores that know nothing."""
    return math.sqrt((positives + negatives + 1) / (12 * positives * negatives))


def permuted(outputs, seed):
    order = torch.randperm(len(outputs.targets), generator=torch.Generator().manual_seed(seed))
    return replace(outputs, targets=outputs.targets[order])


def test_permuted_labels_are_read_by_chance_alone():
    victim = victim_of(*(informed(1000, seed, signal=3.0) for seed in (0, 1)))
    control = victim_of(permuted(victim.validation, 0), permuted(victim.test, 1))
    positives = int((control.test.targets * control.test.known)[:, 0].sum())
    reach = 3 * null_spread(positives, int(control.test.known[:, 0].sum()) - positives)
    known, chance = values(attack(victim)), values(attack(control))
    for view in ("output", "outputs", "features"):
        assert abs(chance[f"{view}/auroc"] - 0.5) < reach < known[f"{view}/auroc"] - 0.5


def told(images, seed, distance, prevalence=0.5):
    """One feature: the label and normal noise, `distance` standard deviations apart."""
    targets = targets_of(images, seed, prevalence=prevalence)
    return seen(targets, features=distance * targets[:, :1].double() + noise(7000 + seed, images, 1))


def auroc_spread(area, positives, negatives):
    """Standard error of an AUROC (Hanley and McNeil, 1982)."""
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (one - area**2) + (negatives - 1) * (other - area**2)
    return math.sqrt(variance / (positives * negatives))


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_a_feature_that_tells_the_label_with_noise_is_read_as_well_as_it_can_be(distance):
    victim = victim_of(*(told(2000, seed, distance) for seed in (0, 1)))
    found = attack(victim)
    area = norm.cdf(distance / math.sqrt(2))
    positives = int(victim.test.targets[:, 0].sum())
    assert abs(found["features/auroc"].value - area) < 3 * auroc_spread(area, positives, 2000 - positives)
    balanced = found["features/balanced_accuracy"]
    assert balanced.low <= norm.cdf(distance / 2) <= balanced.high


def rare(prevalence):
    """What the attack makes of one and the same feature, whatever share of the images has the label."""
    victim = victim_of(*(told(6000, seed, 2.0, prevalence) for seed in (0, 1)))
    return attack(victim)["features/balanced_accuracy"]


@pytest.mark.parametrize("prevalence", [0.5, 0.02])
def test_a_rare_label_is_read_as_well_as_a_frequent_one(prevalence):
    found = rare(prevalence)
    assert found.low <= norm.cdf(1.0) <= found.high


def test_without_weights_a_rare_label_would_seem_hidden(monkeypatch):
    def unweighted(class_weight, **settings):
        return LogisticRegression(**settings)

    monkeypatch.setattr(attribute, "LogisticRegression", unweighted)
    assert rare(0.02).high < norm.cdf(1.0)


def inverted(victim):
    validation, test = (replace(outputs, logits=-outputs.logits) for outputs in (victim.validation, victim.test))
    return replace(victim, validation=validation, test=test)


def assert_inversion_hides_nothing(victim):
    plain, other = attack(victim), attack(inverted(victim))
    for view in ("output", "outputs", "retained_outputs"):
        for metric in METRICS:
            assert plain[f"{view}/{metric}"].value == pytest.approx(other[f"{view}/{metric}"].value, abs=1e-9)


@by_task
def test_an_inverted_output_hides_nothing(task):
    victim = victim_of(*(informed(300, seed, signal=2.0, task=task) for seed in (0, 1)), task)
    assert attack(victim)["output/balanced_accuracy"].low > 0.5
    assert_inversion_hides_nothing(victim)


class Believer:
    """Takes the output at its word."""

    def fit(self, inputs, targets):
        return self

    def decision_function(self, inputs):
        return inputs[:, 0]


def test_an_attacker_who_does_not_learn_the_sign_would_be_noticed(monkeypatch):
    monkeypatch.setattr(attribute, "make_pipeline", lambda *steps: Believer())
    with pytest.raises(AssertionError):
        assert_inversion_hides_nothing(victim_of(*(informed(300, seed, signal=2.0) for seed in (0, 1))))


@by_task
@pytest.mark.parametrize("constant", [-1.3862943611, 0.0, -1e4])
@pytest.mark.parametrize("prevalence", [0.5, 0.1])
def test_a_constant_output_tells_exactly_nothing(task, constant, prevalence):
    """The other outputs still do."""
    victim = victim_of(*(informed(200, seed, 3.0, task, prevalence) for seed in (0, 1)), task)
    for outputs in (victim.validation, victim.test):
        outputs.logits[:, 0] = constant
    found = values(attack(victim))
    assert found["output/balanced_accuracy"] == 0.5
    assert found["output/auroc"] == 0.5
    assert found["features/auroc"] != 0.5


def test_unknown_targets_are_ignored():
    """Whatever they hold: on either split the same as without those images."""
    validation, test = (
        replace(informed(200, seed), known=torch.ones(200, LABELS, dtype=torch.bool)) for seed in (0, 1)
    )
    plain = values(attack(victim_of(validation, test)))
    rows = torch.arange(200) % 4 == 0

    def spoilt(outputs, known):
        targets, said = outputs.targets.clone(), outputs.known.clone()
        targets[rows, 0], said[rows, 0] = 1 - targets[rows, 0], known
        return replace(outputs, targets=targets, known=said)

    fewer = values(attack(victim_of(*(one.subset((~rows).nonzero().squeeze(1)) for one in (validation, test)))))
    assert values(attack(victim_of(*(spoilt(one, known=False) for one in (validation, test))))) == fewer
    for one in (victim_of(spoilt(validation, True), test), victim_of(validation, spoilt(test, True))):
        assert values(attack(one)) != plain


def readable(column, absent=None):
    """Only label `column` can be read from logits and features; of `absent` there is no positive."""

    def one(seed):
        targets = targets_of(400, seed)
        if absent is not None:
            targets[:, absent] = 0
        features = targets[:, [column]].double() + noise(seed, 400, 1)
        return seen(targets, features, torch.cat([features, noise(50 + seed, 400, 2)], 1))

    return victim_of(one(0), one(1), request=ForgetRequest((0, 1), (2,)))


@pytest.mark.parametrize("column", [0, 1])
def test_of_several_forgotten_labels_the_one_that_is_read_best_is_reported(column):
    victim = readable(column)
    both = attack(victim)
    alone, other = (
        attack(replace(victim, request=ForgetRequest((one,), tuple({0, 1, 2} - {one})))) for one in (column, 1 - column)
    )
    for path in (f"{view}/{metric}" for view in ("outputs", "features") for metric in METRICS):
        assert both[path] == alone[path] != other[path]


def test_a_label_without_positives_leaves_the_floor_to_the_others():
    victim = readable(column=1, absent=0)
    alone = attack(replace(victim, request=ForgetRequest((1,), (0, 2))))
    assert attack(victim)["features/auroc"] == alone["features/auroc"]


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("hidden", [False, True], ids=["absent", "unknown"])
def test_where_a_class_does_not_occur_every_figure_is_missing_with_the_reason(part, value, hidden):
    victim = victim_of(informed(60, 0), informed(60, 1))
    outputs = getattr(victim, part)
    if hidden:
        outputs.known[outputs.targets[:, 0] != value, 0] = False
    else:
        outputs.targets[:, 0] = value
    found = attack(victim)
    assert set(found) == {f"{view}/{metric}" for view in VIEWS for metric in METRICS}
    assert {(finding.value, finding.missing) for finding in found.values()} == {(None, NO_CLASSES)}


def decisions(victim, monkeypatch):
    """What the attacker says of each test image, by view."""
    said = []
    judge = attribute.label_figures
    monkeypatch.setattr(
        attribute, "label_figures", lambda task, outputs: said.append(outputs.logits) or judge(task, outputs)
    )
    attack(victim)
    monkeypatch.undo()
    return torch.cat(said, 1)


def test_the_attacker_learns_from_the_validation_split_alone(monkeypatch):
    victim = victim_of(*(informed(200, seed) for seed in (0, 1)))
    said = decisions(victim, monkeypatch)
    for part, learns in (("test", False), ("validation", True)):
        outputs = getattr(victim, part)
        other = replace(victim, **{part: replace(outputs, targets=1 - outputs.targets)})
        assert torch.equal(said, decisions(other, monkeypatch)) != learns


def test_the_scale_of_what_is_seen_is_learnt_from_the_validation_split(monkeypatch):
    """One test image more does not change what is said of the others."""
    victim = victim_of(*(informed(200, seed) for seed in (0, 1)))
    loud = replace(victim.test, logits=victim.test.logits.clone(), features=victim.test.features.clone())
    loud.logits[0], loud.features[0], loud.known[0] = 1e6, 1e6, True
    both = (decisions(replace(victim, test=test), monkeypatch) for test in (victim.test, loud))
    one, other = (said[1:] for said in both)
    assert torch.equal(one, other)


PERSONS, EACH = 80, 6


def test_who_knows_the_persons_reads_them_again_unless_no_person_is_in_both_splits():
    """Features tell who is on an image, and nothing else. The package's own split keeps persons apart."""
    identities = np.arange(PERSONS).repeat(EACH)
    random = np.random.default_rng(0)
    label = random.integers(0, 2, (PERSONS, LABELS)).astype(np.uint8)[identities]
    codes = torch.from_numpy(random.normal(size=(PERSONS, 40))[identities])
    data = LabelledImages("codes", "multilabel", np.zeros((len(label), 3, 1, 1), np.uint8), label, ("a", "b", "c"), "")
    rows = {}
    for name, known in (("disjoint", identities), ("overlapping", None)):
        parts = partition(replace(data, identities=known), seed=0)
        rows[name] = [parts["train"].rows, parts["validation"].rows]
    found = {}
    for name, pair in rows.items():
        victim = victim_of(
            *(seen(torch.from_numpy(label[one]).float(), codes[one], identities=identities[one]) for one in pair)
        )
        found[name] = attack(victim)["features/balanced_accuracy"]
    assert found["disjoint"].low <= 0.5 <= found["disjoint"].high < found["overlapping"].low
