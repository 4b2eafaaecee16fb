import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from mlu.report.pictures import frontier as drawing
from mlu.report.pictures.frontier import curves_of, frontier_pictures, name_curves, read_at
from tests.support.made_runs import metrics_of
from tests.support.report_tables import settings
from tests.support.strengths import leave_strengths

KEPT = {0.0: 0.95, 1.0: 0.93, 3.0: 0.85}


@pytest.fixture
def folder(tmp_path):
    """Two methods over three strengths and one without, on labels that go together and not."""
    for correlation in (0.0, 1.0):
        for method in ("wf", "ssd"):
            leave_strengths(tmp_path, method, KEPT, correlation=correlation)
        leave_strengths(tmp_path, "head", {1.0: 0.96}, correlation=correlation)
    return tmp_path


def test_a_method_is_one_curve_from_weakest_to_strongest(folder):
    family = settings(folder)
    found = {(curve.title, len(curve.groups)) for curve in curves_of(family)}
    assert found == {("wf", 3), ("ssd", 3), ("head", 1)}
    for curve in curves_of(family):
        strengths, _, kept = zip(*curve.known("features"), strict=True)
        assert strengths == ((1.0,) if curve.title == "head" else (0.0, 1.0, 3.0))
        wanted = [0.96] if curve.title == "head" else list(KEPT.values())
        assert [cell.value for cell in kept] == pytest.approx(wanted)


def test_there_is_a_column_for_each_correlation_and_a_row_for_each_place(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(
        drawing, "embedded", lambda canvas, *words: seen.append((canvas, words)) or "drawn"
    )
    assert list(frontier_pictures(settings(folder))) == ["drawn"]
    ((canvas, (_, alt, _)),) = seen
    assert [axes.get_title() for axes in canvas.axes] == [
        "read from features, labels correlated by 1",
        "read from features, labels correlated by 0",
        "read from outputs, labels correlated by 1",
        "read from outputs, labels correlated by 0",
    ]
    assert "wf keeps 95.0 % at 90.0 % (0), 93.0 % at 90.0 % (1), 85.0 % at 90.0 % (3)" in alt
    names, labels = marks(canvas.axes[0])
    assert {"wf", "ssd", "head"} <= names
    assert labels == {
        "original",
        "Retrain",
        "random weights",
        "the floor: true retained labels",
        "knowing nothing",
    }


def marks(axes):
    """What is written in a panel, and what its legend would say."""
    return {text.get_text() for text in axes.texts}, set(axes.get_legend_handles_labels()[1])


def test_one_strength_is_no_picture(tmp_path):
    leave_strengths(tmp_path, "wf", {1.0: 0.9})
    leave_strengths(tmp_path, "head", {1.0: 0.9})
    assert list(frontier_pictures(settings(tmp_path))) == []
    leave_strengths(tmp_path, "wf", {3.0: 0.8})
    assert len(list(frontier_pictures(settings(tmp_path)))) == 1


def test_without_readings_there_is_none(tmp_path):
    """As of attack=none."""
    found = {path: one for path, one in metrics_of().items() if "/attack/" not in path}
    leave_strengths(tmp_path, "wf", KEPT, metrics=lambda kept: found)
    assert list(frontier_pictures(settings(tmp_path))) == []


def test_a_seed_more_is_a_mean_with_an_interval_and_no_other_point(tmp_path):
    for seed, lower in ((1, 0.0), (2, 0.02)):
        leave_strengths(
            tmp_path, "wf", {key: kept - lower for key, kept in KEPT.items()}, seed=seed
        )
    (curve,) = curves_of(settings(tmp_path))
    _, _, kept = zip(*curve.known("features"), strict=True)
    assert [cell.value for cell in kept] == pytest.approx([one - 0.01 for one in KEPT.values()])
    assert all(cell.interval.kind == "seeds" for cell in kept)


def test_another_key_makes_another_curve_with_its_name(tmp_path):
    for phi in (0.1, 0.5):
        leave_strengths(tmp_path, "wf", KEPT, phi=phi)
    found = {curve.title: len(curve.groups) for curve in curves_of(settings(tmp_path))}
    assert found == {"wf phi=0.1": 3, "wf phi=0.5": 3}


@pytest.mark.parametrize("careful", [True, False])
def test_names_of_curves_that_end_together_stand_apart(careful, tmp_path, monkeypatch):
    """But for a placement that does not look at other names."""
    for number in range(8):
        leave_strengths(tmp_path, f"method{number}", KEPT)
    if not careful:
        place = drawing.free_place
        monkeypatch.setattr(drawing, "free_place", lambda *given: place(*given[:-1], ()))
    axes = Canvas(figsize=(5, 4)).subplots()
    axes.set(xlim=(50, 100), ylim=(50, 100))
    name_curves(axes, curves_of(settings(tmp_path)), "features")
    # A name is put where it belongs when it is drawn; without the line that leads to its point.
    axes.get_figure().draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == 8
    overlaps = [box.count_overlaps(boxes[number + 1 :]) for number, box in enumerate(boxes)]
    assert (sum(overlaps) == 0) == careful
    assert all(axes.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))


def test_paths_are_those_of_the_attack():
    assert read_at("random", "outputs") in metrics_of()
    assert read_at("random", "hearsay") not in metrics_of()
    assert np.isfinite(metrics_of()[read_at("unlearned", "features")])
