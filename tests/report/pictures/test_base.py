import base64

import pytest
from matplotlib.figure import Figure as Canvas

from mlu.report.aggregate import Cell, Interval
from mlu.report.pictures.base import INK, embedded, error_bars, leading, short
from tests.support.made_runs import leave
from tests.support.report_tables import settings
from tests.support.strengths import leave_strengths


def drawn(uri):
    return base64.b64decode(uri.split(",")[1]).decode()


def test_a_dark_page_gets_the_same_picture_in_another_ink():
    picture = embedded(Canvas(figsize=(2, 1)), "title", "alt", "caption")
    assert (picture.width, picture.height) == (192, 96)

    canvas = Canvas(figsize=(2, 1))
    canvas.text(0, 0, "a", color=INK)
    picture = embedded(canvas, "title", "alt", "caption")
    light, dark = drawn(picture.light), drawn(picture.dark)
    assert INK in light
    assert INK not in dark
    assert len(light) == len(dark)


def test_bars_reach_from_the_number_to_the_ends_of_its_interval():
    found = Cell(0.5, interval=Interval(0.4, 0.7, "run"))
    assert error_bars(found, 100) == [[pytest.approx(10)], [pytest.approx(20)]]
    assert error_bars(Cell(0.5)) is error_bars(Cell(None)) is None
    # An average may lie outside the average of the ends: a bar has no negative length.
    assert error_bars(Cell(0.8, interval=Interval(0.4, 0.7, "runs")))[1] == [0]


def test_a_long_name_leaves_room():
    assert short("a\x1b" * 40) == short("a\x1b" * 50)
    assert len(short("a" * 40)) < 40
    assert short("wf phi=0.1") == "wf phi=0.1"


def test_of_several_variants_the_one_with_most_seeds_leads(tmp_path):
    for number, (phi, seed) in enumerate(((0.1, 1), (0.3, 1), (0.3, 2))):
        leave(tmp_path / str(number), seed=seed, phi=phi)
    (setting,) = settings(tmp_path)
    assert [group.title for group in leading(setting)] == ["wf phi=0.3"]


def test_of_several_strengths_the_default_one_leads_but_for_one_with_more_seeds(tmp_path):
    leave_strengths(tmp_path, "wf", {0.0: 0.95, 1.0: 0.9, 3.0: 0.8})
    assert [group.title for group in leading(settings(tmp_path)[0])] == ["wf strength=1"]
    leave_strengths(tmp_path, "wf", {3.0: 0.8}, seed=2)
    assert [group.title for group in leading(settings(tmp_path)[0])] == ["wf strength=3"]
