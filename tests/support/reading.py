"""What tests of readers do to files, and what they look at."""

import logging

import pytest

from mlu.data.divided import ImageData
from mlu.system.errors import UserError


def refusal(dataset):
    """The message of the UserError that loading ends with: one line."""
    with pytest.raises(UserError) as error:
        dataset.load()
    assert "\n" not in str(error.value)
    return str(error.value)


def refusal_to_train(dataset):
    """The message of the UserError that dividing the data set ends with, after it was loaded: one
    line."""
    data = dataset.load()
    with pytest.raises(UserError) as error:
        ImageData(data, seed=0, batch_size=4)
    assert "\n" not in str(error.value)
    return str(error.value)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def edit(file, change):
    """Rewrite a file's lines with `change`, which edits the list in place."""
    lines = file.read_text().splitlines()
    change(lines)
    file.write_text("\n".join(lines) + "\n")


def put(row, column, value):
    """A change that sets a cell of a CSV file; rows count from 0 after the header."""

    def change(lines):
        cells = lines[row + 1].split(",")
        cells[lines[0].split(",").index(column)] = value
        lines[row + 1] = ",".join(cells)

    return change
