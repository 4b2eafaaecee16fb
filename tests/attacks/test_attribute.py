import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.neural_network import MLPClassifier
from torch.nn import functional as F

from mlu.attacks import attribute
from mlu.attacks.attribute import (
    FEWEST_TO_LEARN,
    NO_CLASSES,
    NO_OTHERS,
    AttributeInference,
    trial_of,
    views,
)
from mlu.attacks.parts import panel, readers
from mlu.attacks.parts.cases import Cases, Side
from mlu.attacks.parts.panel import BEYOND, STAGES, Look
from mlu.attacks.parts.readers import learnt_scores
from mlu.data.base import LabelledImages
from mlu.data.split import partition, people_drawn
from mlu.metrics import trials
from mlu.metrics.findings import NO_REFERENCE, Trial
from mlu.metrics.trials import TRIAL_METRICS, trial_findings
from mlu.models.outputs import joined_outputs, outputs_of, respond_by_stage
from mlu.models.tasks import ForgetRequest, MultiLabel, SingleLabel
from tests.support.coloured import SPLITS, blind, coloured_victim
from tests.support.victims import LABELS, outputs, split_of, victim_of

VIEWS = ("output", "outputs", "retained_outputs", "features")
PATHS = (
    *(f"aia/{view}{deep}" for view in VIEWS for deep in ("", "/mlp")),
    "aia/features/first",
    "aia/features/last",
)
TWO = ForgetRequest((0, 1), (2,))
by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)


@pytest.fixture(autouse=True)
def _few_permutations(monkeypatch):
    """No test here reads a p-value."""
    monkeypatch.setattr(trials, "PERMUTATIONS", 19)


@pytest.fixture(autouse=True)
def _two_readers(monkeypatch):
    """Regression and perceptron in the views that a model releases, for the sake of time.

    The whole panel is tried in tests/attacks/parts.
    """
    monkeypatch.setattr(panel, "STANDARD", dict.fromkeys((*VIEWS, BEYOND), panel.OF_OUTPUT))


def attacker(images=10_000, strength=1.0, hidden=64, judged="test", **settings):
    chosen = {"panel": "standard", "insider": False, "weak": 0.01} | settings
    return AttributeInference(
        images=images, strength=strength, hidden=hidden, judged=judged, **chosen
    )


def of_first(evidence):
    """What was found of the first label, under its path without a label; without BEYOND."""
    found = {path.replace("aia/label/a", "aia"): trial for path, trial in evidence.items()}
    return {path: trial for path, trial in found.items() if BEYOND not in path}


def observe(victim, **settings):
    return of_first(attacker(**settings).observe(victim))


def told_by_labels(victim, **settings):
    return of_first(attacker(**settings).without_model(victim))


def findings(evidence):
    """All figures of trials of the first label, by path without a label."""
    found = [one for path, trial in evidence.items() for one in trial_findings(path, trial)]
    return {finding.path: finding for finding in found}


def auroc(trial):
    return roc_auc_score(trial.truth, trial.scores)


def balanced(trial):
    return balanced_accuracy_score(trial.truth, trial.scores > 0)


