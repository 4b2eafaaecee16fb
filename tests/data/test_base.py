from pathlib import Path

import numpy as np
import pytest

from mlu.data.base import SPLITS, Dataset, arrays_in, check_fields
from mlu.system.errors import UserError
from mlu.system.store import Store


def test_a_data_set_cannot_be_made_without_a_way_to_load_it():
    with pytest.raises(TypeError, match="load"):
        Dataset(name="a", root=".", image_size=8, labels=("Bald",))


def test_arrays_of_an_entry_are_mapped_by_name_and_hold_what_was_written(tmp_path):
    written = {"images": np.arange(12).reshape(3, 4), "targets": np.eye(3, dtype=np.uint8)}

    def draw(folder: Path):
        for name, array in written.items():
            np.save(folder / f"{name}.npy", array)
        return {}

    found = Store(tmp_path).read("toy", {"a": 1}, draw, lambda entry: arrays_in([*written], entry))
    assert list(found) == list(written)
    for name, array in written.items():
        assert isinstance(found[name], np.memmap)
        assert not found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("split", "size", "says"),
    [
        ("ofical", 8, "must be paper or official, got 'ofical', did you mean 'official'?"),
        ("", 8, "must be paper or official, got ''"),
        ("paper", 0, "dataset.image_size of toy must be at least 1 pixel, got 0"),
    ],
)
def test_a_field_out_of_range_is_named(split, size, says):
    with pytest.raises(UserError) as error:
        check_fields("toy", split, size)
    assert says in str(error.value)


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_in_range_passes(split):
    assert check_fields("toy", split, 1) is None
