from mlu.report.pictures.forget_set import shared_choices
from tests.report.test_forget_set import choices
from tests.support.made_runs import leave
from tests.support.report_tables import settings


def test_the_picture_says_what_is_shared_with_whom_and_what_chance_shares(tmp_path):
    leave(tmp_path / "0", choices(), method="wf")
    leave(tmp_path / "1", method="head")
    picture = shared_choices(settings(tmp_path)[0])
    assert "wf all retained 30.0, a/b 30.0, Bald 30.0, by chance 10.0 (%)" in picture.alt
    assert "head" not in picture.alt


def test_runs_that_kept_no_choice_have_no_such_picture(tmp_path):
    leave(tmp_path)
    assert shared_choices(settings(tmp_path)[0]) is None
