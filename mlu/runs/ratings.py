"""Ratings of unlearned weights: the verdict, what was kept, and which come before which."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.table import Table

from mlu.metrics.verdict import MAX_LOSS, verdict_sentence
from mlu.runs.read import Run
from mlu.runs.tables import text_of
from mlu.runs.verdicts import HEADLINE, verdict_of_runs

RANKED_WORDS = ("shown", "not shown", "exceeded")
"""Words of a verdict, the best first."""

NO_FIGURE = "–"
"""A number that there is not."""

_KEPT = "test/retained/accuracy"
_LABEL_START, _LABEL_END = "retrain/test/label/", "/balanced_accuracy"


@dataclass(frozen=True)
class Limits:
    """Most that unlearned weights may lose against Retrain, on average over replicates.

    Attributes:
        max_loss: Of the mean accuracy of the retained labels, in [0, 1].
        max_label_loss: Of the balanced accuracy of any one of them, in [0, 1].
    """

    max_loss: float = MAX_LOSS
    max_label_loss: float = 0.10


@dataclass(frozen=True, kw_only=True)
class Rating:
    """All that unlearned weights of several replicates are ranked by, and shown with.

    Attributes:
        name: Of the submission, or of our method.
        method: What its authors call it; None where they do not say.
        ours: Whether it is a method of this project.
        word: `shown`, `not shown` or `exceeded`.
        said: The verdict in sentences.
        mean: Excess over Retrain in balanced accuracy, over replicates; None where nothing was
            read.
        low: Lower end of its 95 % interval; None where there is none.
        high: Upper end, likewise.
        retained: Mean accuracy of the retained labels over replicates.
        reference: The same of Retrain.
        lost: What is kept less than the limits allow, with points below Retrain.
        unchanged: Numbers of the replicates that say what the original says.
        copied: Numbers of the replicates that say what a given Retrain says.
        seconds: Time of one replicate, as its authors state it; ours is measured.
        passes: Images forward and backward through the network for one replicate, likewise.
        people: Seed of the people that it was judged by; None for those of the challenge.
        files: SHA-256 of each file of weights, by name.
        challenge: SHA-256 of the file of the challenge; None of our own, which stand in it.
        date: When it was judged.
        commit: Of the code that has judged it.
    """

    name: str
    method: str | None = None
    ours: bool = False
    word: str
    said: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    retained: float | None = None
    reference: float | None = None
    lost: tuple[str, ...] = ()
    unchanged: tuple[int, ...] = ()
    copied: tuple[int, ...] = ()
    seconds: float | None = None
    passes: float | None = None
    people: int | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    challenge: str | None = None
    date: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Placed:
    """A rating in its place: from 1; None where it is not ranked."""

    place: int | None
    rating: Rating


def rating_of_runs(
    name: str,
    runs: Sequence[Run],
    limits: Limits,
    *,
    unchanged: Sequence[int] = (),
    copied: Sequence[int] = (),
) -> Rating:
    """The rating of weights by the figures of their replicates, as the report's verdict is.

    What leaves a replicate as it was has not forgotten, whatever people can show. While a replicate
    could not be read nothing is shown.

    Args:
        name: Of the submission or method.
        runs: One of each replicate.
        limits: What it may lose.
        unchanged: Numbers of the replicates that are the original.
        copied: Numbers of the replicates that are a given Retrain.
    """
    judged = verdict_of_runs(runs)
    word, said = "not shown", f"No verdict: {runs[0].figure(HEADLINE).reason}."
    if judged is not None:
        word, said = judged.word, verdict_sentence(judged)

    unread = [place for place, run in enumerate(runs, 1) if run.figures.get(HEADLINE) is None]
    if unread and word == "shown":
        word, said = "not shown", f"Not shown: {numbered(unread)} not to be read. {said}"
    if unchanged:
        word = "exceeded"
        said = f"Exceeded: {numbered(unchanged)} the original as given. By readers alone: {said}"
    if copied:
        said = f"Not ranked: {numbered(copied)} a Retrain as given. By readers alone: {said}"

    return Rating(
        name=name,
        word=word,
        said=said,
        mean=None if judged is None else judged.mean,
        low=None if judged is None else judged.low,
        high=None if judged is None else judged.high,
        retained=mean_of(runs, f"unlearned/{_KEPT}"),
        reference=mean_of(runs, f"retrain/{_KEPT}"),
        lost=tuple(losses_in(runs, limits)),
        unchanged=tuple(unchanged),
        copied=tuple(copied),
        date=runs[-1].results.run.date,
        commit=runs[-1].results.run.commit,
    )


def numbered(replicates: Sequence[int]) -> str:
    """Replicates by their numbers, with the verb that follows.

    >>> numbered([1, 3]), numbered([2])
    ('replicates 1, 3 are', 'replicate 2 is')
    """
    several = len(replicates) > 1
    return (
        f"replicate{'s' * several} {', '.join(map(str, replicates))} {'are' if several else 'is'}"
    )


def losses_in(runs: Sequence[Run], limits: Limits) -> Iterator[str]:
    """Losses beyond the limits, by how many points, that of the mean accuracy first."""
    loss = mean_loss(runs, _KEPT)
    if loss is None:
        yield "accuracy, which is not known"
    elif loss > limits.max_loss:
        yield f"accuracy {100 * loss:.1f}"

    for label in retained_in(runs):
        loss = mean_loss(runs, f"test/label/{label}{_LABEL_END}")
        if loss is not None and loss > limits.max_label_loss:
            yield f"{label} {100 * loss:.1f}"


def retained_in(runs: Sequence[Run]) -> list[str]:
    """Names of the retained labels, in the order of the figures."""
    forgotten = {label for run in runs for label in run.results.run.forget_label}
    found = []
    for path in runs[0].figures:
        if path.startswith(_LABEL_START) and path.endswith(_LABEL_END):
            found.append(path.removeprefix(_LABEL_START).removesuffix(_LABEL_END))
    return [label for label in found if label not in forgotten]


def mean_loss(runs: Sequence[Run], path: str) -> float | None:
    """Mean distance of a figure below Retrain's, over the runs that know both."""
    losses = []
    for run in runs:
        ours, theirs = (run.figures.get(f"{model}/{path}") for model in ("unlearned", "retrain"))
        if ours is not None and theirs is not None:
            losses.append(theirs - ours)
    return float(np.mean(losses)) if losses else None


