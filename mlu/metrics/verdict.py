"""The verdict on forgetting: whether what attackers find above Retrain is shown to be small.

One rule for terminal, report and certificate. Excesses are in [-1, 1], differences of balanced
accuracies; in sentences they are points, hundredths of that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import ndtri, stdtrit

Word = Literal["shown", "exceeded", "not shown"]

MAX_EXCESS = 0.02
"""Largest mean excess of a method that has forgotten, where `policy.max_excess` says no other."""

MAX_LOSS = 0.02
"""Most retained accuracy that such a method loses, where `policy.max_loss` says no other."""

MOST_REPLICATES = 10_000
"""More replicates than this nobody is told to make."""

RETRAIN = "Retrain"
"""What an excess is over, unless it says otherwise."""

_ERROR = 0.05
"""Share of intervals that may miss the truth."""
_NO_SPREAD = 1e-12
"""Replicates that differ by less agree exactly."""


@dataclass(frozen=True)
class Excess:
    """One reader's excess over Retrain, or over what stands in its place, in one label.

    Attributes:
        values: Of each replicate: a run with another seed, from its split to its last step.
        ends: Of a 95 % interval over test people alone; None where there is none. It counts where
            replicates have no spread to go by: there is one, or they agree exactly.
        of: Its label and its reader, in words.
        shared: What the replicates have in common, in words; empty where all is drawn anew.
        independent: Whether each has people and models of its own. Else their spread says too
            little, and the wider of both intervals counts.
        over: What it is above, in words.
    """

    values: tuple[float, ...]
    ends: tuple[float, float] | None = None
    of: str = ""
    shared: str = ""
    independent: bool = True
    over: str = RETRAIN


@dataclass(frozen=True)
class Verdict:
    """A verdict, and what it rests on.

    Attributes:
        word: `shown` where the upper end is at most the bound, `exceeded` where the lower one is
            above it, else `not shown`.
        mean: Over replicates; of several readers or labels the highest.
        low: Lower end of the 95 % interval; of several the highest, corrected for their number.
            None where there is no interval.
        high: Upper end; of several the highest. None where one of them has none.
        replicates: How many there are.
        needed: How many it would take to show it, were mean and spread as they are. None where it
            is not `not shown`, where the mean is above the bound, where there is no spread to go
            by, and above MOST_REPLICATES.
        bound: Largest excess allowed.
        alone: Whether it speaks of these very models, over test people, and of no other seed.
        unread: Labels of which nothing is known: while there are such, nothing is shown.
        of: Label and reader of the mean, in words.
        shared: What the replicates have in common, in words; empty where all is drawn anew.
        over: What the mean is above, in words.
        loss: Retained accuracy that is lost, where it is more than `max_loss`: while it is, nothing
            is shown, since a model that knows nothing has not been taught to forget. Else None.
        max_loss: Most that may be lost.
    """

    word: Word
    mean: float
    low: float | None
    high: float | None
    replicates: int
    needed: int | None
    bound: float
    alone: bool
    unread: tuple[str, ...] = ()
    of: str = ""
    shared: str = ""
    over: str = RETRAIN
    loss: float | None = None
    max_loss: float = MAX_LOSS


def with_unread(verdict: Verdict, labels: Sequence[str]) -> Verdict:
    """A verdict that knows of labels that could not be read."""
    return replace(unshown(verdict), unread=tuple(labels))


def with_loss(verdict: Verdict, loss: float | None, bound: float = MAX_LOSS) -> Verdict:
    """A verdict that knows how much retained accuracy is lost.

    Args:
        verdict: On what is read.
        loss: Of the retained labels, in [-1, 1]; None where it is not known.
        bound: Most of it that is allowed.
    """
    if loss is None or loss <= bound:
        return replace(verdict, max_loss=bound)
    return replace(unshown(verdict), loss=loss, max_loss=bound)


def unshown(verdict: Verdict) -> Verdict:
    """A verdict that does not say `shown`, whatever the intervals, and that no replicates mend."""
    word: Word = "exceeded" if verdict.word == "exceeded" else "not shown"
    return replace(verdict, word=word, needed=None)


def verdict_on(excesses: Sequence[Excess], bound: float = MAX_EXCESS) -> Verdict:
    """The verdict on all readers and labels together.

    *Shown* where it is shown of each at 95 %: that none is above the bound is wrongly said no more
    often than of the worst one. *Exceeded* where one is above it, by Bonferroni: of k each lower
    end is that of a two-sided interval at 1 - 0.05 / k.

    Args:
        excesses: One for each reader and label, at least one.
        bound: Largest excess allowed.

    Raises:
        ValueError: If there is nothing to judge by, or a number is not finite.
    """
    if not excesses:
        raise ValueError("no excess to judge by")

    judged = [verdict_on_one(excess, bound, len(excesses)) for excess in excesses]
    words = {one.word for one in judged}
    lows = [one.low for one in judged if one.low is not None]
    highs = [one.high for one in judged if one.high is not None]

    word: Word = "not shown"
    if "exceeded" in words:
        word = "exceeded"
    elif words == {"shown"}:
        word = "shown"

    return replace(
        max(judged, key=lambda one: one.mean),
        word=word,
        low=max(lows, default=None),
        high=max(highs) if len(highs) == len(judged) else None,
        needed=most_needed(judged, word),
        alone=any(one.alone for one in judged),
    )


def verdict_on_one(excess: Excess, bound: float, comparisons: int = 1) -> Verdict:
    """The verdict on one reader in one label, as one of several comparisons."""
    values = np.array(excess.values, float)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"excesses must be finite numbers, got {excess.values}")

    mean, (low, high) = float(values.mean()), limits_of(excess, comparisons)
    word: Word = "not shown"
    if low is not None and low > bound:
        word = "exceeded"
    elif high is not None and high <= bound:
        word = "shown"

    alone = not excess.independent or student_interval(values) is None
    needed = None
    if word == "not shown" and not alone:
        needed = replicates_needed(bound - mean, float(values.std(ddof=1)))

    return Verdict(
        word,
        mean,
        low,
        high,
        len(values),
        needed,
        bound,
        alone,
        of=excess.of,
        shared=excess.shared,
        over=excess.over,
    )


def limits_of(excess: Excess, comparisons: int) -> tuple[float | None, float | None]:
    """Ends of the interval of one reader in one label, the lower one of several comparisons.

    Student's over replicates; over test people where replicates have no spread; the wider of both
    where they are not independent. None where there is none.
    """
    mean = float(np.mean(excess.values))
    spread = student_interval(excess.values)
    corrected = student_interval(excess.values, _ERROR / comparisons)
    lows = [] if corrected is None else [corrected[0]]
    highs = [] if spread is None else [spread[1]]

    if excess.ends is not None and (spread is None or not excess.independent):
        lows.append(widened(mean, excess.ends[0], comparisons))
        highs.append(excess.ends[1])
    elif not excess.independent:
        return None, None

    return min(lows, default=None), max(highs, default=None)


def most_needed(judged: Sequence[Verdict], word: Word) -> int | None:
    """Replicates until each that is not shown would be; None where one never would be."""
    if word != "not shown":
        return None
    needed = [one.needed for one in judged if one.word == "not shown"]
    known = [count for count in needed if count is not None]
    return max(known) if len(known) == len(needed) else None


def student_interval(
    values: Sequence[float] | np.ndarray, error: float = _ERROR
) -> tuple[float, float] | None:
    """Where the mean of all replicates lies: mean ± t(n - 1) sd / sqrt(n).

    A replicate draws split, initial weights and order anew, so that their spread holds all of it.

    Args:
        values: Of the replicates that there are.
        error: Share of such intervals that miss the truth, half of them on each side.

    Returns:
        Lower and upper end; None for fewer than two replicates and for such that agree exactly.
    """
    if len(values) < 2 or np.ptp(values) <= _NO_SPREAD:
        return None
    half = half_width(len(values), float(np.std(values, ddof=1)), error)
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def half_width(replicates: int, deviation: float, error: float = _ERROR) -> float:
    """Half of Student's interval of a mean over two or more replicates."""
    return float(stdtrit(replicates - 1, 1 - error / 2) * deviation / math.sqrt(replicates))