def noise(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def labels(images, seed, task=None, prevalence=0.5):
    draw = torch.Generator().manual_seed(1000 + seed)
    if task is not None and task.name == "singlelabel":
        return F.one_hot(torch.randint(0, LABELS, (images,), generator=draw), LABELS).float()
    return (torch.rand(images, LABELS, generator=draw) < prevalence).float()


def informed(images, seed, signal=1.0, task=None, prevalence=0.5):
    """Logits and features tell the labels, with noise, and labels tell each other.

    One in ten targets is unknown.
    """
    targets = labels(images, seed, task, prevalence)
    if task is None or task.name == "multilabel":
        targets[::3, 1] = targets[::3, 0]
    logits = signal * (targets.double() - 0.5) + noise(3000 + seed, images, LABELS)
    features = torch.cat(
        [logits[:, :1] + noise(4000 + seed, images, 1), noise(5000 + seed, images, 3)], 1
    )
    known = torch.rand(images, LABELS, generator=torch.Generator().manual_seed(seed)) < 0.9
    return outputs(targets, logits, features, known)


def showing(targets, features, seed, persons=None):
    """Logits are noise."""
    return outputs(targets, noise(8000 + seed, *targets.shape), features, None, persons)


def told(images, seed, distance=1.0, prevalence=0.5, column=0):
    """One feature: a label and normal noise, so many standard deviations apart."""
    targets = labels(images, seed, prevalence=prevalence)
    return showing(
        targets, distance * targets[:, [column]].double() + noise(7000 + seed, images, 1), seed
    )


def pair(make, seed=0, **others):
    """A victim with nothing but the splits that the attacker may look at.

    No network, no training images.
    """
    return victim_of({"validation": make(2 * seed), "test": make(2 * seed + 1)}, **others)


def meeting(victim, **said):
    """The same victim where some splits, and what it says of them, are others."""
    said = {**victim.outputs, **said}
    return replace(victim, outputs=said, splits={part: split_of(one) for part, one in said.items()})


def changed(victim, part, **fields):
    return meeting(victim, **{part: replace(victim.outputs[part], **fields)})


def assert_same(found, expected, atol=0.0):
    assert list(found) == list(expected)
    for path, trial in found.items():
        np.testing.assert_allclose(
            trial.scores, expected[path].scores, rtol=0, atol=atol, err_msg=path
        )
        np.testing.assert_array_equal(trial.truth, expected[path].truth)
        np.testing.assert_array_equal(trial.persons, expected[path].persons)


def assert_all_differ(found, other):
    assert not any(np.array_equal(found[path].scores, other[path].scores) for path in PATHS)


def tells(trial):
    """Whether the AUROC is farther above a half than chance takes it.

    Chance hardly takes it as far below.
    """
    positives, negatives = trial.truth.sum(), (~trial.truth).sum()
    exact = math.sqrt((positives + negatives + 1) / (12 * positives * negatives))
    assert auroc(trial) > 0.5 - 3 * exact
    return auroc(trial) > 0.5 + 3 * exact


def written_out(victim, look, strength=1.0, hidden=None):
    """Answers of scikit-learn's classifiers about the test images whose target is known."""
    known = {part: said.known[:, 0].nonzero().squeeze(1) for part, said in victim.outputs.items()}
    learnt, asked = (victim.outputs[part].subset(known[part]) for part in ("validation", "test"))
    truth, wanted = (said.targets[:, 0].numpy() == 1 for said in (learnt, asked))
    fit, ask = (
        (look(said) - look(learnt).mean(0)).numpy() / look(learnt).numpy().std(0)
        for said in (learnt, asked)
    )
    if hidden is None:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000).fit(
            fit, truth
        )
        return Trial(ask @ model.coef_[0] + model.intercept_[0], wanted, asked.identities)

    rising = np.sign(fit[truth].mean(0) - fit[~truth].mean(0))
    weight = np.where(truth, 0.5 / truth.mean(), 0.5 / (~truth).mean())
    model = MLPClassifier(
        (hidden,), early_stopping=True, n_iter_no_change=20, random_state=victim.seed
    ).fit(rising * fit, truth, weight)
    active = np.maximum(rising * ask @ model.coefs_[0] + model.intercepts_[0], 0)

    return Trial((active @ model.coefs_[1] + model.intercepts_[1])[:, 0], wanted, asked.identities)


LOOKS = {
    "output": lambda said: said.logits[:, :1],
    "outputs": lambda said: said.logits,
    "retained_outputs": lambda said: said.logits[:, 1:],
    "features": lambda said: said.stages["last"],
    "features/first": lambda said: said.stages["first"],
    "features/last": lambda said: said.stages["last"],
}


@by_task
@pytest.mark.parametrize(("strength", "hidden", "seed"), [(0.01, 64, 0), (1.0, 5, 3)])
def test_attackers_are_balanced_classifiers_of_standardised_views(task, strength, hidden, seed):
    victim = replace(
        pair(lambda part: informed(200, part, task=task, prevalence=0.3), task=task), seed=seed
    )
    expected = {}
    for view, look in LOOKS.items():
        expected[f"aia/{view}"] = written_out(victim, look, strength)
        if "/" not in view:
            expected[f"aia/{view}/mlp"] = written_out(victim, look, strength, hidden)

    assert tuple(expected) == PATHS
    found = observe(victim, strength=strength, hidden=hidden)
    assert_same(found, expected, atol=1e-6)
    assert_same({"last": found["aia/features/last"]}, {"last": found["aia/features"]})


