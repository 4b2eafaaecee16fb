"""Validation people who are asked while a method forgets: who they are, and what they show."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mlu.data.divided import ImageData
from mlu.models.outputs import respond
from mlu.pipeline import watching
from mlu.pipeline.context import context_of
from mlu.pipeline.judgement import judge
from mlu.pipeline.models import models_of
from mlu.pipeline.run import run
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import unlearn_in_turn, unlearned_model, watched_in_turn
from mlu.pipeline.watching import audience_of, folded_accuracy, log_look, point_of_model
from mlu.system.errors import UserError

MALE = ("attack=none", "forget_label.names=[Male]")
BRIEF = ("method=wf", "method.images=64", "method.tuning.steps=6", "phi=0.1")


@pytest.fixture
def context(experiment):
    return context_of(experiment(*MALE, "trace=3"))


def test_both_halves_are_validation_people_and_share_none(context):
    audience, splits = audience_of(context), context.data.splits
    people = [set(audience.split.identities[rows]) for rows in (audience.taught, audience.judged)]
    assert all(people)
    assert not people[0] & people[1]
    assert people[0] | people[1] <= set(splits["validation"].identities)
    for other in ("train", "test"):
        assert not (people[0] | people[1]) & set(splits[other].identities)
    # As many images on either side, but for those of one person.
    assert abs(len(audience.taught) - len(audience.judged)) <= 10


def test_who_is_asked_follows_the_split_alone(experiment):
    first, same, other = (
        audience_of(context_of(experiment(*MALE, *words)))
        for words in ((), ("method_seed=1", "train_seed=1"), ("split_seed=1",))
    )
    assert torch.equal(first.taught, same.taught)
    assert np.array_equal(first.split.rows, same.split.rows)
    assert not np.array_equal(first.split.rows, other.split.rows)


def test_of_many_people_some_are_drawn(context, monkeypatch):
    monkeypatch.setattr(watching, "MOST_ASKED", 40)
    audience = audience_of(context)
    assert len(audience.split) == 40
    assert len({*audience.taught.tolist(), *audience.judged.tolist()}) > 30


def test_readings_are_those_of_plain_scikit_learn(context):
    """Both readers written out, and retained accuracy as the run's own figures have it."""
    models = models_of(replace(context, experiment=replace(context.experiment, trace=None)))
    net, audience = models.original.net, audience_of(context)
    seen = point_of_model(context, "original", net)

    (column,) = context.request.forgotten
    logits, features = respond(net, audience.split)
    truth = (audience.split.targets[:, column] > 0).numpy()
    scale = StandardScaler().fit(features[audience.taught].double())
    learnt, judged = (
        scale.transform(features[rows].double()) for rows in (audience.taught, audience.judged)
    )
    told = []
    for reader in (
        LogisticRegression(class_weight="balanced", max_iter=1000),
        SVC(C=10, class_weight="balanced"),
    ):
        said = reader.fit(learnt, truth[audience.taught]).predict(judged)
        told.append(balanced_accuracy_score(truth[audience.judged], said))

    found = seen.labels["Male"]
    assert (found.linear, found.kernel) == pytest.approx(tuple(max(one, 1 - one) for one in told))
    output = balanced_accuracy_score(truth, logits[:, column] > 0)
    assert found.output == pytest.approx(max(output, 1 - output))

    figures = {one.path: one.value for one in judge(context, models)["original"]}
    assert seen.retained == pytest.approx(figures["validation/retained/accuracy"])


def test_what_is_planted_is_read_and_what_is_shuffled_is_not(context):
    """The negative control: with targets that say nothing both readers are near chance."""
    net, (column,) = original_model(context).net, context.request.forgotten
    told = point_of_model(context, "original", net).labels["Male"]
    assert min(told.linear, told.kernel) > 0.7

    targets = context.data.splits["validation"].targets
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    targets[:, column] = targets[order, column]
    told = point_of_model(context, "original", net).labels["Male"]
    assert max(told.linear, told.kernel) < 0.7


def test_a_label_that_is_too_rare_is_not_read_nor_is_a_network_that_says_nothing_finite(context):
    net, (column,) = original_model(context).net, context.request.forgotten
    broken = torch.nn.init.constant_(net.head.bias.clone(), torch.nan)
    net.head.bias.data, whole = broken, net.head.bias.data
    seen = point_of_model(context, "original", net)
    assert (seen.retained, seen.labels) == (None, {"Male": None})

    net.head.bias.data = whole
    context.data.splits["validation"].targets[30:, column] = 0
    seen = point_of_model(context, "original", net)
    assert seen.labels == {"Male": None}
    assert seen.retained > 0.5


