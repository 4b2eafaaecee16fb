import pytest

from mlu.attacks.parts.panel import (
    PANEL_PLACES,
    Look,
    in_places,
    label_path,
    of_labels,
    panel_looks,
    panel_place,
    stage_view,
)
from mlu.metrics.findings import NETWORK_READERS, READERS

STAGES = ["block1", "svm", "a/b", "last"]


@pytest.mark.parametrize("panel", ["standard", "full"])
def test_every_reading_has_a_path_of_its_own_and_comes_back_from_it(panel):
    found = panel_looks(panel, STAGES)
    assert len({one.path for one in found}) == len(found)
    assert [Look.at(one.path) for one in found] == found
    assert {panel_place(one.path) for one in found} == {*PANEL_PLACES, "output", "beyond_retained"}


def test_the_standard_panel_is_about_25_readings_and_the_full_one_has_every_reader_in_every_view():
    standard, full = (panel_looks(panel, STAGES) for panel in ("standard", "full"))
    assert 20 <= sum(panel_place(one.path) in PANEL_PLACES for one in standard) <= 30
    views = {one.view for one in standard}
    expected = {Look(view, name) for view in views for name in READERS}
    extra = {Look("features", "conv"), Look("network", "tuned")}
    assert {*full} == expected | extra
    assert {*standard} < {*full}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("output", "output"),
        ("output/mlp", "output"),
        ("outputs/svm", "outputs"),
        ("retained_outputs", "outputs"),
        ("features", "features"),
        ("features/knn", "features"),
        ("features/conv", "features"),
        ("features/block1", "stages"),
        ("features/block1/svm", "stages"),
        ('features/"svm"', "stages"),
        ('features/"a/b"/mlp', "stages"),
        ("stages", "stages"),
        ("stages/weak", "stages"),
        ("network/tuned", "stages"),
    ],
)
def test_each_reading_looks_in_one_place(path, place):
    assert panel_place(path) == place


@pytest.mark.parametrize("stage", [*READERS[1:], *NETWORK_READERS])
def test_a_stage_that_is_called_like_a_reader_hides_none(stage):
    assert Look.at(stage_view(stage)) == Look(f'features/"{stage}"', "")


@pytest.mark.parametrize("label", ["Male", "yes/no", '"quoted"', "strongest", "a:b", "é ü"])
def test_a_label_of_any_name_is_found_again(label):
    paths = {f"{label_path('aia', label)}/features/mlp": 1, "aia/features": 2, "other/label/x/y": 3}
    assert of_labels("aia", paths) == {label: {"features/mlp": 1}}


def test_what_is_found_is_told_apart_by_place():
    found = dict.fromkeys(["output", "outputs/svm", "features", "features/block1", "stages"], 0)
    assert {place: [*those] for place, those in in_places(found)} == {
        "outputs": ["outputs/svm"],
        "features": ["features"],
        "stages": ["features/block1", "stages"],
    }