def test_a_view_shows_the_columns_that_it_names():
    victim = pair(lambda part: informed(5, part), request=ForgetRequest((2, 0), (1,)))
    said = victim.outputs["test"]
    first, middle, last = said.logits.unbind(1)

    shown = {
        "output": [last, first],
        "outputs": [first, middle, last],
        "retained_outputs": [middle],
    }
    expected = {
        **{view: torch.stack(columns, 1) for view, columns in shown.items()},
        "features": said.stages["last"],
    }
    expected |= {f"features/{stage}": means for stage, means in said.stages.items()}
    expected[STAGES] = torch.cat([*said.stages.values()], 1)
    told = torch.where(said.known, said.targets.double(), 0.5)[:, [1]]
    expected[BEYOND] = torch.cat([said.stages["last"], told], 1)

    found = views(victim, said)
    assert found.keys() == expected.keys()
    for view, numbers in expected.items():
        np.testing.assert_array_equal(found[view], numbers.double().numpy(), err_msg=view)


def test_what_no_single_direction_tells_is_seen_by_the_perceptron_alone():
    def exclusive(part):
        features, targets = noise(part, 1500, 2), labels(1500, part)
        targets[:, 0] = ((features[:, 0] > 0) ^ (features[:, 1] > 0)).float()
        return showing(targets, features, part)

    found = observe(pair(exclusive))
    assert not tells(found["aia/features"])
    assert auroc(found["aia/features/mlp"]) > 0.9


def test_a_label_copied_into_one_feature_is_found_by_both_and_nowhere_else():
    def leaking(part):
        targets = labels(1000, part)
        return showing(targets, torch.cat([noise(part, 1000, 6), targets[:, :1].double()], 1), part)

    found = observe(pair(leaking))
    leaks = {"aia/features", "aia/features/mlp", "aia/features/last"}
    assert {path for path in PATHS if tells(found[path])} == leaks
    assert min(auroc(found[path]) for path in leaks) > 0.9


def tries(victim, deep=True, **settings):
    """The attack on the features alone."""
    learnt, judged = (
        Side(said, {"one": said.stages["last"].double().numpy()}).cases(0)
        for said in (victim.outputs[part] for part in ("validation", "test"))
    )
    makers = attacker(**settings).makers(victim)
    asked = [Look("one", name) for name in panel.OF_OUTPUT[: 1 + deep]]
    return {one.path: trial_of(one, makers[one.reader], learnt, judged, None) for one in asked}


def covered(make, truth, simulations, deep=False):
    """Share of independent victims whose interval holds what is true, by metric."""
    count = dict.fromkeys(truth, 0)
    path = "one/mlp" if deep else "one"
    for seed in range(simulations):
        found = findings({"one": tries(make(seed), deep)[path]})
        for metric, value in truth.items():
            count[metric] += found[f"one/{metric}"].low <= value <= found[f"one/{metric}"].high
    return {metric: hits / simulations for metric, hits in count.items()}


def fewest(simulations):
    """The least share that intervals which cover 93 % fall below once in a thousand times."""
    return binom.ppf(0.001, simulations, 0.93) / simulations


def shuffled(seed):
    """Features told the label before it was dealt out anew."""

    def make(part):
        said, order = (
            informed(120, part, 3.0),
            torch.randperm(120, generator=torch.Generator().manual_seed(part)),
        )
        return replace(said, targets=said.targets[order], known=said.known[order])

    return pair(make, seed)


def peeking(seed):
    """The attacker learns from what judges him."""
    victim = shuffled(seed)
    return meeting(victim, validation=victim.outputs["test"])


