from mlu.report.pictures.several import correlation_pictures, request_pictures
from tests.support.made_runs import leave
from tests.support.report_tables import settings
from tests.support.strengths import leave_strengths


def test_settings_that_differ_in_the_correlation_alone_share_a_picture(tmp_path):
    for number, (method, correlation) in enumerate((("wf", 0.0), ("wf", 1.0), ("wp", 1.0))):
        leave(tmp_path / str(number), method=method, correlation=correlation)
    (picture,) = correlation_pictures(settings(tmp_path))
    assert "for wf, wp." in picture.alt
    assert list(correlation_pictures(settings(tmp_path / "0"))) == []


def test_requests_in_turn_and_at_once_share_a_picture(tmp_path):
    for number, requests in enumerate(([["Male"]], [["Male"], ["Young"]], [["Male", "Young"]])):
        labels = [label for request in requests for label in request]
        facts = {"requests": requests, "forget_label": labels, "experiment": "requests"}
        config = {"requests": requests, "forget_label": {"names": labels}}
        leave(tmp_path / str(number), run=facts, config=config)
    (picture,) = request_pictures(settings(tmp_path))
    assert "(stars): Male; Male, then Young; Male + Young." in picture.caption
    assert list(request_pictures(settings(tmp_path / "0"))) == []


def test_of_several_strengths_the_default_one_stands_in_the_picture_of_residue(tmp_path):
    for correlation in (0.0, 1.0):
        leave_strengths(tmp_path, "wf", {0.0: 0.9, 1.0: 0.9, 3.0: 0.8}, correlation=correlation)
        leave_strengths(tmp_path, "head", {1.0: 0.9}, correlation=correlation)
    (picture,) = correlation_pictures(settings(tmp_path))
    assert "for head, wf strength=1." in picture.alt
