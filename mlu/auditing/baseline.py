"""The mark where there is no Retrain: the larger of the retained labels and an untrained network.

What is read above it is judged in the place of what is read above Retrain, and never called so.
"""

from collections.abc import Iterator, Sequence

from mlu.attacks.parts.panel import RELEASED, in_places, panel_place
from mlu.metrics.findings import Evidence, Finding, Trial
from mlu.metrics.strongest import (
    excess_over_larger,
    largest_reading,
    strongest_reader,
)
from mlu.runs.verdicts import BASELINE

NO_MARK = "neither the retained labels nor an untrained network could be read"

Contest = tuple[Trial, list[Trial]]
"""A trial, and those that it is held against."""


def baseline_findings(
    trials: Evidence[Trial], untrained: Sequence[Evidence[Trial]], told: Evidence[Trial]
) -> Iterator[Finding]:
    """`baseline/...` of one label: what is read above the larger of the marks.

    - `baseline/strongest/<place>/excess`: the strongest reader of a place, above the strongest one
      of each untrained network there and of the retained labels;
    - `baseline/strongest/excess`: likewise, of outputs and features together;
    - `baseline/same_reader/excess`: each reader of them above itself on each untrained network,
      and above the strongest reader of the retained labels.

    Which reader is the strongest is told by the attacker's own people, never by the judged ones.

    Args:
        trials: Of one model and label, by path below the label.
        untrained: Of networks that have not seen the data, likewise.
        told: Of the true retained labels alone.
    """
    floor = told[strongest_reader(told)] if told else NO_MARK
    strongest: list[Contest] = []
    for place, ours in in_places(trials):
        theirs = [dict(in_places(one))[place] for one in untrained]
        marks = [one[strongest_reader(one)] for one in theirs]
        contest = contest_of(ours[strongest_reader(ours)], [*marks, floor])
        yield held_against(f"{BASELINE}/strongest/{place}", [contest])
        if place in RELEASED and not isinstance(contest, str):
            strongest.append(contest)

    yield held_against(f"{BASELINE}/strongest", strongest)

    each = [
        contest_of(trial, [*(one.get(path, NO_MARK) for one in untrained), floor])
        for path, trial in trials.items()
        if panel_place(path) in RELEASED
    ]
    yield held_against(f"{BASELINE}/same_reader", each)


def contest_of(trial: Trial | str, marks: Sequence[Trial | str]) -> Contest | str:
    """A trial with its marks; why there is none."""
    known = [mark for mark in marks if isinstance(mark, Trial)]
    if isinstance(trial, str):
        return trial
    return (trial, known) if known else NO_MARK


def held_against(path: str, contests: Sequence[Contest | str]) -> Finding:
    """`<path>/excess` of all contests that there are."""
    known = [one for one in contests if not isinstance(one, str)]
    if not known:
        reason = next((one for one in contests if isinstance(one, str)), NO_MARK)
        return Finding(f"{path}/excess", None, missing=reason)
    return excess_over_larger(path, known)


def any_reader_finding(path: str, trials: Evidence[Trial]) -> Finding:
    """`<path>/balanced_accuracy`: the most that any reader of outputs or features tells."""
    released = [one for place, one in trials.items() if panel_place(place) in RELEASED]
    known = [one for one in released if isinstance(one, Trial)]
    if not known:
        reason = next((one for one in released if isinstance(one, str)), NO_MARK)
        return Finding(f"{path}/balanced_accuracy", None, missing=reason)
    return largest_reading(path, known)
