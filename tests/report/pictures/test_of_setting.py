import json

import matplotlib as mpl

from mlu.report.pictures.of_setting import pictures_of
from tests.support.made_runs import draw, leave
from tests.support.report_tables import settings


def test_a_setting_has_a_picture_of_all_that_its_runs_left(tmp_path):
    file = leave(tmp_path / "run") / "results.json"
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

    look = {"model": "unlearned", "step": 0, "kept": True, "retained": 0.9, "labels": {}}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"trace": [look]}))
    watched = [picture.title for picture in pictures_of(settings(tmp_path)[0])]
    assert watched == [*more[:2], "While it forgets", *more[2:]]


def test_nobody_elses_pictures_change_their_style(tmp_path):
    leave(tmp_path)
    before = dict(mpl.rcParams)
    list(pictures_of(settings(tmp_path)[0]))
    assert dict(mpl.rcParams) == before
