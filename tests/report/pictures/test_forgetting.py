import numpy as np
import pytest

from mlu.report.pictures.forgetting import change, readable_on, recorded_correlations, trade_off
from mlu.runs.read import collect
from tests.support.made_runs import LABELS, draw, leave, metrics_of
from tests.support.report_tables import leave_three_methods, settings


def test_the_trade_off_names_what_each_method_keeps_and_shows(tmp_path):
    (setting,) = settings(leave_three_methods(tmp_path))
    picture = trade_off(setting)
    assert "cfk keeps 95.0 % and shows 8.0 points" in picture.alt
    assert "wp keeps 90.0 % and shows -3.0 points" in picture.alt


def test_without_an_attack_there_is_no_trade_off(tmp_path):
    metrics = {path: 0.9 for path in metrics_of() if "/attack/" not in path}
    leave(tmp_path, metrics)
    assert trade_off(settings(tmp_path)[0]) is None


def test_a_change_is_the_mean_over_seeds_of_the_latest_runs(tmp_path):
    path = "test/label/Bald/balanced_accuracy"
    for number, (seed, after, date) in enumerate(
        ((1, 0.1, "2026-01"), (1, 0.8, "2026-02"), (2, 0.7, "2026-01"))
    ):
        metrics = {f"unlearned/{path}": after, f"original/{path}": 0.9}
        leave(tmp_path / str(number), metrics, seed=seed, run={"date": date})
    runs = collect([tmp_path]).runs
    assert change(runs, "Bald") == pytest.approx(-15)
    assert np.isnan(change(runs, "Male"))


def test_correlations_are_of_the_first_run_whose_labels_are_the_same(tmp_path):
    for name in ("0", "1"):
        leave(tmp_path / name)
    draw(tmp_path / "1")
    runs = collect([tmp_path]).runs
    found = recorded_correlations(runs, LABELS)
    assert found.shape == (len(LABELS), len(LABELS))
    assert np.isnan(found[0, 1])
    assert recorded_correlations(runs, LABELS[:2]) is None
    (tmp_path / "1" / "labels.json").write_text("{")
    assert recorded_correlations(runs, LABELS) is None


def test_numbers_can_be_read_on_any_colour():
    assert readable_on(1, 1, 1) == "#000000"
    assert readable_on(0, 0, 0.5) == "#ffffff"
