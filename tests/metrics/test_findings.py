from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mlu.metrics.findings import NO_REFERENCE, Finding

PARTS = st.from_regex(r"[a-z]+(/[a-z]+)?", fullmatch=True)


@given(PARTS, PARTS, PARTS, st.floats(0, 1))
def test_a_finding_under_a_prefix_is_the_same_figure_elsewhere(path, inner, outer, value):
    found = Finding(path, value, low=value - 1, high=value + 1, p_value=0.5)
    moved = found.under(inner).under(outer)
    assert moved.path == f"{outer}/{inner}/{path}"
    assert replace(moved, path=path) == found


def test_what_is_missing_keeps_its_reason_under_a_prefix():
    moved = Finding("accuracy", None, missing=NO_REFERENCE).under("retrain")
    assert moved == Finding("retrain/accuracy", None, missing=NO_REFERENCE)
