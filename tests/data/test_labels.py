import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlu.data.labels import (
    ALIASES,
    CELEBA,
    MAAD,
    PAPER,
    chosen_labels,
    forgotten_labels,
    plain_cell,
    resolve_label,
)
from mlu.system.errors import UserError


def test_the_lists_are_those_of_the_files():
    assert (len(CELEBA), len(MAAD), len(PAPER)) == (40, 47, 10)
    assert all(len(set(names)) == len(names) for names in (CELEBA, MAAD, PAPER))
    assert list(CELEBA) == sorted(CELEBA)  # as the header of list_attr_celeba.txt is
    assert set(PAPER) | set(ALIASES.values()) <= set(CELEBA) & set(MAAD)


@pytest.mark.parametrize("labels", [CELEBA, MAAD, PAPER])
def test_a_label_goes_by_its_own_name_and_by_the_papers(labels):
    assert [resolve_label(label, labels, "toy") for label in labels] == list(labels)
    for paper, own in ALIASES.items():
        assert resolve_label(paper, labels, "toy") == own
        assert resolve_label(own, [*labels, paper], "toy") == own
        assert resolve_label(own, ["Bald", paper], "toy") == paper


@pytest.mark.parametrize(
    ("name", "says"),
    [("Blad", "did you mean 'Bald'?"), ("Gendre", "did you mean 'Gender'?"), ("\0", "no label")],
)
def test_an_unknown_label_ends_in_the_nearest_name_and_all_of_them(name, says):
    for reader in (
        lambda: resolve_label(name, ("Bald", "Male"), "toy"),
        lambda: chosen_labels("toy", ["Bald", name], ("Bald", "Male")),
        lambda: forgotten_labels([name], ("Bald", "Male"), "toy"),
    ):
        with pytest.raises(UserError) as error:
            reader()
        assert says in str(error.value)
        assert str(error.value).startswith(f"toy has no label {name!r}")
        assert str(error.value).endswith("It has Bald, Male")


def test_chosen_labels_keep_their_order_and_are_there_once():
    assert chosen_labels("toy", ["Young_Old", "Bald", "Gender"], CELEBA) == (
        "Young",
        "Bald",
        "Male",
    )
    with pytest.raises(UserError, match=r"dataset\.labels of toy is empty: name each label once"):
        chosen_labels("toy", [], CELEBA)
    with pytest.raises(UserError, match="of toy has 'Male' twice: name each label once"):
        chosen_labels("toy", ["Male", "Bald", "Gender"], CELEBA)


def test_what_is_forgotten_counts_once_and_leaves_something():
    labels = ("Bald", "Male", "Young")
    assert forgotten_labels(["Gender", "Bald", "Male"], labels, "toy") == ("Male", "Bald")
    with pytest.raises(UserError, match="names all 3 labels of toy: leave at least one to retain"):
        forgotten_labels(["Young", "Gender", "Bald"], labels, "toy")


@settings(derandomize=True)
@given(cell=st.integers(-99_999, 99_999) | st.floats(allow_nan=False) | st.text() | st.booleans())
@example(cell="TRUE")
@example(cell=" 1.0\n")
def test_a_plain_cell_is_its_own_spelling_and_equals_its_text(cell):
    plain = plain_cell(cell)
    assert plain == plain_cell(plain) == plain_cell(f" {cell}\t") == plain_cell(str(cell))
    if isinstance(cell, bool | int):
        assert plain == str(int(cell))


@pytest.mark.parametrize(
    ("name", "labels", "found"),
    [
        ("Gender", ["Male"], "Male"),
        ("Male", ["Gender"], "Gender"),
        ("Young_Old", ["Young"], "Young"),
        ("3", ["3"], "3"),
    ],
)
def test_either_spelling_is_accepted(name, labels, found):
    assert resolve_label(name, labels, "toy") == found


def test_a_near_miss_of_the_papers_name_is_suggested():
    with pytest.raises(UserError, match="did you mean 'Gender'"):
        resolve_label("Gendr", ["Male", "Young"], "toy")