def widened(mean: float, low: float, comparisons: int) -> float:
    """The lower end of one of several comparisons from its 95 % one, as if it were normal."""
    return mean - (mean - low) * float(ndtri(_ERROR / comparisons / 2) / ndtri(_ERROR / 2))


def replicates_needed(distance: float, deviation: float) -> int | None:
    """The fewest replicates whose 95 % interval reaches no further than a distance.

    Args:
        distance: From the mean to the bound.
        deviation: Standard deviation over replicates, > 0.

    Returns:
        At least 2; None where the mean is not below the bound, and above MOST_REPLICATES.
    """
    if distance <= 0:
        return None

    low, high = 1, MOST_REPLICATES
    if half_width(high, deviation) > distance:
        return None

    while high - low > 1:
        middle = (low + high) // 2
        if half_width(middle, deviation) > distance:
            low = middle
        else:
            high = middle

    return high


def verdict_sentence(verdict: Verdict) -> str:
    """A verdict in one sentence of plain words, with its numbers in points."""
    word = verdict.word.capitalize()
    if verdict.alone:
        of = "of this one model" if verdict.replicates == 1 else "of these models"
        word = f"{word} {of}, over test people; other seeds may differ"

    limit = f"{100 * verdict.bound:g} points"
    side = {
        "shown": f"at most the {limit} allowed",
        "exceeded": f"above the {limit} allowed",
        "not shown": f"where {limit} are allowed",
    }[verdict.word]
    parts = [f"{word}: {found_text(verdict)}, {side}", lost_text(verdict), remedy(verdict)]

    return "; ".join(filter(None, parts)) + "."


def found_text(verdict: Verdict) -> str:
    """Mean, replicates and interval of a verdict."""
    text = f"{100 * verdict.mean:+.1f} points above {verdict.over}"
    if verdict.of:
        text = f"{text} ({verdict.of})"
    if verdict.replicates > 1:
        text = f"{text} on average over {verdict.replicates} replicates"
        text = f"{text} ({verdict.shared})" if verdict.shared else text
    if verdict.low is None or verdict.high is None:
        return f"{text}, without an interval"
    return f"{text}, 95 % interval [{100 * verdict.low:+.1f}, {100 * verdict.high:+.1f}]"


def lost_text(verdict: Verdict) -> str:
    """Why a model is not said to forget one label that has lost the others; empty where not."""
    if verdict.loss is None:
        return ""
    return (
        f"the retained labels are lost with it, {100 * verdict.loss:.1f} points of accuracy "
        f"where {100 * verdict.max_loss:g} are allowed"
    )


def remedy(verdict: Verdict) -> str:
    """Ways to show what is not shown yet; empty for what is decided."""
    if verdict.loss is not None:
        return ""
    if verdict.unread:
        return f"nothing is known of {', '.join(verdict.unread)}"

    if verdict.word != "not shown":
        return ""
    if verdict.mean >= verdict.bound:
        return "the mean itself is not below that, and if it is true, no replicates can show it"
    if verdict.needed is not None:
        return f"with this spread it would take {verdict.needed:,} replicates"
    if verdict.alone:
        return "how many replicates it would take, only several tell"
    return "no number of replicates that one can make would show it"
