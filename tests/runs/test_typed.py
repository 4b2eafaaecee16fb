import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlu.runs.typed import as_json, can_be, typed


@dataclass(frozen=True)
class Inner:
    number: float | None
    sure: bool | None


@dataclass(frozen=True)
class Outer:
    name: str
    lists: tuple[tuple[str, ...], ...] | None
    parts: Mapping[str, Inner | None]
    count: int


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers()
inner = st.builds(Inner, number=st.none() | numbers, sure=st.none() | st.booleans())
lists = st.lists(st.lists(st.text()).map(tuple)).map(tuple)
outer = st.builds(
    Outer,
    name=st.text(),
    lists=st.none() | lists,
    parts=st.dictionaries(st.text(), st.none() | inner),
    count=st.integers(),
)


@given(outer)
def test_what_is_written_is_read_again(value):
    content = json.loads(json.dumps(as_json(value)))
    assert can_be(content, Outer)
    assert typed(content, Outer) == value


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({"lists": None}, True),
        ({"more": 1}, True),
        ({"lists": ["a"]}, False),
        ({"lists": [[1]]}, False),
        ({"parts": {"a": {"number": "1"}}}, False),
        ({"parts": {"a": {}}}, True),
        ({"parts": []}, False),
        ({"count": True}, False),
        ({"count": 1.0}, False),
        ({"name": None}, False),
    ],
)
def test_a_value_can_be_of_a_type_or_not(change, holds):
    content = {"name": "a", "lists": [["b"]], "parts": {}, "count": 1} | change
    assert can_be(content, Outer) == holds
    assert not can_be({key: content[key] for key in content if key != "name"}, Outer)
