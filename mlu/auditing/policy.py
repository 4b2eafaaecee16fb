"""Policies: what an audited model must keep, and whether the runs of the audit show it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlu.metrics.verdict import MAX_LOSS, Excess, Verdict, Word, verdict_on, verdict_sentence
from mlu.runs.read import Run
from mlu.runs.results import Figure
from mlu.runs.verdicts import accuracy_lost, excess_at, start_of, verdict_of_runs

Standing = Literal["kept", "broken", "not shown"]

STANDINGS: dict[Word, Standing] = {
    "shown": "kept",
    "exceeded": "broken",
    "not shown": "not shown",
}
"""Words of a verdict as those of a policy."""

EXIT_CODES: dict[Standing, int] = {"kept": 0, "broken": 1, "not shown": 3}

ANY_READER = "any_reader"
"""Part of the path of the most that any one reader tells."""

RETAINED = "unlearned/test/retained"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The keys of `policy`.

    Attributes:
        max_excess: Most balanced accuracy that attackers may read above the mark, in [0, 1).
        max_loss: Most accuracy, plain or balanced, that the retained labels may lose, in [0, 1].
        max_reading: Most balanced accuracy that any reader may have, in [0, 1]; None for any.
        min_retained: Least accuracy of the retained labels, in [0, 1]; None for any.
        seeds: How often attacks draw anew, >= 1.
    """

    max_excess: float
    max_loss: float = MAX_LOSS
    max_reading: float | None = None
    min_retained: float | None = None
    seeds: int = 1


@dataclass(frozen=True)
class Clause:
    """One thing that a policy asks for, and how it stands.

    Attributes:
        key: Of the policy.
        bound: Its value.
        word: `kept` where the interval shows it, `broken` where it shows the contrary.
        said: In a sentence, with the numbers.
    """

    key: str
    bound: float
    word: Standing
    said: str


def clauses_of(policy: Policy, runs: Sequence[Run]) -> list[Clause]:
    """Each thing that a policy asks for, as the runs of one audit show it.

    Args:
        policy: What must be kept; the runs' own configurations say the same.
        runs: That differ in what the attacks drew, and in nothing else.
    """
    return [
        excess_clause(policy.max_excess, runs),
        *loss_clause(policy.max_loss, runs),
        *reading_clause(policy.max_reading, runs),
        *retained_clause(policy.min_retained, runs),
    ]


def standing_of(clauses: Sequence[Clause]) -> Standing:
    """The word on all clauses together: broken where one is, kept where all are."""
    words = {one.word for one in clauses}
    if "broken" in words:
        return "broken"
    return "kept" if words == {"kept"} else "not shown"


def excess_clause(bound: float, runs: Sequence[Run]) -> Clause:
    """`max_excess`: the verdict that runs, reports and certificates have."""
    judged = verdict_of_runs(runs)
    if judged is None:
        label = runs[0].results.run.forget_label[0]
        figure = runs[0].figure(f"{start_of(label)}/strongest/balanced_accuracy")
        reason = figure.reason or "nothing can be held against the mark"
        return Clause("max_excess", bound, "not shown", f"Not shown: {reason}.")

    return Clause("max_excess", bound, STANDINGS[judged.word], verdict_sentence(judged))


def loss_clause(bound: float, runs: Sequence[Run]) -> Iterator[Clause]:
    """`max_loss`: where more is lost, which the excess alone would call forgetting."""
    loss = accuracy_lost(runs)
    if loss is not None and loss > bound:
        yield Clause(
            "max_loss",
            bound,
            "broken",
            f"Broken: the retained labels have lost {100 * loss:.1f} points of accuracy, where "
            f"{100 * bound:g} are allowed.",
        )


def reading_clause(bound: float | None, runs: Sequence[Run]) -> Iterator[Clause]:
    """`max_reading`: no reader of outputs or features tells more, of any label."""
    if bound is None:
        return

    labels = runs[0].results.run.forget_label
    found = [
        excess_at(runs, f"{start_of(label)}/{ANY_READER}", label, "balanced_accuracy")
        for label in labels
    ]
    known = [one for one in found if one is not None]
    if not known:
        yield Clause("max_reading", bound, "not shown", "Not shown: nothing could be read.")
        return

    judged = verdict_on(known, bound)
    word = STANDINGS[judged.word]
    if len(known) < len(labels) and word == "kept":
        word = "not shown"
    ends = ends_text(judged.low, judged.high)
    yield Clause(
        "max_reading",
        bound,
        word,
        f"{word.capitalize()}: any one reader of outputs or features tells {judged.of} with a "
        f"balanced accuracy of at most {judged.mean:.3f}{ends}, where {bound:g} is allowed.",
    )


def retained_clause(bound: float | None, runs: Sequence[Run]) -> Iterator[Clause]:
    """`min_retained`: the accuracy of the retained labels, which no attack has a hand in."""
    if bound is None:
        return

    figure = runs[0].figure(f"{RETAINED}/accuracy")
    if figure.value is None:
        yield Clause("min_retained", bound, "not shown", f"Not shown: {figure.reason}.")
        return

    judged = judged_from_below(figure, bound)
    word = STANDINGS[judged.word]
    ends = ends_text(figure.low, figure.high)
    yield Clause(
        "min_retained",
        bound,
        word,
        f"{word.capitalize()}: the retained labels have an accuracy of {figure.value:.3f}{ends}, "
        f"where {bound:g} is asked for.",
    )


def judged_from_below(figure: Figure, bound: float) -> Verdict:
    """The verdict on a figure that must not be below a bound."""
    assert figure.value is not None
    ends = None
    if figure.low is not None and figure.high is not None:
        ends = (-figure.high, -figure.low)
    judged = verdict_on([Excess((-figure.value,), ends)], -bound)
    return replace(judged, mean=-judged.mean, bound=bound)


def ends_text(low: float | None, high: float | None) -> str:
    """The ends of an interval in words."""
    if low is None or high is None:
        return ", without an interval"
    return f" (95 % interval [{low:.3f}, {high:.3f}])"
