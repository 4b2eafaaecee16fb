"""Requests to forget that come one after the other."""

import torch

from mlu.pipeline import run as pipeline
from mlu.pipeline.context import context_of
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import in_turn, problem_of, unlearn_in_turn
from mlu.unlearning.unlearner import carry_out

BRIEF = ("method=wp", "method.tuning.steps=3")
TWO = "requests=[[Male],[Young]]"


def unlearned(experiment, *overrides, dataset="faces"):
    context = context_of(experiment(*BRIEF, *overrides, dataset=dataset))
    net, _ = unlearn_in_turn(context, context.experiment.method, original_model(context).net)
    return context, net


def same(one, other):
    other = other.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


def test_a_single_request_is_the_usual_one(experiment):
    _, one = unlearned(experiment, "requests=[[Male,Young]]")
    _, usual = unlearned(experiment, "forget_label.names=[Male,Young]")
    assert same(one, usual)


def test_the_second_request_starts_from_what_the_first_has_left(experiment):
    context, both = unlearned(experiment, TWO)
    _, first = unlearned(experiment, "requests=[[Male]]")
    *_, last = in_turn(context)
    problem = problem_of(last, first)
    by_hand = carry_out(
        context.experiment.method, problem, context.trainer, context.data.train_batches
    )
    assert same(both, by_hand)
    others = ("requests=[[Young],[Male]]", "requests=[[Male,Young]]")
    for other in (first, *(unlearned(experiment, one)[1] for one in others)):
        assert not same(both, other)


def test_what_was_withdrawn_earlier_is_not_learnt_from_later(experiment):
    context = context_of(experiment(*BRIEF, "requests=[[Male],[Young,Bald]]"))
    male, young, bald = (context.data.labels.index(label) for label in ("Male", "Young", "Bald"))
    first, second = in_turn(context)
    assert first.train is context.train
    assert first.request.forgotten == (male,)
    assert set(first.request.retained) == set(range(10)) - {male}
    assert not second.train.known[:, male].any()
    assert second.train.known[:, [young, bald]].all()
    assert second.request.forgotten == tuple(sorted((young, bald)))
    assert set(second.request.retained) == set(range(10)) - {male, young, bald}
    assert set(context.request.forgotten) == {male, young, bald}
    # The negative control: without `in_turn` the second problem would hold the first label.
    assert context.train.known[:, male].all()


def test_images_of_a_class_that_was_withdrawn_are_gone(experiment):
    context = context_of(experiment(*BRIEF, "requests=[['3'],['5']]", dataset="digits"))
    _, second = in_turn(context)
    assert not second.train.targets[:, 3].any()
    assert second.train.targets[:, 5].any()


def test_both_labels_are_judged_and_the_results_tell_the_order(experiment):
    results = pipeline.run(experiment(*BRIEF, "requests=[[Young],[Male]]", "attack=none")).to_json()
    assert results["run"]["requests"] == [["Young"], ["Male"]]
    assert set(results["run"]["forget_label"]) == {"Male", "Young"}
    for label in ("Male", "Young"):
        assert results["metrics"][f"unlearned/test/label/{label}/balanced_accuracy"] == 0.5
    assert results["metrics"]["unlearned/test/forgotten/balanced_accuracy"] == 0.5
