from dataclasses import replace

import pytest

from mlu import forget
from mlu.metrics.trace import Told, TracePoint
from mlu.pipeline.context import context_of
from mlu.pipeline.keys import method_key
from mlu.pipeline.run import run
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import unlearn_in_turn, unlearned_model, watched_in_turn
from mlu.pipeline.verification import PATH, Verification, strongest_told, verification_findings
from mlu.pipeline.watching import point_of_model
from mlu.system.errors import UserError

BRIEF = ("method=wf", "method.images=32", "method.tuning.steps=2", "phi=0.1", "attack=none",
         "forget_label.names=[Male]", "reference=none")  # fmt: skip


def point(**told):
    labels = {name: one and Told(*one) for name, one in told.items()}
    return TracePoint(model="unlearned", retained=0.9, labels=labels)


def test_the_strongest_reader_of_any_label_counts():
    assert strongest_told(point(a=(0.5, 0.6, 0.7), b=(0.8, 0.5, 0.5), c=None)) == 0.8
    # What could not be read is not verified.
    assert strongest_told(point(a=None)) == 1.0


def test_rounds_go_on_until_no_reader_finds_more_than_the_bound():
    readings = iter([0.9, 0.7, 0.6])
    verified = Verification(0.7, lambda net: point(a=(0.5, 0.5, next(readings))))
    assert [verified(None), verified(None)] == [False, True]
    assert verified.readings == [0.9, 0.7]


@pytest.mark.parametrize(("bound", "rounds"), [(1.0, 1), (0.5, 3)])
def test_a_bound_that_all_keep_ends_at_once_and_one_that_none_keeps_never(
    bound, rounds, experiment
):
    context = context_of(experiment(*BRIEF, "method.rounds=3", f"method.verify={bound}"))
    method, source = context.experiment.method, original_model(context).net
    net, _, seen = watched_in_turn(context, method, source, False)
    assert len(seen.readings) == rounds

    # What is read is what a look of its own at the same network shows.
    told = point_of_model(context, "unlearned", net)
    assert seen.readings[-1] == pytest.approx(strongest_told(told))

    # Asking changes nothing of the rounds that are made.
    unasked = replace(method, rounds=rounds, verify=None, share=None)
    plain, _ = unlearn_in_turn(context, unasked, source)
    asked, _ = unlearn_in_turn(context, replace(method, share=None), source)
    for name, value in plain.state_dict().items():
        assert (asked.state_dict()[name] == value).all(), name


def test_a_run_says_how_many_rounds_it_took_and_what_was_read(experiment):
    metrics = run(experiment(*BRIEF, "method.rounds=2", "method.verify=0.5")).metrics
    assert metrics[f"{PATH}/rounds"] == 2
    assert 0.5 < metrics[f"{PATH}/round_2/balanced_accuracy"] <= 1
    assert [*verification_findings(())] == []


def test_asking_is_a_part_of_what_forgetting_costs(experiment):
    context = context_of(experiment(*BRIEF, "method.rounds=2", "method.verify=1.0"))
    verified = unlearned_model(context, context.experiment.method, original_model(context))
    assert 0 < verified.cost.seconds["verify"] < verified.cost.seconds["total"]


def test_the_code_of_readers_counts_only_where_they_decide(experiment):
    asked = context_of(experiment(*BRIEF, "method.rounds=2", "method.verify=0.9"))
    assert method_key(asked)["verified"]
    assert method_key(context_of(experiment(*BRIEF)))["verified"] is None


def test_a_verdict_that_can_change_nothing_or_be_given_by_nobody_is_refused(
    experiment, monkeypatch
):
    with pytest.raises(UserError, match=r"method\.verify=0\.6 decides .* set method\.rounds=3"):
        experiment(*BRIEF, "method.verify=0.6")
    with pytest.raises(UserError, match="forget measures nothing"):
        forget(None, None, ["a", "b"], "a", method="wf", rounds=2, verify=0.6)

    monkeypatch.setattr("mlu.pipeline.watching.FEWEST", 10**6)
    with pytest.raises(UserError, match=r"^method\.verify: .* set method\.verify=null"):
        run(experiment(*BRIEF, "method.rounds=2", "method.verify=0.6"))
