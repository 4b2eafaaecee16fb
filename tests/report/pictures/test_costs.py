from mlu.report.pictures.costs import known_costs, run_time
from tests.support.made_runs import leave
from tests.support.report_tables import leave_three_methods, settings


def test_each_method_and_reference_has_its_seconds_and_passes(tmp_path):
    (setting,) = settings(leave_three_methods(tmp_path))
    known = known_costs(setting)
    assert {title: found[0].value for title, found in known.items()} == {
        "original": 40.0,
        "retrain": 42.0,
        **dict.fromkeys(("cfk", "wf", "wp"), 4.0),
    }
    assert all(found[1].value == 150 for found in known.values())
    assert "retrain 42 s" in run_time(setting).alt


def test_seconds_of_different_devices_are_not_drawn(tmp_path):
    for seed, device in ((1, "a CPU"), (2, "a GPU")):
        leave(tmp_path / str(seed), seed=seed, device=device)
    (setting,) = settings(tmp_path)
    assert known_costs(setting) == {}
    assert run_time(setting) is None
