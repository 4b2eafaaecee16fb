import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlu.errors import UserError, did_you_mean

LABELS = ("Male", "Bald", "Brown_Hair", "Young")


@pytest.mark.parametrize(
    ("name", "meant"), [("Blad", "Bald"), ("brown_hair", "Brown_Hair"), ("BrownHair", "Brown_Hair"), ("YOUNG", "Young")]
)
def test_a_near_miss_is_named(name, meant):
    assert did_you_mean(name, LABELS) == f", did you mean {meant!r}?"


@pytest.mark.parametrize("name", ["", "Eyeglasses", "7"])
def test_nothing_is_guessed_for_what_is_far_off(name):
    assert did_you_mean(name, LABELS) == ""


def test_there_may_be_no_names():
    assert did_you_mean("Bald", iter(())) == ""


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.text(string.ascii_letters, min_size=1), min_size=1, unique_by=str.lower), st.data())
def test_a_known_name_is_found_in_any_case(names, data):
    name = data.draw(st.sampled_from(names))
    assert did_you_mean(name.swapcase(), names) == f", did you mean {name!r}?"


def test_a_user_error_can_be_caught_as_a_value_error():
    assert issubclass(UserError, ValueError)
