import numpy as np
import pytest
from matplotlib.figure import Figure

from mlu.metrics.findings import Recovery, Trial
from mlu.metrics.trace import Told, TracePoint
from mlu.runs.pictures import (
    distribution_picture,
    durability_picture,
    recovery_picture,
    roc_picture,
    stage_picture,
    trace_picture,
)
from mlu.runs.style import COLOURS

MODELS = tuple(COLOURS)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written, instead of files."""
    found = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, dpi: found.append(figure))
    return found


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def test_distributions_have_a_row_for_each_kind_and_a_panel_for_each_split(drawn, tmp_path):
    histogram = np.array([1, 3, 0]), np.array([0.0, 1.0, 2.0, 4.0])
    paths = [
        f"{m}/{split}/{kind}/histogram"
        for m in MODELS[:3]
        for split in ("train", "test")
        for kind in ("entropy", "loss")
    ]
    distribution_picture(dict.fromkeys(paths, histogram), tmp_path / "any.png")
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["train", "test", "", ""]
    for axes in figure.axes:
        assert [stairs.get_label() for stairs in axes.patches] == list(MODELS[:3])
        # A density: heights times widths are one.
        for stairs in axes.patches:
            heights, edges, _ = stairs.get_data()
            assert (heights * np.diff(edges)).sum() == pytest.approx(1)


def test_roc_curves_are_on_logarithmic_axes_beside_chance(drawn, tmp_path):
    curves = {}
    for model in ("original", "unlearned"):
        for attack in ("lira", "mia/combined"):
            curves |= {
                f"{model}/{attack}/false": np.array([0, 0.1, 1]),
                f"{model}/{attack}/true": np.array([0, 0.3, 1]),
            }
    roc_picture(curves, tmp_path / "any.png")
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["lira", "mia/combined"]
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert labels(axes) == ["original", "unlearned", "knowing nothing"]
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0, 0.3, 1])


def test_stages_are_in_order_with_the_intervals_and_the_proxy(drawn, tmp_path):
    metrics = {"proxy/attack/aia/balanced_accuracy": 0.8}
    for model in MODELS:
        for place, stage in enumerate(("block2", "block1", "mlp")):
            path = f"{model}/attack/aia/features/{stage}/balanced_accuracy"
            metrics |= {path: 0.6 + place / 10, f"{path}/low": 0.5, f"{path}/high": 0.9}
    stage_picture(metrics, tmp_path / "any.png")
    (axes,) = drawn[0].axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["block2", "block1"]
    assert set(labels(axes)) == {*MODELS, "true retained labels", "knowing nothing"}
    np.testing.assert_allclose(axes.containers[0].lines[0].get_ydata(), [0.6, 0.7])


def test_relearning_has_a_panel_for_each_number_of_images_and_a_line_for_each_draw(drawn, tmp_path):
    found = Recovery(
        np.array([0, 1, 2]), np.array([[0.5, 0.6, 0.95], [0.5, 0.96, np.nan]]), np.array(0.9)
    )
    recovery_picture(
        {model: {"relearn/8": found, "relearn/64": found} for model in MODELS}, tmp_path / "any.png"
    )
    assert [axes.get_title() for axes in drawn[0].axes] == [
        "8 labelled images",
        "64 labelled images",
    ]
    assert set(labels(drawn[0].axes[-1])) == set(MODELS)
    curves = [line for line in drawn[0].axes[0].lines if line.get_label() in MODELS]
    assert len(curves) == 2 * len(MODELS)


def test_nothing_is_drawn_of_what_was_not_attacked(drawn, tmp_path):
    stage_picture({"unlearned/test/retained/accuracy": 0.9}, tmp_path / "any.png")
    recovery_picture({"unlearned": {"aia/output": "why not"}}, tmp_path / "any.png")
    assert drawn == []


def treated():
    """Excesses of a model after treatments, and trials of mixtures with the original."""
    metrics = {}
    names = ("untreated", "finetune_800", "finetune_50", "int8", "pruned")
    for place, name in enumerate(names):
        path = f"unlearned/attack/durability/{name}/excess"
        metrics |= {path: place / 10, f"{path}/low": place / 10 - 0.1, f"{path}/high": 1.0}

    def answers(right):
        truth = np.arange(20) % 2 == 0
        wrong = np.arange(20) // 2 >= 10 * right
        return Trial(np.where(truth ^ wrong, 1.0, -1.0), truth, np.arange(20))

    exposure = {"original": {"durability/untreated/outputs": answers(1.0)}}
    for model, start in (("retrain", 0.6), ("unlearned", 0.7)):
        exposure[model] = {
            "durability/untreated/outputs": answers(0.5),
            "durability/untreated/features": answers(start),
            "durability/interpolated_50/outputs": "why",
            # Who is mostly wrong is turned round.
            "durability/interpolated_50/features": answers(0.1),
            "durability/interpolated_25/features": answers(0.8),
        }
    return metrics, exposure


def test_treatments_have_their_excesses_by_steps_and_mixtures_end_at_the_original(drawn, tmp_path):
    metrics, exposure = treated()
    durability_picture(metrics, exposure, tmp_path / "any.png")
    tuned, others, mixed = drawn[0].axes
    assert set(labels(tuned)) == {"Retrain, treated alike", "unlearned"}
    curve, _, (bars,) = tuned.containers[0].lines
    np.testing.assert_allclose(curve.get_xydata(), [(0, 0.0), (50, 0.2), (800, 0.1)])
    np.testing.assert_allclose(bars.get_segments()[1], [(50, 0.1), (50, 1.0)])
    assert [text.get_text() for text in others.get_xticklabels()] == ["int8", "pruned"]

    assert labels(mixed) == ["retrain", "unlearned"]
    for line, start in zip(mixed.lines, (0.6, 0.7), strict=True):
        wanted = [(0, start), (0.25, 0.8), (0.5, 0.9), (1, 1)]
        np.testing.assert_allclose(line.get_xydata(), wanted)


def test_without_mixtures_there_is_no_panel_of_them(drawn, tmp_path):
    metrics, _ = treated()
    durability_picture(metrics, {}, tmp_path / "any.png")
    assert len(drawn[0].axes) == 2
    durability_picture({}, treated()[1], tmp_path / "any.png")
    assert len(drawn) == 1


def look(step, read, kept=False, request=1, model="unlearned"):
    """A point of one label, or of none that can be read."""
    told = None if read is None else Told(0.5, read, read + 0.1)
    return TracePoint(
        model=model, request=request, round=1, step=step, kept=kept, retained=0.9,
        labels={"Male": told},
    )  # fmt: skip


def line(axes, label, number=0):
    found = [one for one in axes.lines if one.get_label() == label]
    return [tuple(point) for point in found[number].get_xydata()]


def test_a_trace_has_a_line_for_each_figure_and_the_marks_of_retrain(drawn, tmp_path):
    retrain = look(None, 0.6, model="retrain")
    points = [retrain, look(0, 0.8), look(5, 0.7), look(8, 0.65, kept=True)]
    trace_picture(points, tmp_path / "any.png")
    (axes,) = drawn[0].axes
    assert line(axes, "read by a linear reader") == [(0, 0.8), (5, 0.7), (8, 0.65)]
    assert line(axes, "retained accuracy") == [(0, 0.9), (5, 0.9), (8, 0.9)]
    heights = sorted(marks.get_segments()[0][0][1] for marks in axes.collections)
    assert heights == pytest.approx([0.5, 0.6, 0.7, 0.9])
    assert "Retrain, in the same colour" in labels(axes)
    assert "step that is kept" not in labels(axes)


def test_a_ring_is_round_the_step_that_was_chosen_and_requests_are_not_joined(drawn, tmp_path):
    points = [look(0, 0.8), look(5, 0.7, kept=True), look(8, 0.75)]
    points += [look(8, 0.6, request=2), look(9, 0.5, kept=True, request=2)]
    trace_picture(points, tmp_path / "any.png")
    (axes,) = drawn[0].axes
    assert line(axes, "step that is kept") == [
        (5, 0.9),
        (5, 0.7),
        (5, pytest.approx(0.8)),
        (5, 0.5),
    ]
    assert line(axes, "read by a linear reader", 1) == [(8, 0.6), (9, 0.5)]
    assert "Retrain, in the same colour" not in labels(axes)


def test_a_single_look_is_drawn_and_none_is_not(drawn, tmp_path):
    trace_picture([], tmp_path / "any.png")
    trace_picture([look(None, 0.6, model="retrain")], tmp_path / "any.png")
    assert drawn == []
    trace_picture([look(0, None, kept=True)], tmp_path / "any.png")
    (axes,) = drawn[0].axes
    assert line(axes, "retained accuracy") == [(0, 0.9)]
    assert np.isnan(line(axes, "read by a linear reader")[0][1])
