from mlu.report.pictures.importance import costs_by_bin, worth_of_weights
from tests.report.test_importance import START, importances
from tests.support.made_runs import leave
from tests.support.report_tables import settings


def test_the_picture_says_its_numbers_and_shows_costs_part_by_part(tmp_path):
    metrics = importances()
    for number in range(1, 4):
        for side in ("own", "others"):
            metrics[f"{START}/Male/bins/fisher/bin_{number}/{side}"] = 1 / number
    leave(tmp_path, metrics, method="original", attacks=("importance",))
    (setting,) = settings(tmp_path)
    picture = worth_of_weights(setting)
    assert "Fisher 0.30, 0.30" in picture.alt
    assert "at random unknown, unknown" in picture.alt
    assert list(costs_by_bin(setting.runs, "Male", "fisher", "own")) == [1, 1 / 2, 1 / 3]
    assert list(costs_by_bin(setting.runs, "Male", "random", "own")) == []


def test_runs_that_did_not_ask_have_no_such_picture(tmp_path):
    leave(tmp_path)
    assert worth_of_weights(settings(tmp_path)[0]) is None
