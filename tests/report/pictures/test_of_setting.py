import matplotlib as mpl

from mlu.report.pictures.of_setting import pictures_of
from tests.support.made_runs import draw, leave
from tests.support.report_tables import settings


def test_a_setting_has_a_picture_of_all_that_its_runs_left(tmp_path):
    leave(tmp_path / "run")
    (setting,) = settings(tmp_path)
    titles = [picture.title for picture in pictures_of(setting)]
    assert titles == [
        "What is kept against what can still be read",
        "What forgetting does to each label",
        "What forgetting costs",
    ]

    draw(tmp_path / "run")
    more = [picture.title for picture in pictures_of(setting)]
    assert more == [*titles, "How sure the outputs are", "Who was learnt from"]


def test_nobody_elses_pictures_change_their_style(tmp_path):
    leave(tmp_path)
    before = dict(mpl.rcParams)
    list(pictures_of(settings(tmp_path)[0]))
    assert dict(mpl.rcParams) == before
