"""The trace of a run in its results."""

import json

import pytest

from mlu.pipeline.context import context_of
from mlu.pipeline.models import models_of
from mlu.pipeline.trace import Trace, trace_of

BRIEF = ("attack=none", "method=wf", "method.images=64", "method.tuning.steps=6", "phi=0.1")


def points_of(results, model):
    return [point for point in results["trace"] if point["model"] == model]


def test_a_run_leaves_what_it_saw_beside_what_it_is_held_against(results_of):
    results = results_of(*BRIEF, "trace=4")
    assert [point["model"] for point in results["trace"][:2]] == ["original", "retrain"]
    own = points_of(results, "unlearned")
    assert [(point["step"], point["kept"]) for point in own] == [(0, False), (4, False), (6, True)]
    retained = results["metrics"]["unlearned/validation/retained/accuracy"]
    assert own[-1]["retained"] == pytest.approx(retained)
    (mark,) = points_of(results, "retrain")
    assert mark["retained"] == pytest.approx(
        results["metrics"]["retrain/validation/retained/accuracy"]
    )
    assert (mark["step"], mark["kept"]) == (None, False)
    assert mark["labels"]["Male"]["output"] == 0.5
    assert "unlearned/trace" not in results["chosen"]


def test_watching_changes_no_figure_but_the_seconds_and_is_not_among_those_of_forgetting(
    results_of,
):
    """The same work and metrics as nobody's watching; the seconds of looks stand apart."""
    alone, watched = results_of(*BRIEF), results_of(*BRIEF, "trace=1")
    for key in ("metrics", "work", "work_ratio"):
        assert alone[key] == watched[key]
    seconds = watched["seconds"]
    assert seconds["watch"] > 0
    assert alone["seconds"]["watch"] == 0
    assert seconds["unlearn"] >= seconds["score"] + seconds["edit"] + seconds["finetune"]
    assert (alone["trace"], len(watched["trace"])) == ([], 2 + 7)
    assert alone["run"]["config_hash"] == watched["run"]["config_hash"]


def test_results_say_which_step_was_kept_and_by_which_rule(results_of):
    results = results_of(*BRIEF, "trace=1", "keep=best", "method.tuning.lr=0.3")
    (kept,) = [point for point in results["trace"] if point["kept"]]
    chosen = results["chosen"]["unlearned/trace"]
    assert chosen == {
        "step": str(kept["step"]),
        "round": "1",
        "rule": "retained accuracy within 0.01 of the best, least read by the stronger reader",
    }
    assert kept["retained"] == pytest.approx(
        results["metrics"]["unlearned/validation/retained/accuracy"]
    )


@pytest.mark.parametrize("method", ["retrain", "original", "head"])
def test_what_is_not_fine_tuned_has_one_point(method, results_of):
    results = results_of("attack=none", f"method={method}", "trace=1")
    (point,) = points_of(results, "unlearned")
    assert (point["request"], point["round"], point["step"], point["kept"]) == (1, 1, 0, True)
    if method != "head":
        (same,) = points_of(results, method)
        assert (point["retained"], point["labels"]) == (same["retained"], same["labels"])


def test_without_a_reference_there_is_no_mark_of_it(results_of):
    results = results_of("attack=none", "method=head", "trace=1", "reference=none")
    assert [point["model"] for point in results["trace"]] == ["original", "unlearned"]


def test_where_nobody_asks_there_is_no_trace(experiment):
    context = context_of(experiment("attack=none", "method=head"))
    assert trace_of(context, models_of(context)) == Trace()


def test_several_requests_have_a_choice_each(finished):
    folder = finished(
        *("attack=none", "method=wp", *BRIEF[2:], "requests=[[Male],[Young]]"),
        *("trace=3", "keep=best"),
    )
    chosen = json.loads((folder / "results.json").read_text())["chosen"]
    assert {"unlearned/trace/1", "unlearned/trace/2"} <= {*chosen}
