"""Phrases: each against values that it allows and refuses, and the words of its message."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlu.launch.phrases import phrase_of

LAW = {
    "number >= 0": ([0, 0.5, 3], [-1e-9, math.inf, math.nan, "1", True, None]),
    "number > 0": ([1e-9, 3], [0, -1, math.inf]),
    "number in [0, 1]": ([0, 1, 0.5], [-0.1, 1.1, math.nan]),
    "number in (0, 1]": ([1, 0.1], [0, 1.1]),
    "number in [0, 1)": ([0, 0.99], [1, -0.1]),
    "number in [-1, 1]": ([-1, 1], [-1.5]),
    "number >= 0, or inf": ([math.inf, 0], [-1, -math.inf, "inf"]),
    "number >= 0, or cv": (["cv", 0], ["CV", -1]),
    "number > 0, or null": ([None, 1], [0]),
    "whole number >= 2": ([2, 10**9], [1, 2.0, True, "2"]),
    "whole number in [20, 1797], or null": ([20, 1797, None], [19, 1798]),
    "even whole number >= 6": ([6, 8], [7, 4, 6.0]),
    "list of even whole numbers >= 2, such as [8,64]": ([[2], [8, 64]], [[], 8, [3], [0]]),
    "true | false": ([True, False], [0, "true", None]),
    "sgd | adam": (["sgd"], ["SGD", "", None, ["sgd"]]),
    "layer | global, or null": ([None, "layer"], ["none"]),
    "path": (["a/b"], ["", " ", 3, None]),
    "column": (["who"], ["", 3]),
    "plain name": (["my-data.2"], ["a/b", "..", "", ".a"]),
    "name of a project": (["mlu"], ["", 3]),
    "name, such as tiny": (["tiny"], [""]),
    "cell": ([1, "yes", True, -3.5], [None, [1], {}]),
    "list of labels": ([["a"], [3]], ["a", [], [""], [True]]),
    "label or list of labels": (["a", 3, ["a"], []], ["", [None]]),
    "list of lists of labels": ([[["a"], ["b", "c"]]], [["a"], []]),
    "list of two digits": ([["3", "8"], [3, 8]], [["3"], ["1", "2", "3"]]),
    "list of epochs": ([[], [3, 5]], [[0], [1.5], 3]),
    "figure or list of figures": (["a/b", ["a"]], ["", []]),
    "text file or list of text files": (["a.txt", ["a", "b"]], [[], 3]),
    "weights | DEFAULT | V_*": (["DEFAULT", "a.pt", "anything"], [3, ""]),
    "keys": ([{}, {"a": 1}], [None, [], 3]),
}


@pytest.mark.parametrize("said", LAW)
def test_a_phrase_allows_what_it_says(said):
    phrase = phrase_of(said)
    allowed, refused = LAW[said]
    assert [value for value in allowed if not phrase.holds(value)] == []
    assert [value for value in refused if phrase.holds(value)] == []
    assert phrase.words


@pytest.mark.parametrize(
    "words",
    [
        "most optimiser steps",
        "number",
        "numbr >= 0",
        "whole number",
        "number > = 0",
        "one name",
        "",
        "in [0, 1]",
        "list of",
        "weights of all kinds",
        "path, or",
    ],
)
def test_other_words_are_none(words):
    assert phrase_of(words) is None


def test_words_are_those_of_messages():
    words = {
        "number in (0, 1]": "a number in (0, 1]",
        "even whole number >= 6": "an even whole number >= 6",
        "number >= 0, or cv": "a number >= 0, or 'cv'",
        "sgd | adam": "'sgd' or 'adam'",
        "path, or null": "a path, in quotes where it is a number, or null",
        "name of a budget": "the name of a budget, in quotes where it is a number",
    }
    for said, told in words.items():
        assert phrase_of(said).words == told


def test_names_that_weights_and_labels_may_have_are_kept():
    assert phrase_of("weights | DEFAULT | IMAGENET1K_*, or null").names == (
        "DEFAULT",
        "IMAGENET1K_*",
    )
    assert phrase_of("weights").names == ()
    assert phrase_of("list of these labels").names == ("these",)
    assert phrase_of("list of labels of mlu.data.labels.MAAD").names == ("mlu.data.labels.MAAD",)


@given(
    low=st.integers(-9, 9),
    span=st.integers(0, 9),
    value=st.one_of(st.integers(-20, 20), st.floats(-20, 20)),
)
def test_a_range_is_the_one_of_mathematics(low, span, value):
    high = low + span
    for left in "[(":
        for right in "])":
            inside = (low <= value if left == "[" else low < value) and (
                value <= high if right == "]" else value < high
            )
            assert phrase_of(f"number in {left}{low}, {high}{right}").holds(value) == inside
