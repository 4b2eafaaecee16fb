import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlu.data.spelling import (
    one_spelling,
    path_spellings,
    plain_path,
    plain_paths,
    plain_text,
    plainly_written,
    respelt,
    same_name,
)
from tests.support.reading import warnings_of

NFD = unicodedata.normalize("NFD", "Jürgen Ångström")
NFC = unicodedata.normalize("NFC", NFD)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("anna", "anna "), ("anna", "\tanna\r\n"), ("anna", "\u00a0anna"), ("anna", "\ufeffanna"),
        ("anna", "an\u00adna"), ("anna", "anna\u200b"), ("anna", "\u202aanna\u202c"),
        ("anna b", "anna  b"), ("anna b", "anna\u00a0b"), ("anna b", "anna\u202fb"),
        (NFC, NFD), (NFC, f" {NFD}\u3000"), ("\u212bngström", "Ångström"), ("가", "\u1100\u1161"),
        ("1", "1.0"), ("1", " 1.00 "), ("1", "1,0"), ("-3", "-3.0"), ("9" * 20, "9" * 20 + ".0"),
    ],
)  # fmt: skip
def test_names_that_are_one(one, other, caplog):
    assert same_name(one) == same_name(other)
    assert respelt([other, one, "carl", one], "column 'who'") in ([one, one, "carl", one], [
        plain_text(one), plain_text(one), "carl", plain_text(one)
    ])  # fmt: skip
    (said,) = warnings_of(caplog)
    assert said.startswith("column 'who': 1 of 2 are spelt in more than one way, such as ")


@pytest.mark.parametrize(
    ("one", "other", "warned"),
    [
        ("anna", "Anna", True), ("TRUE", "True", True), ("1", "001", True),
        ("Straße", "STRASSE", True),
        ("1", "1.5", False), ("1", "1,000", False), ("anna", "anne", False), ("ü", "u", False),
        ("1", "10", False), ("0", "00", True), ("a1", "a01", False),
        ("می\u200cخواهم", "میخواهم", False),
        ("²", "2", False), ("Ａ", "A", False),
    ],
)  # fmt: skip
def test_names_that_are_two(one, other, warned, caplog):
    assert same_name(one) != same_name(other)
    names = [one, other, one]
    assert respelt(names, "here") is names
    assert bool(warnings_of(caplog)) is warned
    if warned:
        assert "1 differ from another one only in the case of letters or in zeros" in caplog.text


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=8))
def test_a_plain_name_is_its_own_spelling(text):
    assert plain_text(plain_text(text)) == plain_text(text) == plain_text(f" {text}\u00a0")
    assert same_name(same_name(text)) == same_name(text) == same_name(plain_text(text))


def test_several_spellings_go_by_the_shortest_whatever_their_order():
    for names in (["b ", "1.0", "1", " b"], ["1", " b", "b ", "1.0"]):
        assert one_spelling(names, "here") == {"b ": "b", " b": "b", "1.0": "1", "1": "1"}


@pytest.mark.parametrize(
    "path",
    [
        "./b/a.png", "b//a.png", "b/./a.png", "c/../b/a.png", "b/c/../a.png", "b\\a.png",
        ".\\b\\a.png", "c\\..\\b\\a.png", " b/a.png", "b/a.png ", "\ufeffb/a.png", "b/a.png\u00a0",
        "\u202ab\\a.png", "b/a.png\t", "b/a.png/", ".//b///a.png", "c/d/../../b/a.png",
        "b/../b/../b/a.png",
    ],
)  # fmt: skip
def test_paths_that_are_one(path):
    assert plain_path(path) == "b/a.png"
    assert plain_paths(["b/a.png", path]) == ["b/a.png", "b/a.png"]
    assert not plainly_written([path])
    assert "b/a.png" in path_spellings(path)


@pytest.mark.parametrize(
    "path",
    [
        "../a",
        "a/../../b",
        "/a",
        "//a",
        "\\a",
        "C:\\a",
        "./C:/a",
        " /a",
        "a\\..\\..\\b",
        "..",
        "\u202a/a",
    ],
)
def test_a_path_that_leads_out_still_does(path):
    assert plain_path(path).startswith(("..", "/", "C:"))


PATHS = st.lists(st.text("ab./\\ \n\tü\u0308", max_size=6), max_size=3)


@settings(derandomize=True, deadline=None)
@given(PATHS)
def test_a_look_at_all_paths_together_misses_none(paths):
    if plainly_written(paths):
        assert [plain_path(path) for path in paths] == paths
