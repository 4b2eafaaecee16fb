import errno
import os
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mlu.system.errors import UserError, did_you_mean, plain_fault

LABELS = ("Male", "Bald", "Brown_Hair", "Young")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Blad", "Bald"),
        ("brown_hair", "Brown_Hair"),
        ("BrownHair", "Brown_Hair"),
        ("YOUNG", "Young"),
    ],
)
def test_a_near_miss_is_named(name, meant):
    assert did_you_mean(name, LABELS) == f", did you mean {meant!r}?"


@pytest.mark.parametrize("name", ["", "Eyeglasses", "7"])
def test_nothing_is_guessed_for_what_is_far_off(name):
    assert did_you_mean(name, LABELS) == ""


def test_there_may_be_no_names():
    assert did_you_mean("Bald", iter(())) == ""


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    st.lists(st.text(string.ascii_letters, min_size=1), min_size=1, unique_by=str.lower), st.data()
)
def test_a_known_name_is_found_in_any_case(names, data):
    name = data.draw(st.sampled_from(names))
    assert did_you_mean(name.swapcase(), names) == f", did you mean {name!r}?"


class Spoilt(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, row):
        raise UserError("cannot read the image a.png: cut; put an intact file there")


def test_what_a_process_that_loads_data_met_is_one_line():
    with pytest.raises(UserError, match="Traceback") as met:
        list(DataLoader(Spoilt(), num_workers=1))
    assert (
        str(plain_fault(met.value)) == "cannot read the image a.png: cut; put an intact file there"
    )


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (
            errno.ENOSPC,
            "cannot write /a: No space left on device; make room, "
            "or choose another folder with outputs=",
        ),
        (
            errno.EACCES,
            "cannot read or write /a: Permission denied; "
            "give the right to, or name another file or folder",
        ),
        (
            errno.EISDIR,
            "cannot read or write /a: Is a directory; "
            "give the right to, or name another file or folder",
        ),
    ],
)
def test_a_fault_of_a_disk_is_one_line(number, says):
    found = plain_fault(OSError(number, os.strerror(number), "/a"))
    assert isinstance(found, UserError)
    assert str(found).startswith(says)


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOENT, "No such file"), OSError("no number"), ValueError("no disk")]
)
def test_any_other_fault_stays_what_it_is(fault):
    assert plain_fault(fault) is fault


def test_a_user_error_can_be_caught_as_a_value_error():
    assert issubclass(UserError, ValueError)
