import pytest

from mlu.report.forget_set import START, chosen_layers
from tests.support.made_runs import interval, leave, metrics_of
from tests.support.report_tables import rows, settings, table_of, tables


def choices(shift=0.0):
    """What a run measures of its choice in two layers, beside two other labels."""
    found = metrics_of() | {f"{START}/chosen": 0.1}
    for layer in ("block1.conv", "block2.conv"):
        found |= {f"{START}/layer/{layer}/chosen": 0.1, f"{START}/layer/{layer}/weights": 50.0}
    for part in ("retained", "layer/block1.conv", "layer/block2.conv", 'label/"a/b"', "label/Bald"):
        found[f"{START}/{part}/overlap"] = 0.3 + shift
        found |= interval(f"{START}/{part}/by_chance", 0.1)
    return found


def test_each_method_has_rows_for_all_for_layers_and_for_labels(tmp_path):
    leave(tmp_path / "0", choices(), method="wf", seed=1)
    leave(tmp_path / "1", choices(0.2), method="wf", seed=2)
    leave(tmp_path / "2", metrics_of(), method="head")
    found = rows(table_of(tmp_path, "forget_set"))
    assert list(found) == [
        "wf: all, and the retained labels together",
        "wf: block1.conv",
        "wf: block2.conv",
        "wf: a/b",
        "wf: Bald",
    ]
    assert found["wf: block1.conv"]["weights"][0] == 50
    assert found["wf: block1.conv"]["shared"][0] == pytest.approx(0.4)
    assert found["wf: a/b"]["by chance"][0] == pytest.approx(0.1)
    assert found["wf: a/b"]["chosen"][0] is None
    assert chosen_layers(settings(tmp_path)[0].runs) == ["block1.conv", "block2.conv"]


def test_runs_that_kept_no_choice_have_no_such_table(tmp_path):
    leave(tmp_path)
    assert tables(tmp_path, "forget_set") == []
