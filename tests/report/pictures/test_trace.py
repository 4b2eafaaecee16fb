import json

import pytest
from matplotlib.figure import Figure

from mlu.report.pictures.trace import forgetting_picture
from tests.support.made_runs import leave
from tests.support.report_tables import settings


@pytest.fixture
def canvases(monkeypatch):
    """The figures that are drawn."""
    found, save = [], Figure.savefig

    def saved(figure, *args, **kwargs):
        found.append(figure)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", saved)
    return found


def looked_at(step, linear, kernel, model="unlearned", kept=False):
    told = {"output": 0.5, "linear": linear, "kernel": kernel}
    return {
        "model": model,
        "request": None if step is None else 1,
        "round": 1,
        "step": step,
        "kept": kept,
        "retained": 0.9,
        "labels": {"Male": told},
    }


def watched(folder, *reads, **kind):
    """A run whose readers found these, every five steps; the first of them was kept."""
    leave(folder, **kind)
    file = folder / "results.json"
    trace = [looked_at(None, 0.6, 0.7, model="retrain")]
    trace += [looked_at(5 * place, *read, kept=not place) for place, read in enumerate(reads)]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"trace": trace}))


def test_each_method_has_a_line_of_the_stronger_reader(tmp_path, canvases):
    watched(tmp_path / "wf", (0.9, 0.8), (0.7, 0.75), method="wf")
    watched(tmp_path / "wp", (0.6, 0.8), method="wp")
    leave(tmp_path / "head", method="head")
    (setting,) = settings(tmp_path)
    picture = forgetting_picture(setting)
    assert "wf read by the stronger quick reader 90.0 to 75.0" in picture.alt
    assert "wp read by the stronger quick reader 80.0 to 80.0" in picture.alt
    assert "head" not in picture.alt

    read = canvases[0].axes[0]
    assert sorted(read.get_legend_handles_labels()[1]) == ["Retrain", "wf", "wp"]
    lines = {one.get_label(): one.get_xydata().tolist() for one in read.lines}
    assert lines["wf"] == [[0, 90], [5, 75]]
    assert lines["Retrain"][0][1] == 70
    titles = [axes.get_title() for axes in canvases[0].axes]
    assert titles == [
        "read by the stronger quick reader",
        "told by the forgotten output",
        "retained accuracy",
    ]


def test_of_several_seeds_the_lowest_that_was_watched_is_drawn(tmp_path, canvases):
    leave(tmp_path / "1", seed=1)
    watched(tmp_path / "2", (0.9, 0.8), seed=2)
    watched(tmp_path / "3", (0.6, 0.5), seed=3)
    (setting,) = settings(tmp_path)
    picture = forgetting_picture(setting)
    assert "90.0 to 90.0" in picture.alt
    assert "Seed 2." in picture.caption


def test_runs_that_nobody_watched_have_no_such_picture(tmp_path):
    leave(tmp_path)
    assert forgetting_picture(settings(tmp_path)[0]) is None
