"""Names, labels and parts in several spellings: joined and counted, or told apart and counted."""

import shlex
import unicodedata

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from mlu.data.sets.csv import Csv
from mlu.data.split import OPEN
from tests.support.photo_folder import SIZE, write_lines
from tests.support.reading import refusal, warnings_of

NFC = unicodedata.normalize("NFC", "Zoë")
NFD = unicodedata.normalize("NFD", "Zoë")


def table(root, header, *rows, **fields):
    """What is read of rows whose first cell, a path, is put in."""
    lines = [f"{number}.png,{row}" for number, row in enumerate(rows)]
    write_lines(root / "labels.csv", f"image,{header}", *lines)
    return Csv(name="csv", root=root, table="labels.csv", image_size=SIZE, prepared=root, **fields)


def people(root, *cells):
    rows = (f"{cell},{number % 2}" for number, cell in enumerate(cells))
    return table(root, "who,Bald", *rows, identity_column="who").read().identities


JOINED = [
    ("anna", "anna "), (" anna", "anna"), ("anna", "anna\u00a0"), ("\ufeffanna", "anna"),
    (NFC, NFD), ("an na", "an  na"), ("an na", "an\u00a0na"), ("1", "1.0"), ("2.0", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), JOINED)
def test_a_person_spelt_in_two_ways_is_one(one, other, tmp_path, caplog):
    found = people(tmp_path, one, "bo", other, "bo")
    assert found[0] == found[2] != found[1] == found[3]
    (said,) = warnings_of(caplog)
    assert "labels.csv, column 'who': 1 of 2 are spelt in more than one way" in said


@pytest.mark.parametrize(("one", "other"), [("anna", "Anna"), ("1", "001"), (NFC, NFC.upper())])
def test_people_who_may_be_one_are_two_and_counted(one, other, tmp_path, caplog):
    assert len(set(people(tmp_path, one, other, one))) == 2
    (said,) = warnings_of(caplog)
    assert "column 'who': 1 differ from another one only in the case of letters" in said


@pytest.mark.parametrize("gap", ["", " ", "nan", "NaN", "<NA>", "#N/A", " nan "])
def test_nobody_is_never_one_person(gap, tmp_path, caplog):
    assert len(set(people(tmp_path, gap, "bo", gap, gap).tolist())) == 4
    counted = "column 'who': 3 cells say nan or the like: nobody is named there" in caplog.text
    assert counted is bool(gap.strip())


@pytest.mark.parametrize("name", ["NA", "Null", "None", "Na", "n/a", "-", "unknown"])
def test_a_name_that_may_mean_nobody_is_a_person_and_told(name, tmp_path, caplog):
    assert len(set(people(tmp_path, name, "bo", name, name).tolist())) == 2
    assert f"{name!r} is on 3 images and is taken for the name of a person" in caplog.text
    caplog.clear()
    people(tmp_path, name, "bo")
    assert not warnings_of(caplog)


def test_plain_names_are_numbered_as_ever(tmp_path, caplog):
    cells = ["bo", "anna", "", "carl", "bo", ""]
    alone = [cell or f"\0{row}" for row, cell in enumerate(cells)]
    np.testing.assert_array_equal(
        people(tmp_path, *cells), np.unique(alone, return_inverse=True)[1]
    )
    assert not warnings_of(caplog)


@pytest.mark.parametrize(("one", "other"), JOINED)
def test_a_class_spelt_in_two_ways_is_one(one, other, tmp_path, caplog):
    data = table(tmp_path, "breed", one, "dog", other, class_column="breed").read()
    assert len(data.labels) == 2
    assert data.targets[0].tolist() == data.targets[2].tolist() != data.targets[1].tolist()
    assert "column 'breed': 1 of 2 are spelt in more than one way" in caplog.text


@pytest.mark.parametrize("cell", ["nan", "NaN", "<NA>", "", " "])
def test_no_class_is_no_class_of_its_own(cell, tmp_path):
    message = refusal(table(tmp_path, "breed", "cat", cell, class_column="breed"))
    assert "row 2 (1.png): column 'breed' is empty: fill it or take the row out" in message


def test_a_class_may_be_called_none_or_na(tmp_path):
    data = table(tmp_path, "place", "NA", "None", "DE", class_column="place").read()
    assert data.labels == ("DE", "NA", "None")


def test_a_class_of_numbers_with_gaps_goes_by_the_whole_number(tmp_path):
    dataset = table(tmp_path, "age", "1.0", "2.0", "1.0", class_column="age", labels=[2, 1])
    assert dataset.read().labels == ("2.0", "1.0")