def test_the_best_step_is_refused_where_nothing_can_be_read_before_anything_is_trained(
    experiment, tmp_path
):
    few = ("dataset.images=60", "dataset.image_size=16", f"outputs={tmp_path}", "trace=3")
    with pytest.raises(UserError, match=r"keep=best: .* show Male too rarely .*: set keep=last"):
        run(experiment(*MALE, *few, "keep=best"))
    assert not (tmp_path / "cache" / "original").exists()


def test_folded_accuracy_turns_an_inverted_answer_round():
    truth = np.array([True, True, False, False, False])
    assert folded_accuracy(truth, truth) == folded_accuracy(~truth, truth) == 1
    assert folded_accuracy(np.ones(5, bool), truth) == 0.5
    assert folded_accuracy(np.array([True, False, False, False, True]), truth) == pytest.approx(
        7 / 12
    )


class Curve:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.told = []

    def log_metrics(self, figures, step):
        self.told.append((step, figures))


def test_each_look_is_logged_by_its_step(context):
    net, curve = original_model(context).net, Curve()
    seen = replace(point_of_model(context, "unlearned", net), step=30)
    log_look(replace(context, logger=curve), seen)
    ((step, figures),) = curve.told
    assert step == 30
    assert set(figures) == {"trace/retained", "trace/output", "trace/linear", "trace/kernel"}
    log_look(context, seen)  # nobody listens


def test_requests_and_rounds_are_seen_one_after_the_other(experiment):
    words = ("requests=[[Male],[Young]]", "method=wp", "method.rounds=2", *BRIEF[1:])
    words = (*words, "method.share=null")
    context = context_of(experiment("attack=none", *words, "trace=4", "keep=best"))
    source = original_model(context).net
    net, _, seen = watched_in_turn(context, context.experiment.method, source, True)
    points = seen.trace
    assert [(one.request, one.round, one.step) for one in points] == [
        *((1, 1, 0), (1, 1, 4), (1, 1, 6), (1, 2, 6), (1, 2, 10), (1, 2, 12)),
        *((2, 1, 12), (2, 1, 16), (2, 1, 18), (2, 2, 18), (2, 2, 22), (2, 2, 24)),
    ]
    assert [one.request for one in points if one.kept] == [1, 2]
    assert {*points[0].labels} == {"Male"}
    assert {*points[-1].labels} == {"Male", "Young"}

    # What is left is what was seen at the step that is marked.
    kept = next(one for one in reversed(points) if one.kept)
    again = point_of_model(context, "unlearned", net)
    assert (again.retained, again.labels) == (kept.retained, kept.labels)


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_a_shadow_model_keeps_the_step_that_its_model_would_keep(dataset, experiment):
    """And is not watched where that decides nothing."""
    words = ("method=scrub", "method.tuning.steps=8", "trace=2")
    best = context_of(experiment("attack=none", *words, "keep=best", dataset=dataset))
    source = original_model(best)
    chosen = unlearned_model(best, best.experiment.method, source).net.state_dict()
    net, meter = unlearn_in_turn(best, best.experiment.method, source.net)
    assert all(torch.equal(value, chosen[name]) for name, value in net.state_dict().items())
    assert meter.seconds["watch"] > 0

    last = replace(best, experiment=replace(best.experiment, keep="last"))
    _, meter = unlearn_in_turn(last, last.experiment.method, source.net)
    assert "watch" not in meter.seconds


def test_a_run_that_was_ended_while_it_watched_ends_as_if_nothing_had_been(
    experiment, tmp_path, monkeypatch
):
    setup = experiment(*MALE, *BRIEF, "trace=2", "keep=best", folder=tmp_path)
    whole = run(setup).to_json()["trace"]
    looks = []

    def ended(*given):
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return told(*given)

    told = watching.told_of
    monkeypatch.setattr(watching, "told_of", ended)
    with pytest.raises(KeyboardInterrupt):
        run(setup)
    monkeypatch.undo()
    assert run(setup).to_json()["trace"] == whole
    assert len(whole) == 6


def test_nobody_of_the_test_split_is_asked(experiment, monkeypatch):
    """What is chosen is the same, whatever test people show."""
    found = []
    for spoilt in (False, True):
        context = context_of(experiment(*MALE, *BRIEF, "trace=2", "keep=best"))
        source = original_model(context)
        if spoilt:
            data: ImageData = context.data
            data.splits["test"].targets[:] = 1 - data.splits["test"].targets
        found.append(unlearned_model(context, context.experiment.method, source))
    assert found[0].trace == found[1].trace
    one, other = (model.net.state_dict() for model in found)
    assert all(torch.equal(one[name], other[name]) for name in one)
