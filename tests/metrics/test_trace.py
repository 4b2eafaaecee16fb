"""The rule by which a step of fine-tuning is kept."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlu.metrics.trace import TOLERANCE, Told, TracePoint, best_step, still_possible


def point(retained, *told):
    """A point of labels `a`, `b`, ..., each told by a linear and a kernel reader, or not at all."""
    labels = {}
    for name, one in zip("abc", told, strict=False):
        labels[name] = None if one is None else Told(0.5, *one)
    return TracePoint(model="unlearned", retained=retained, labels=labels)


def test_of_the_steps_that_retain_nearly_the_most_the_least_read_is_kept():
    points = [
        point(0.90, (0.95, 0.9)),
        point(0.88, (0.5, 0.5)),  # read least, but it retains too little
        point(0.891, (0.7, 0.6)),
        point(0.89, (0.65, 0.6)),  # exactly as little as may be
        point(0.899, (0.6, 0.9)),  # what counts is the stronger reader
    ]
    assert best_step(points) == 3
    # The start counts for the most that is retained: without it others would be near enough.
    assert best_step(points[1:2]) == 0
    # The negative control: by the weaker reader another step would be kept.
    weaker = [min(one.labels["a"].linear, one.labels["a"].kernel) for one in points[2:]]
    assert weaker.index(min(weaker)) != 1


def test_the_stronger_reader_is_another_for_each_label():
    alike = point(0.9, (0.6, 0.9), (0.9, 0.6))
    # By the mean of each reader this one would be read more: 0.8 against 0.75.
    other = point(0.9, (0.8, 0.8), (0.8, 0.8))
    assert alike.mean("stronger") == pytest.approx(0.9)
    assert best_step([alike, other]) == 1


def test_of_equals_the_first_is_kept_and_what_cannot_be_read_never_is():
    read, unread = point(0.9, (0.6, 0.6)), point(0.99, None)
    assert best_step([unread, read, read]) == 1
    assert best_step([unread, unread]) == 1
    assert best_step([point(0.9, (0.7, 0.7), None), point(0.9, None, (0.6, 0.6))]) == 1


rates = st.integers(0, 20).map(lambda number: 0.5 + number / 40)
kept = st.integers(0, 40).map(lambda number: 0.8 + number / 400)
looks = st.lists(st.builds(point, kept, st.none() | st.tuples(rates, rates)), min_size=1)


@given(looks)
def test_whoever_is_let_go_is_never_kept_later(points):
    held = set()
    for number in range(len(points)):
        seen = points[: number + 1]
        held = (held | {number}) & still_possible(seen)
        assert best_step(seen) in held


@given(looks)
def test_the_kept_step_is_within_the_tolerance_and_none_within_it_is_read_less(points):
    best = points[best_step(points)]
    readable = [one for one in points if one.mean("stronger") is not None]
    if not readable:
        assert best is points[-1]
        return

    most = max(one.retained for one in readable)
    assert best.retained >= most - TOLERANCE - 1e-6
    near = [one for one in readable if one.retained >= most - TOLERANCE + 1e-6]
    assert all(best.mean("stronger") <= one.mean("stronger") for one in near)


def test_figures_name_each_label_where_there_are_several():
    one = point(0.9, (0.6, 0.7))
    assert one.figures() == {"retained": 0.9, "output": 0.5, "linear": 0.6, "kernel": 0.7}
    labels = {"yes/no": Told(0.5, 0.7, 0.8), "b": None}
    assert replace(one, labels=labels).figures() == {
        "retained": 0.9,
        "output": 0.5,
        "linear": 0.7,
        "kernel": 0.8,
        'label/"yes/no"/output': 0.5,
        'label/"yes/no"/linear': 0.7,
        'label/"yes/no"/kernel': 0.8,
    }
    assert point(None, None).figures() == {}


@pytest.mark.parametrize(
    "changes",
    [{"retained": 1.1}, {"retained": float("nan")}, {"step": -1}, {"step": 10**400}]
    + [{"labels": {"a": Told(0.5, 0.5, wrong)}} for wrong in (-0.1, float("nan"), 10**400)],
)
def test_numbers_that_cannot_be_seen_are_not_sound(changes):
    sound = replace(point(0.9, (0.6, 0.7)), step=3)
    assert sound.is_sound
    assert not replace(sound, **changes).is_sound
