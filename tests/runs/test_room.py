import pytest

from mlu.runs.room import room_path, without_room


def test_a_place_where_the_original_is_not_surely_read_better_has_no_room():
    lows = {
        room_path("Male", "outputs"): 0.03,
        room_path("Male", "features"): 0.0,
        room_path("Male", "stages"): -0.01,
        room_path("Young", "stages"): 0.02,
        room_path("yes/no", "outputs"): -0.1,
    }
    first, second = without_room(["Male", "Young", "yes/no"], lows.get)
    assert first.startswith("Male: at features and all stages the original is not read")
    assert second.startswith("yes/no: at outputs the original")


@pytest.mark.parametrize("low", [None, 0.01])
def test_where_there_is_room_or_nothing_is_known_nothing_is_said(low):
    assert [*without_room(["Male"], lambda path: low)] == []
