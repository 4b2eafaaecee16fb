import pytest
from matplotlib.figure import Figure

from mlu.report.pictures.durability import excess_after_release
from tests.support.made_runs import interval, leave, metrics_of
from tests.support.report_tables import settings

START = "unlearned/attack/durability"


@pytest.fixture
def canvases(monkeypatch):
    """The figures that are drawn."""
    found, save = [], Figure.savefig

    def saved(figure, *args, **kwargs):
        found.append(figure)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", saved)
    return found


def treated(after):
    """What a run measures whose model shows more with each treatment."""
    found = metrics_of()
    for number, name in enumerate(("untreated", "finetune_50", "finetune_200", "int4")):
        found |= interval(f"{START}/{name}/excess", number * after)
    return found


def test_each_method_has_a_line_by_steps_and_points_for_other_treatments(tmp_path, canvases):
    leave(tmp_path / "wf", treated(0.05), method="wf")
    leave(tmp_path / "wp", treated(0.01), method="wp")
    leave(tmp_path / "head", method="head")
    (setting,) = settings(tmp_path)
    picture = excess_after_release(setting)
    assert "wf 0.0 after 0 steps, 5.0 after 50 steps, 10.0 after 200 steps" in picture.alt
    assert "15.0 with int4 (points)" in picture.alt
    assert "head" not in picture.alt

    tuned, weights = canvases[0].axes
    names = tuned.get_legend_handles_labels()[1]
    assert sorted(names) == ["Retrain, treated alike", "wf", "wp"]
    assert [text.get_text() for text in tuned.get_xticklabels()] == ["0", "50", "200"]
    assert [text.get_text() for text in weights.get_xticklabels()] == ["int4"]
    (ends,) = {tuple(bars.lines[0].get_ydata()) for bars in tuned.containers[:1]}
    assert ends == pytest.approx((0, 5, 10))


def test_runs_that_were_not_treated_have_no_such_picture(tmp_path):
    leave(tmp_path)
    assert excess_after_release(settings(tmp_path)[0]) is None