def test_shuffled_labels_are_read_by_chance_alone():
    half = {"balanced_accuracy": 0.5, "auroc": 0.5}
    for share in covered(shuffled, half, 200).values():
        assert fewest(200) <= share
    assert min(covered(shuffled, half, 40, deep=True).values()) >= fewest(40)
    assert max(covered(peeking, half, 60).values()) < fewest(60)


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_a_feature_that_tells_the_label_with_noise_is_read_as_well_as_it_can_be(distance):
    best = {"auroc": norm.cdf(distance / math.sqrt(2))}
    share = covered(lambda seed: pair(lambda part: told(300, part, distance), seed), best, 60)
    assert share["auroc"] >= fewest(60)


def rare(prevalence, path):
    """Distance of the attack on one and the same feature from the best, in standard errors."""
    trial, best = tries(pair(lambda part: told(6000, part, 2.0, prevalence)))[path], norm.cdf(1.0)
    spread = math.sqrt(best * (1 - best) * (1 / trial.truth.sum() + 1 / (~trial.truth).sum())) / 2
    return (balanced(trial) - best) / spread


@pytest.mark.parametrize("path", ["one", "one/mlp"])
def test_a_rare_label_is_read_as_well_as_a_frequent_one(path, monkeypatch):
    assert abs(rare(0.5, path)) < 3
    assert abs(rare(0.05, path)) < 3
    # Control: without weights it would seem hidden.
    monkeypatch.setattr(readers, "compute_sample_weight", lambda how, truth: np.ones(len(truth)))
    assert rare(0.05, path) < -3


def assert_inversion_hides_nothing(victim):
    other = victim
    for part, said in victim.outputs.items():
        other = changed(other, part, logits=said.logits * torch.tensor([-1.0, 1.0, 1.0]))
    plain, inverted = findings(observe(victim)), findings(observe(other))
    for path, finding in plain.items():
        assert inverted[path].value == pytest.approx(finding.value, abs=1e-9), path


@by_task
def test_an_inverted_output_hides_nothing(task):
    victim = pair(lambda part: informed(300, part, 3.0, task), task=task)
    found = observe(victim)
    assert all(
        tells(found[path])
        for path in ("aia/output", "aia/output/mlp", "aia/outputs", "aia/outputs/mlp")
    )
    assert_inversion_hides_nothing(victim)


def believed(make, view, fit, asked):
    """Takes the output at its word."""
    return asked.seen[view][:, 0]


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [
        (attribute, "learnt_scores", believed),
        (readers.Oriented, "transform", lambda self, seen: seen),
    ],
    ids=["regression", "perceptron"],
)
def test_an_attacker_who_does_not_learn_the_sign_would_be_noticed(owner, name, fault, monkeypatch):
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(AssertionError):
        assert_inversion_hides_nothing(pair(lambda part: informed(300, part, 3.0)))


@by_task
@pytest.mark.parametrize("constant", [-1.3862943611, 0.0, -1e4])
@pytest.mark.parametrize("prevalence", [0.5, 0.1])
def test_a_constant_output_tells_exactly_nothing(task, constant, prevalence):
    victim = pair(lambda part: informed(200, part, 3.0, task, prevalence), task=task)
    for said in victim.outputs.values():
        said.logits[:, 0] = constant
    found = observe(victim)
    for path in ("aia/output", "aia/output/mlp"):
        assert auroc(found[path]) == balanced(found[path]) == 0.5
    assert auroc(found["aia/features"]) != 0.5


def test_answers_do_not_depend_on_the_truth_that_they_are_scored_by():
    victim = pair(lambda part: informed(200, part))
    found = observe(victim)
    flipped = observe(changed(victim, "test", targets=1 - victim.outputs["test"].targets))
    assert_same(
        {path: replace(trial, truth=~trial.truth) for path, trial in flipped.items()}, found
    )
    assert_all_differ(
        found,
        observe(changed(victim, "validation", targets=1 - victim.outputs["validation"].targets)),
    )


def test_the_answer_on_one_image_does_not_depend_on_the_other_images_of_its_split():
    victim = pair(lambda part: informed(200, part))
    said, row = victim.outputs["test"], 17
    others = (torch.arange(200) != row)[:, None]

    def spoilt(numbers, seed):
        return torch.where(others, 1e3 * noise(seed, *numbers.shape), numbers)

    fields = {
        "logits": spoilt(said.logits, 1),
        "targets": torch.where(others, 1 - said.targets, said.targets),
        "known": said.known | others,
        "stages": {name: spoilt(means, 2) for name, means in said.stages.items()},
    }
    found, other = observe(victim), observe(changed(victim, "test", **fields))
    for path in PATHS:
        one, alike = (
            trial.scores[trial.persons == said.identities[row]]
            for trial in (found[path], other[path])
        )
        assert len(one) == 1
        np.testing.assert_allclose(one, alike, atol=1e-9)
        assert np.ptp(other[path].scores) > 2 * np.ptp(found[path].scores)


