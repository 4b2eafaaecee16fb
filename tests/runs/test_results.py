import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlu.runs.results import Results, finite_number, objective_of
from mlu.runs.tables import run_table
from mlu.system.errors import UserError
from tests.support.made_runs import made_run, results_of

PATH = "unlearned/test/retained/accuracy"
TOLD = {"output": 0.5, "linear": 0.75, "kernel": 0.8}
LOOK = {
    "model": "unlearned",
    "request": 1,
    "round": 1,
    "step": 5,
    "kept": True,
    "retained": 0.9,
    "labels": {"Male": TOLD, "Bald": None},
}


def read(**changes):
    return Results.from_json(results_of() | changes)


def test_a_file_that_is_written_is_the_file_that_was_read():
    content = read().to_json()
    assert json.loads(json.dumps(content)) == content
    again = Results.from_json(content).to_json()
    assert json.dumps(again) == json.dumps(content)
    assert [*content] == [
        *("schema", "run", "seconds", "speedup", "work", "work_ratio", "measured", "metrics"),
        *("missing", "chosen", "trace"),
    ]
    for key, value in results_of().items():
        assert content[key] == value or isinstance(value, dict), key


def test_a_trace_is_read_as_it_was_written():
    mark = {**LOOK, "model": "retrain", "request": None, "round": None, "step": None}
    found = read(trace=[mark, LOOK])
    assert found.to_json()["trace"] == [mark, LOOK]
    assert found.trace[1].mean("stronger") == 0.8
    assert read().trace == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"run": None}, "it does not describe a run"),
        ({"schema": 3}, "its schema is 3, this version reads 1 and 2"),
        ({"run": results_of()["run"] | {"seed": "x"}}, "run/seed is 'x'"),
        ({"run": results_of()["run"] | {"requests": ["Male"]}}, r"run/requests is \['Male'\]"),
        ({"run": results_of()["run"] | {"versions": {"a": 1}}}, "run/versions is"),
        ({"metrics": {"a": "1"}}, "its metrics is {'a': '1'}"),
        ({"metrics": {"a": True}}, "its metrics is"),
        ({"metrics": []}, "it has no metrics"),
        ({"seconds": None}, "it has no seconds"),
        ({"work": {"retrain": 5}}, "its work is"),
        ({"measured": {"retrain": {"device": 1}}}, "its measured is"),
        ({"missing": {"a": None}}, "its missing is"),
        ({"chosen": {"a": "b"}}, "its chosen is"),
        ({"trace": [{"model": "unlearned"}]}, "its trace is"),
        ({"trace": [{**LOOK, "labels": {"a": {"output": 1}}}]}, "its trace is"),
        ({"trace": [{**LOOK, "retained": 1.5}]}, "its trace has TracePoint"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_what_is_wrong(change, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        read(**change)


def test_a_file_may_lack_what_only_later_versions_write():
    facts = {"dataset", "task", "backbone", "method", "forget_label", "seed"}
    old = {key: value for key, value in results_of()["run"].items() if key in facts}
    found = read(schema=1, run=old, work=None, measured=None, missing=None, speedup="fast")
    assert (found.run.device, found.run.requests, found.speedup) == (None, None, None)
    assert (found.work, found.measured, found.missing, found.chosen) == ({}, {}, {}, {})


def test_figures_are_those_of_the_file_and_those_that_follow():
    found = read()
    figures = found.figures()
    assert figures[PATH] == found.metrics[PATH]
    assert (figures["seconds/unlearn"], figures["work/retrain/forward"]) == (4.0, 100)
    assert "work/retrain" not in figures
    assert found.all_figures["work/retrain"] == 150
    accuracy, low = (
        found.metrics[f"unlearned/test/forgotten/accuracy{end}"] for end in ("", "/low")
    )
    assert found.figure("unlearned/test/forgotten/error").value == 1 - accuracy
    assert found.figure("unlearned/test/forgotten/error").high == 1 - low


@pytest.mark.parametrize(
    ("metrics", "path", "silent"),
    [
        ({"unlearned/attack/aia/output/constant": 1.0}, "unlearned/attack/aia/output/excess", True),
        ({"unlearned/attack/aia/output/constant": 1.0}, "unlearned/attack/aia/outputs/x", False),
        ({"unlearned/attack/aia/output/constant": 1.0}, "retrain/attack/aia/output/x", False),
        ({"u/test/forgotten/auroc": 0.5, "u/test/forgotten/positive_rate": 0.0}, "x", True),
        ({"u/test/forgotten/auroc": 0.5, "u/test/forgotten/positive_rate": 1.0}, "x", True),
        # One that says the label of some and knows nothing is not silent, nor one that ranks them.
        ({"u/test/forgotten/auroc": 0.5, "u/test/forgotten/positive_rate": 0.4}, "x", False),
        ({"u/test/forgotten/auroc": 0.6, "u/test/forgotten/positive_rate": 0.0}, "x", False),
        ({}, "x", False),
    ],
)
def test_what_is_chance_by_construction_is_told_from_what_knows_nothing(metrics, path, silent):
    path = "u/test/forgotten/balanced_accuracy" if path == "x" else path
    assert read(metrics=metrics).is_silent(path) is silent


@given(st.floats() | st.integers())
def test_a_figure_is_finite_or_none(value):
    found = finite_number(value)
    assert found is None or (math.isfinite(found) and found == value)
    assert made_run({"x": value}).figures["x"] == found


def test_a_number_that_no_float_holds_is_no_figure():
    run = made_run({"x": 10**400}, seconds={"unlearn": 10**400})
    assert run.figures["x"] is run.figures["seconds/unlearn"] is None
    assert run_table(run).row_count == 3


def test_an_objective_is_a_figure_or_refused():
    found = read(metrics={PATH: 0.5, "x": None}, missing={"x": "one class only"})
    assert objective_of(found, None) is None
    assert objective_of(found, [PATH, "seconds/unlearn"]) == (0.5, 4.0)
    with pytest.raises(UserError, match="objective=x has no value: one class only"):
        objective_of(found, "x")
    with pytest.raises(UserError, match=f"did you mean '{PATH}'"):
        objective_of(found, f"{PATH}s")
