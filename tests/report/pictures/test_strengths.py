from mlu.report.pictures.strengths import grid_of, response_picture
from tests.support.made_runs import leave, metrics_of
from tests.support.report_tables import settings


def test_a_method_that_varies_no_strength_has_no_rows(tmp_path):
    for number, phi in enumerate((0.1, 0.3)):
        metrics = metrics_of(retained=0.9 - phi / 10)
        leave(tmp_path / f"wf{number}", metrics, method="wf", epsilon=0.1, phi=phi)
        leave(tmp_path / f"wp{number}", method="wp", epsilon=0.1, phi=0.1, seed=number)
    (setting,) = settings(tmp_path)
    assert [group.title for group in grid_of(setting, "wf")] == ["wf phi=0.1", "wf phi=0.3"]
    assert grid_of(setting, "wp") == []
    assert "wf phi=0.3 keeps 87.0 %" in response_picture(setting).alt
    assert "wp" not in response_picture(setting).alt


def test_one_pair_of_strengths_is_no_picture(tmp_path):
    leave(tmp_path, method="wf", epsilon=0.1, phi=0.1)
    assert response_picture(settings(tmp_path)[0]) is None
