"""The table of an audit: rows by what was asked, columns by the models that there are."""

from types import SimpleNamespace

from rich.console import Console

from mlu.auditing.tables import audit_table, rows_of_audit
from tests.support.made_runs import interval, made_run, metrics_of

PEOPLE = SimpleNamespace(audited=("Male",), amounts={})


def shown(metrics):
    console = Console(width=220)
    with console.capture() as said:
        console.print(audit_table(made_run(metrics), PEOPLE))
    return said.get()


def test_with_retrain_the_excess_is_above_it():
    text = shown(metrics_of(excess=-0.01))
    for title in ("before", "after", "Retrain", "untrained", "after, above Retrain"):
        assert title in text
    assert "-0.010 [-0.030, 0.010]" in text


def test_without_it_above_the_mark():
    metrics = {path: one for path, one in metrics_of().items() if not path.startswith("retrain/")}
    path = "unlearned/attack/aia/label/Male/baseline/strongest/features/excess"
    text = shown(metrics | interval(path, 0.123))
    assert "after, above the mark" in text
    assert "0.123 [0.103, 0.143]" in text
    assert "Retrain" not in text


def test_paths_are_those_that_attacks_give():
    rows = dict(rows_of_audit(PEOPLE, retrain=True))
    assert rows["Male, features"] == (
        "attack/aia/label/Male/strongest/features/balanced_accuracy",
        "proxy/attack/aia/label/Male/folded_balanced_accuracy",
        "unlearned/attack/aia/label/Male/strongest/features/excess",
    )