def test_training_images_are_never_looked_at():
    victim, none = pair(lambda part: informed(100, part)), {"train": None}
    sealed = replace(victim, outputs={**none, **victim.outputs}, splits={**none, **victim.splits})
    for attack in (observe, told_by_labels):
        assert_same(attack(sealed), attack(victim))


def test_no_more_people_are_learnt_from_than_asked_for():
    victim = pair(lambda part: replace(informed(200, part), identities=np.arange(200) // 4))
    said = victim.outputs["validation"]
    (drawn,) = people_drawn(said.identities, [60], victim.seed)
    beyond = torch.ones(200, 1, dtype=torch.bool).index_fill(0, drawn, False)

    def without(rows):
        logits, targets = (
            said.logits.masked_fill(rows, math.nan),
            torch.where(rows, 1 - said.targets, said.targets),
        )
        nan = {name: means.masked_fill(rows, math.nan) for name, means in said.stages.items()}
        return changed(victim, "validation", logits=logits, targets=targets, stages=nan)

    found = observe(victim, images=60)
    assert_same(observe(without(beyond), images=60), found)
    assert_same(observe(meeting(victim, validation=said.subset(drawn))), found)
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="NaN"):
        observe(without(~beyond), images=60)

    assert_all_differ(observe(replace(victim, seed=1), images=60), found)


def test_where_stages_of_some_images_were_kept_these_alone_are_attacked():
    victim, rows = pair(lambda part: informed(200, part)), torch.arange(0, 200, 2)
    some = {
        part: replace(
            said, stages={name: means[rows] for name, means in said.stages.items()}, traced=rows
        )
        for part, said in victim.outputs.items()
    }
    smaller = meeting(victim, **{part: said.subset(rows) for part, said in victim.outputs.items()})
    assert_same(observe(meeting(victim, **some)), observe(smaller))


def test_judged_on_validation_it_never_sees_the_test_split_nor_a_person_twice():
    victim = pair(lambda part: replace(informed(300, part), identities=np.arange(300) // 4))
    blind = replace(
        victim,
        outputs={"validation": victim.outputs["validation"]},
        splits={"validation": victim.splits["validation"]},
    )
    found = observe(blind, judged="validation")
    said = victim.outputs["validation"]
    half, rest = people_drawn(said.identities, [150, 300], victim.seed)
    expected = observe(meeting(victim, validation=said.subset(half), test=said.subset(rest)))
    assert_same(found, expected)
    persons = set(said.identities[half.numpy()])

    assert all(not persons & set(trial.persons) for trial in found.values())
    proxy = told_by_labels(blind, judged="validation")
    assert_same(
        proxy,
        told_by_labels(meeting(victim, validation=said.subset(half), test=said.subset(rest))),
    )


def test_unknown_targets_are_ignored():
    """Whatever they hold: on either split the same as without those images."""
    victim, both, rows = (
        pair(lambda part: told(200, part)),
        ("validation", "test"),
        torch.arange(200) % 4 == 0,
    )

    def spoilt(said, known):
        targets, kept = said.targets.clone(), said.known.clone()
        targets[rows, 0], kept[rows, 0] = 1 - targets[rows, 0], known
        return replace(said, targets=targets, known=kept)

    def meets(change, *parts):
        return observe(meeting(victim, **{part: change(victim.outputs[part]) for part in parts}))

    fewer = meets(lambda said: said.subset((~rows).nonzero().squeeze(1)), *both)
    assert_same(meets(lambda said: spoilt(said, known=False), *both), fewer, atol=1e-9)
    for part in both:
        with pytest.raises(AssertionError):
            assert_same(meets(lambda said: spoilt(said, known=True), part), observe(victim))


def test_each_forgotten_label_is_read_for_itself():
    victim = pair(lambda part: informed(200, part), request=TWO)
    found = attacker().observe(victim)
    assert {path.split("/")[2] for path in found} == {"a", "b"}
    for column, label in enumerate("ab"):
        alone = replace(victim, labels=tuple("abc"), request=ForgetRequest((column,), (2,)))
        # All logits but the forgotten output are the same as for one label alone.
        for view in ("outputs", "features", "features/mlp"):
            path = f"aia/label/{label}/{view}"
            np.testing.assert_array_equal(
                found[path].scores, attacker().observe(alone)[path].scores
            )


@pytest.mark.parametrize("rarer", [0, 1])
@pytest.mark.parametrize(
    ("learnt", "judged", "enough"),
    [(FEWEST_TO_LEARN, 1, True), (FEWEST_TO_LEARN - 1, 1, False), (FEWEST_TO_LEARN, 0, False)],
)
def test_a_handful_of_images_of_each_class_is_enough(rarer, learnt, judged, enough):
    def make(part):
        """Equally many of both classes to learn from, or fewer of the rarer one."""
        said, count = informed(2 * FEWEST_TO_LEARN, part), judged if part else learnt
        said.targets[:, 0], said.known[:] = (
            torch.where(torch.arange(2 * FEWEST_TO_LEARN) < count, rarer, 1 - rarer),
            True,
        )
        return said

    for path, trial in observe(pair(make)).items():
        assert isinstance(trial, Trial) if enough else trial == NO_CLASSES, path


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("hidden", [False, True], ids=["absent", "unknown"])
def test_where_a_class_does_not_occur_every_figure_is_missing_with_the_reason(part, value, hidden):
    victim = pair(lambda part: informed(60, part))
    said = victim.outputs[part]
    if hidden:
        said.known[said.targets[:, 0] != value, 0] = False
    else:
        said.targets[:, 0] = value

    found = observe(victim)
    assert found == dict.fromkeys(PATHS, NO_CLASSES)
    assert told_by_labels(victim) == {"aia": NO_CLASSES, "aia/mlp": NO_CLASSES}
    models = {"original", "retrain", "unlearned"}
    exposure = dict.fromkeys(models, attacker().observe(victim))
    figures = attacker().findings(exposure | {"proxy": attacker().without_model(victim)})
    for name, found in figures.items():
        assert {(finding.value, finding.missing) for finding in found} == {(None, NO_CLASSES)}
        assert len({finding.path for finding in found}) == len(found), name

    paths = [finding.path for finding in figures["original"]]
    for metric in TRIAL_METRICS:
        assert {f"aia/label/a/features/{metric}", f"aia/features/{metric}"} <= {*paths}


def test_without_a_model_the_true_retained_labels_tell_what_they_tell():
    """An unknown one stands halfway. Nothing that any model says is looked at."""

    def look(said):
        return torch.where(said.known, said.targets.double(), 0.5)[:, 1:]

    victim = pair(lambda part: informed(1500, part))
    found = told_by_labels(replace(victim, outputs={}))
    assert_same(
        found,
        {"aia": written_out(victim, look), "aia/mlp": written_out(victim, look, hidden=64)},
        atol=1e-6,
    )
    assert all(map(tells, found.values()))
    # Control: next to other images' labels they tell nothing.
    test = victim.outputs["test"]
    moved = torch.cat([test.targets[:, :1].roll(1, 0), test.targets[:, 1:]], 1)
    assert not tells(told_by_labels(changed(victim, "test", targets=moved))["aia"])


def test_without_a_model_classes_that_exclude_each_other_tell_nothing_new():
    victim = pair(lambda part: informed(60, part, task=SingleLabel()), task=SingleLabel())
    found = told_by_labels(victim)
    assert found == {"aia": NO_OTHERS, "aia/mlp": NO_OTHERS}
    figures = findings(found)
    assert list(figures) == [f"{path}/{metric}" for path in found for metric in TRIAL_METRICS]
    assert all(
        finding.value is None and "single-label" in finding.missing for finding in figures.values()
    )


def test_answers_that_are_sure_keep_their_order():
    """Also where a probability would round to 1.

    Who reads the label off one number says each image's own.
    """

    def apart(part):
        targets = labels(200, part)
        return showing(
            targets, (2 * targets[:, :1].double() - 1) * (1 + 50 * noise(part, 200, 1).abs()), part
        )

    victim = pair(apart)
    (trial,) = tries(victim, deep=False, strength=1e6).values()
    seen = victim.outputs["test"].stages["last"][:, 0]
    assert np.abs(trial.scores).max() > 100
    assert np.array_equal(trial.scores.argsort(), seen.argsort())


class Certain:
    """An attacker with probabilities alone, who is sure of every image: it looks at a number."""

    def fit(self, seen, truth, classify__sample_weight):
        return self

    def predict_proba(self, seen):
        yes = (seen[:, 0] > 0).astype(float)
        return np.stack([1 - yes, yes], 1)


def test_a_probability_of_0_or_1_is_a_finite_score():
    seen = {"one": np.array([[-1.0], [1.0]])}
    cases = Cases(seen, np.array([False, True]), np.array([0, 1]))
    sure = math.log((1 - 1e-12) / 1e-12)
    assert learnt_scores(Certain, "one", cases, cases) == pytest.approx([-sure, sure], abs=1e-4)


def exposure_of(**victims):
    """Evidence of each model, and of none."""
    found = {name: attacker().observe(victim) for name, victim in victims.items()}
    return found | {"proxy": attacker().without_model(next(iter(victims.values())))}


def figures_of(exposure):
    """By model and path."""
    return {
        name: {finding.path: finding for finding in found}
        for name, found in attacker().findings(exposure).items()
    }


def test_what_exceeds_retrain_is_the_difference_of_what_both_tell():
    weak, strong = (
        pair(lambda part, signal=signal: informed(200, part, signal)) for signal in (0.5, 3.0)
    )
    found = figures_of(exposure_of(retrain=weak, unlearned=strong))
    theirs, ours = (observe(victim) for victim in (weak, strong))
    for path in PATHS:
        folded = [abs(balanced(evidence[path]) - 0.5) for evidence in (ours, theirs)]
        for start in ("aia/label/a", "aia"):
            finding = found["unlearned"][f"{path.replace('aia', start)}/excess"]
            assert finding.value == pytest.approx(folded[0] - folded[1], abs=1e-12)
            assert finding.low <= finding.value <= finding.high

    none = figures_of(exposure_of(unlearned=strong))["unlearned"]
    assert {(one.value, one.missing) for path, one in none.items() if path.endswith("/excess")} == {
        (None, NO_REFERENCE)
    }


def test_retrain_handed_in_exceeds_itself_by_exactly_nothing():
    victim = pair(lambda part: informed(200, part), request=TWO)
    found = figures_of(exposure_of(retrain=victim, unlearned=victim))["unlearned"]
    excesses = [one for path, one in found.items() if path.endswith("/excess")]
    assert len(excesses) > 30
    assert {one.value for one in excesses} == {0.0}
    assert {(one.low, one.high) for one in excesses} == {(0.0, 0.0), (None, None)}


def hiding(column):
    """Retrain's features tell nothing of two labels; the model's tell one of them."""

    def make(part):
        targets = labels(400, part)
        told = noise(part, 400, 3)
        told[:, 0] += 3 * targets[:, column].double()
        return showing(targets, told, part)

    return pair(make, request=TWO)


@pytest.mark.parametrize("column", [0, 1])
def test_of_several_labels_the_one_that_leaks_is_the_headline(column):
    blank = pair(lambda part: showing(labels(400, part), noise(part, 400, 3), part), request=TWO)
    found = figures_of(exposure_of(retrain=blank, unlearned=hiding(column)))
    for path in ("aia/features", "aia/strongest/features", "aia/strongest"):
        finding = found["unlearned"][f"{path}/excess"]
        of_label = found["unlearned"][f"aia/label/{'ab'[column]}{path[3:]}/excess"]
        assert finding.chosen["label"] == "ab"[column]
        assert finding.value == of_label.value > 0.2
        assert (finding.low, finding.high) == (None, None)
        assert of_label.low > 0.1
        # The same label of each model, so that one may be held against the other.
        beside = found["retrain"][f"{path}/balanced_accuracy"]
        assert beside.chosen["label"] == "ab"[column]


def test_features_tell_beyond_the_true_retained_labels_what_these_do_not():
    """The second label is the first one's copy in one victim; features are the same in both."""

    def make(copied):
        def one(part):
            targets = labels(600, part)
            if copied:
                targets[:, 1] = targets[:, 0]
            features = noise(part, 600, 3)
            features[:, 0] += 3 * targets[:, 0].double()
            return showing(targets, features, part)

        return pair(one)

    free, known = (
        figures_of(exposure_of(unlearned=make(copied)))["unlearned"] for copied in (0, 1)
    )
    for metric in ("balanced_accuracy", "bits"):
        path = f"aia/beyond_retained/{metric}"
        assert free[path].low > 0.2
        assert known[path].value == 0


@pytest.mark.parametrize("path", ["aia/features", "aia/features/mlp"])
def test_who_knows_the_persons_reads_them_again_unless_no_person_is_in_both_splits(path):
    """Features tell who is on an image, and nothing else.

    The package's own split keeps persons apart.
    """
    persons = np.arange(80).repeat(6)
    label = np.random.default_rng(0).integers(0, 2, (80, LABELS)).astype(np.uint8)[persons]
    codes, blank = noise(0, 80, 40)[persons], np.zeros((len(persons), 3, 1, 1), np.uint8)
    found = {}
    for name, known in (("disjoint", persons), ("overlapping", None)):
        data = LabelledImages(
            "codes", "multilabel", blank, label, ("a", "b", "c"), "", identities=known
        )
        parts = list(partition(data, seed=0).values())[:2]
        said = [showing(part.targets, codes[part.rows], 0, persons[part.rows]) for part in parts]
        victim = victim_of(dict(zip(("validation", "test"), said, strict=True)))
        found[name] = findings(observe(victim))[f"{path}/balanced_accuracy"]

    assert found["disjoint"].low <= 0.5 <= found["disjoint"].high < found["overlapping"].low


def whole_victim(**others):
    """A victim with a network, images and all that its stages say."""
    victim = coloured_victim(**others)
    said = {
        name: outputs_of(split, respond_by_stage(victim.net, split))
        for name, split in victim.splits.items()
    }
    return replace(victim, outputs=said, original=said)


def test_the_full_panel_has_the_readers_that_are_networks_and_learns_nothing_from_training_images():
    victim = whole_victim()
    images = victim.splits["test"].images
    images.asked.clear()
    found = attacker(panel="full").observe(victim)
    for path in ("features/conv", "network/tuned", "outputs/svm", "features/trees"):
        assert auroc(found[f"aia/label/Red/{path}"]) > 0.9, path

    asked = np.concatenate([rows for rows, _ in images.asked])
    assert not {*asked} & {*SPLITS["train"]}


def test_an_insider_also_learns_from_the_training_images():
    victim = whole_victim()
    outsider, insider = (attacker(insider=inside).observe(victim) for inside in (False, True))
    path = "aia/label/Red/features"
    assert not np.array_equal(outsider[path].scores, insider[path].scores)

    # The same as an outsider whose validation people are all of these.
    both = joined_outputs(victim.outputs["validation"], victim.outputs["train"])
    said = {**victim.outputs, "validation": both}
    told = {
        name: replace(
            split_of(one), images=victim.splits["test"].images, rows=victim.splits["test"].rows
        )
        for name, one in said.items()
    }
    alike = attacker().observe(replace(victim, outputs=said, splits=told))
    np.testing.assert_allclose(insider[path].scores, alike[path].scores, atol=1e-6)


def test_the_original_handed_in_is_read_as_far_beyond_retrain_as_there_is_room():
    found = figures_of(
        {
            name: attacker().observe(whole_victim(done=done))
            for name, done in (
                ("original", lambda net, task: net),
                ("retrain", blind),
                ("unlearned", lambda net, task: net),
            )
        }
        | {"proxy": attacker().without_model(whole_victim())}
    )
    for place in ("outputs", "features"):
        path = f"aia/label/Red/strongest/{place}/excess"
        room, left = found["original"][path], found["unlearned"][path]
        assert room.value == left.value
        assert room.low > 0.1