def test_labels_of_a_list_spelt_in_two_ways_are_one(tmp_path, caplog):
    rows = [f"{NFC}|dog", f" {NFD} | dog", "nan", "", f"cat|{NFC}\u00a0"]
    data = table(tmp_path, "tags", *rows, list_column="tags").read()
    assert data.labels == (NFC, "cat", "dog")
    assert data.targets.tolist() == [[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert "column 'tags': 1 of 3 are spelt in more than one way" in caplog.text


@pytest.mark.parametrize("name", ["Zoë ", NFD, f"\u00a0{NFC}", f"{NFC}\ufeff"])
def test_a_label_is_named_however_it_is_spelt(name, tmp_path):
    for header in (f"{NFC},Bald", f" {NFD} ,Bald"):
        data = table(tmp_path, header, "1,0", "0,1", labels=["Bald", name]).read()
        assert (data.labels, data.targets.tolist()) == (("Bald", NFC), [[0, 1], [1, 0]])


def test_columns_that_mean_something_are_found_however_they_are_spelt(tmp_path):
    dataset = table(tmp_path, f" {NFD},Bald ", "a,1", "b,0", identity_column=f"{NFC} ")
    data = dataset.read()
    assert data.labels == ("Bald",)
    assert data.identities.tolist() == [0, 1]


@pytest.mark.parametrize("header", ["Bald,Bald ", f"{NFC},{NFD}", "A b,A  b", "\ufeffBald,Bald"])
def test_two_columns_of_one_name_are_refused(header, tmp_path):
    assert "is there twice: keep one of them" in refusal(table(tmp_path, header, "1,0", "0,1"))


@pytest.mark.parametrize(
    ("cell", "part"),
    [
        ("Train ", 0), ("TRAIN", 0), ("\u00a0train", 0), ("training", 0), ("0.0", 0), ("0", 0),
        ("val", 1), ("Validation", 1), ("1.0", 1), (" dev", 1), ("test\ufeff", 2), ("2.0", 2),
        ("2,0", 2), ("", OPEN), (" ", OPEN), ("nan", OPEN), ("NaN", OPEN),
        ("None", OPEN), ("NULL", OPEN), ("<NA>", OPEN),
    ],
)  # fmt: skip
def test_a_part_is_known_however_it_is_spelt(cell, part, tmp_path):
    fields = {"split_column": "part", "split": "official"}
    data = table(tmp_path, "part,Bald", f'"{cell}",1', "train,0", **fields).read()
    assert data.split.tolist() == [part, 0]


@pytest.mark.parametrize("cell", ["true", "0.5", "3", "late", "tests"])
def test_what_is_no_part_is_refused(cell, tmp_path):
    fields = {"split_column": "part", "split": "official"}
    assert f"got {cell!r}" in refusal(table(tmp_path, "part,Bald", f"{cell},1", **fields))


@pytest.mark.parametrize(
    ("cell", "known", "target"),
    [
        ("1", True, 1), (" 1", True, 1), ("1.0", True, 1), ('"1,0"', True, 1), ("TRUE", True, 1),
        ("True ", True, 1), ("\u00a01", True, 1), ("0", True, 0), ("0.0", True, 0),
        ("false", True, 0), ("", False, 0), ("nan", False, 0), ("NaN", False, 0), ("NA", False, 0),
        ("N/A", False, 0), ("null", False, 0), ("NULL", False, 0), ("None", False, 0),
        ("<NA>", False, 0), ("#N/A", False, 0),
    ],
)  # fmt: skip
def test_a_sign_is_known_however_it_is_spelt(cell, known, target, tmp_path):
    data = table(tmp_path, "Bald,Young", f"{cell},1", "1,0").read()
    assert data.targets[:, 0].tolist() == [target, 1]
    assert (data.known is None) is known


@pytest.mark.parametrize("cell", ["-", "?", "2", "maybe", "not sure", "it's", "$x", "[1]", "a;b"])
def test_a_sign_that_says_nothing_known_is_told_with_a_setting_that_works(cell, tmp_path):
    message = refusal(table(tmp_path, "Bald", cell, "1", "0"))
    (word,) = shlex.split(message.partition("unknown, set ")[2].partition("; if")[0])
    setting = OverridesParser.create().parse_override(word)
    assert (setting.key_or_group, setting.value()) == ("dataset.unknown", cell)
    data = table(tmp_path, "Bald", cell, "1", "0", unknown=setting.value()).read()
    assert data.known.tolist() == [[False], [True], [True]]


def test_a_word_for_nothing_may_be_given_a_meaning(tmp_path):
    data = table(tmp_path, "Bald", "NA", "1", negative="NA").read()
    assert (data.known, data.targets.tolist()) == (None, [[0], [1]])


def test_blank_rows_of_a_spreadsheet_are_left_out_and_told(tmp_path, caplog):
    caplog.set_level("INFO")
    dataset = table(tmp_path, "Bald,Young", "1,0", "0,1")
    with (tmp_path / "labels.csv").open("a") as file:
        file.write(",,\n , ,\n")
    assert dataset.read().paths == ["0.png", "1.png"]
    assert "2 blank rows are left out" in caplog.text
    with (tmp_path / "labels.csv").open("a") as file:
        file.write(",1,\n")
    assert "row 3: column 'image' is empty" in refusal(dataset)