def mean_of(runs: Sequence[Run], path: str) -> float | None:
    """The mean of a figure over the runs that know it."""
    values = [value for run in runs if (value := run.figures.get(path)) is not None]
    return float(np.mean(values)) if values else None


def in_order(ratings: Iterable[Rating]) -> list[Placed]:
    """Ratings with their places, the best first; those that are not ranked stand at the end.

    What keeps the retained labels comes before what loses some, and last comes what has left a
    replicate as it was. Within each by the word of the verdict, then by the upper end of the
    excess, where below 0 counts as 0 (to read less than on Retrain is no merit), then by retained
    accuracy. Those that are a given Retrain are not ranked.
    """
    ordered = sorted(ratings, key=order_of_rating)
    found = []
    place = 0
    for rating in ordered:
        if rating.copied:
            continue
        place += 1
        found.append(Placed(place, rating))

    return [*found, *(Placed(None, rating) for rating in ordered if rating.copied)]


def order_of_rating(rating: Rating) -> tuple[bool, bool, int, float, float, bool, str]:
    """The key that ratings are sorted by; submissions come before ours where all agree."""
    return (
        bool(rating.unchanged),
        bool(rating.lost),
        RANKED_WORDS.index(rating.word),
        math.inf if rating.high is None else max(rating.high, 0.0),
        0.0 if rating.retained is None else -rating.retained,
        rating.ours,
        rating.name,
    )


RANKING_COLUMNS = {
    "weights": "name of the submission or method; in brackets what its authors call the method",
    "place": "by the rule of this page",
    "made by": "us, or whoever has handed it in",
    "forgotten?": "the verdict over all replicates",
    "above Retrain, points": "most that readers find above Retrain, with its 95 % interval",
    "retained accuracy, %": "mean over the retained labels and replicates; in brackets Retrain's",
    "lost, points": "below Retrain, where that is more than the limits allow: mean accuracy, or "
    "balanced accuracy of a label",
    "seconds": "for one replicate; of a submission as its authors state it",
    "image passes": "likewise",
}
"""Columns of a ranking -> what each is."""


def ranking_cells(placed: Placed) -> list[str]:
    """The texts of a row, under RANKING_COLUMNS."""
    one = placed.rating
    name = one.name
    if one.method is not None and one.method != one.name:
        name = f"{name} ({one.method})"

    kept = percent_text(one.retained)
    if one.reference is not None:
        kept = f"{kept} ({percent_text(one.reference)})"

    return [
        name,
        NO_FIGURE if placed.place is None else str(placed.place),
        "us" if one.ours else "others",
        word_of_rating(one),
        points_text(one),
        kept,
        ", ".join(one.lost) or "nothing",
        counted(one.seconds),
        counted(one.passes),
    ]


def ranking_table(title: str, placed: Iterable[Placed]) -> Table:
    """The ranking in a terminal."""
    table = Table(title=text_of(title), title_justify="left", title_style="bold")
    for column in RANKING_COLUMNS:
        table.add_column(column)
    for one in placed:
        table.add_row(*map(text_of, ranking_cells(one)))
    return table


def word_of_rating(rating: Rating) -> str:
    """The word of a rating, and what it is where it is no work of anybody's."""
    if rating.copied:
        return f"{rating.word}: a given Retrain"
    return f"{rating.word}: the original" if rating.unchanged else rating.word


def points_text(rating: Rating) -> str:
    """The excess with its interval, in points."""
    if rating.mean is None:
        return NO_FIGURE
    text = f"{100 * rating.mean:+.1f}"
    if rating.low is None or rating.high is None:
        return text
    return f"{text} [{100 * rating.low:+.1f}, {100 * rating.high:+.1f}]"


def percent_text(share: float | None) -> str:
    return NO_FIGURE if share is None else f"{100 * share:.1f}"


def counted(number: float | None) -> str:
    """A number of seconds or images."""
    if number is None:
        return NO_FIGURE
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def rules_of_ranking(limits: Limits, replicates: int, max_excess: float) -> list[str]:
    """The rule of a ranking, in paragraphs of plain words."""
    judged = (
        f"Each row is unlearned weights of {replicates} replicates: draws of people and models of "
        "their own. Readers learn from validation people and are judged on test people; what they "
        "find above Retrain, which never saw the label, is pooled over replicates by the rule of "
        f"the report's verdict. Shown: the 95 % interval ends at {100 * max_excess:g} points or "
        "below; exceeded: it begins above that; not shown: neither."
    )

    placed = (
        "First come those that keep the retained labels: their mean accuracy at most "
        f"{100 * limits.max_loss:g} points below Retrain's, and the balanced accuracy of each at "
        f"most {100 * limits.max_label_loss:g} points, on average over replicates. Then those that "
        "lose some, and last what has left a replicate as it was. Within each: shown, not shown, "
        "exceeded, then by the upper end of the excess, where below 0 counts as 0, then by "
        "retained accuracy. Weights that say what a given Retrain says are not ranked."
    )

    stated = (
        "Seconds and image passes of submissions are what their authors state; nobody has measured "
        "them, and they decide no place."
    )

    return [judged, placed, stated]
