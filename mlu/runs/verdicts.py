"""The verdict on runs that differ in their seed, by what attackers read above Retrain."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlu.metrics.findings import NETWORK_READERS, READERS, part_of_path
from mlu.metrics.verdict import (
    MAX_EXCESS,
    MAX_LOSS,
    RETRAIN,
    Excess,
    Verdict,
    verdict_on,
    verdict_sentence,
    with_loss,
    with_unread,
)
from mlu.runs.read import Run
from mlu.runs.results import SILENT, Figure, finite_number
from mlu.runs.seeds import Draw, are_replicates, spread_of
from mlu.runs.typed import as_json

HEADLINE = "unlearned/attack/aia/strongest/excess"

COMPARISONS = {"strongest": "strongest reader", "same_reader": "one reader against itself"}
"""Comparisons of one run by a part of their path, and what they are called.

Of each forgotten label: the strongest reader against Retrain's strongest, and the largest excess
of a reader over itself, both from outputs and features."""

BASELINE = "baseline"
"""Part of the paths of what is read above the larger of two marks that are no Retrain."""

NO_RETRAIN = "the larger of what the retained labels tell and an untrained network shows"
"""Those marks, in words: the same readers of the true retained labels, and of a network of the same
architecture before it has seen the data."""

KEPT = ("test/retained/accuracy", "test/retained/balanced_accuracy")
"""What is lost of the retained labels, whichever is more: a rare label counts in the second."""

PLACES = ("outputs", "features")
"""What a model gives away, each read by the strongest reader of there."""
VIEWS = ("outputs", "retained_outputs", "features")
"""What is looked at there."""

READER_WORDS = {
    "": "logistic regression",
    "weak": "penalised regression",
    "mlp": "perceptron",
    "svm": "support vectors",
    "knn": "neighbours",
    "trees": "boosted trees",
    "conv": "convolutions",
    "tuned": "the tuned network",
}
"""Readers by the end of their path, in words."""


def verdict_of_runs(runs: Iterable[Run]) -> Verdict | None:
    """The verdict on a method, by the strongest reader and by each reader, of each forgotten label.

    One run knows the largest excess of a reader over itself, with limits that hold for all readers.
    Over replicates each reader has a mean of its own: the mean of what is the largest each time
    would be above nothing even between two Retrains.

    Where the runs allow different excesses, by the smallest. Of a label that could not be read
    nothing is shown, nor of a model that has lost the retained ones. What was audited without
    Retrain is judged above NO_RETRAIN.

    Args:
        runs: That differ in nothing else than in seeds and forget the same labels; of each seed the
            latest with a figure counts.

    Returns:
        None where there are no figures to go by.
    """
    runs = tuple(runs)
    excesses: list[Excess] = []
    unread = []
    for label in runs[0].results.run.forget_label if runs else ():
        whole = whole_excesses(runs, label)
        excesses += excesses_of(runs, label, whole)
        if len(whole) < len(COMPARISONS):
            unread.append(label)

    if not excesses:
        return None
    judged = verdict_on(excesses, min(map(max_excess_of, runs)))
    judged = with_loss(judged, accuracy_lost(runs), min(map(max_loss_of, runs)))

    return with_unread(judged, unread) if unread else judged


def accuracy_lost(runs: Sequence[Run]) -> float | None:
    """Accuracy of the retained labels below the lesser of the original's and Retrain's.

    Over replicates the mean; of plain and balanced accuracy the larger loss, in [-1, 1]. None where
    nothing was measured.
    """
    losses = []
    for path in KEPT:
        values = []

        for run, kept in by_seed(runs, f"unlearned/{path}").values():
            marks = [run.figure(f"{model}/{path}").value for model in ("original", "retrain")]
            known = [mark for mark in marks if mark is not None]
            if kept.value is not None and known:
                values.append(min(known) - kept.value)

        if values:
            losses.append(float(np.mean(values)))

    return max(losses, default=None)


def verdict_of_figure(excess: Figure | None, bound: float) -> Verdict | None:
    """The verdict on one figure of one run; None where there is no such figure."""
    if excess is None or excess.value is None:
        return None
    return verdict_on([Excess((excess.value,), ends_of([excess]))], bound)


def verdict_facts(run: Run) -> dict[str, Any]:
    """The verdict on the run's model with its numbers, and in a sentence under `said`."""
    judged = verdict_of_runs([run])
    if judged is None:
        reason = run.figure(HEADLINE).reason or SILENT
        return {"word": None, "said": f"No verdict: {reason}."}
    # What it is above, the sentence says.
    numbers = {name: one for name, one in as_json(judged).items() if name != "over"}

    return {**numbers, "said": verdict_sentence(judged)}


def excesses_of(runs: Sequence[Run], label: str, whole: Sequence[Excess]) -> list[Excess]:
    """All excesses by which one label is judged: over replicates those of each reader.

    Args:
        runs: Of one method.
        label: Name of the label.
        whole: Its excess in each of COMPARISONS, by which it is judged where there is no replicate.
    """
    if not all(one.independent and len(one.values) > 1 for one in whole):
        return list(whole)

    start = start_of(label)
    apart = [
        excess_at(runs, f"{start}/strongest/{place}", f"{label}, strongest reader of {place}")
        for place in PLACES
    ]
    apart += [
        excess_at(runs, f"{start}/{path}", f"{label}, {reader_words(path)} against itself")
        for path in readings_of(runs, start)
    ]
    replicated = [one for one in apart if one is not None and len(one.values) > 1]

    # Where the forgotten output is muted, all outputs say what the retained ones say.
    distinct: dict[object, Excess] = {}
    for one in replicated:
        distinct.setdefault((one.values, one.ends), one)

    return list(distinct.values()) or list(whole)


def whole_excesses(runs: Sequence[Run], label: str) -> list[Excess]:
    """The excess of one label in each of COMPARISONS that the runs have made."""
    start, over = start_of(label), RETRAIN
    if any(path.startswith(f"{start}/{BASELINE}/") for run in runs for path in run.figures):
        start, over = f"{start}/{BASELINE}", NO_RETRAIN

    found = [
        excess_at(runs, f"{start}/{comparison}", f"{label}, {called}")
        for comparison, called in COMPARISONS.items()
    ]

    return [replace(one, over=over) for one in found if one is not None]


def start_of(label: str) -> str:
    """The beginning of the paths of all that is read of one label."""
    return f"unlearned/attack/aia/label/{part_of_path(label)}"


def readings_of(runs: Sequence[Run], start: str) -> list[str]:
    """Paths, below the label's, of all readings of VIEWS that some run has made.

    Those that are chance by construction are none.
    """
    readers = (*READERS, *NETWORK_READERS)
    paths = [f"{view}/{reader}".rstrip("/") for view in VIEWS for reader in readers]

    def is_made(path: str) -> bool:
        figure = f"{start}/{path}/excess"
        return any(figure in run.figures and not run.is_silent(figure) for run in runs)

    return [path for path in paths if is_made(path)]


def reader_words(path: str) -> str:
    """A reading in words.

    >>> reader_words("features/svm"), reader_words("outputs")
    ('support vectors of features', 'logistic regression of outputs')
    """
    view, _, reader = path.partition("/")
    return f"{READER_WORDS.get(reader, reader)} of {view.replace('_', ' ')}"


def excess_at(runs: Sequence[Run], path: str, of: str, metric: str = "excess") -> Excess | None:
    """The excess below a path over the runs that know it; None where none does.

    Args:
        runs: Of one method.
        path: Without the last part.
        of: Label and reader, in words.
        metric: The last part; another figure than an excess is judged in the same way.
    """
    known = [
        (run.seeds, figure)
        for run, figure in by_seed(runs, f"{path}/{metric}").values()
        if figure.value is not None
    ]
    if not known:
        return None

    seeds, figures = [seed for seed, _ in known], [figure for _, figure in known]
    values = tuple(figure.value for figure in figures if figure.value is not None)
    independent = len(values) == 1 or are_replicates(seeds)

    return Excess(values, ends_of(figures), of, spread_of(seeds), independent)


def ends_of(figures: Sequence[Figure]) -> tuple[float, float] | None:
    """Mean of the ends of the runs' own intervals; None where one of them has none."""
    ends = [
        (figure.low, figure.high)
        for figure in figures
        if figure.low is not None and figure.high is not None
    ]
    if not ends or len(ends) < len(figures):
        return None
    low, high = np.mean(ends, axis=0)
    return float(low), float(high)


def by_seed(runs: Iterable[Run], path: str) -> dict[Draw, tuple[Run, Figure]]:
    """The latest run of each seed that has the number, else the latest; by seed.

    Runs that share all seeds that decide the number have measured it once.
    """
    found: dict[Draw, tuple[Run, Figure]] = {}
    for run in sorted(runs, key=lambda run: run.date):
        draw, figure = run.seeds.deciding(path), run.figure(path)
        if draw not in found or figure.value is not None:
            found[draw] = run, figure
    return dict(sorted(found.items()))


def max_excess_of(run: Run) -> float:
    """Largest excess that a run's `policy.max_excess` allows; MAX_EXCESS where it has none."""
    return allowed_by(run, "max_excess", MAX_EXCESS)


def max_loss_of(run: Run) -> float:
    """Most retained accuracy lost that a run's `policy.max_loss` allows; else MAX_LOSS."""
    return allowed_by(run, "max_loss", MAX_LOSS)


def allowed_by(run: Run, key: str, otherwise: float) -> float:
    """A number of a run's policy; `otherwise` where it has none."""
    policy: Mapping[str, Any] = run.config.get("policy") or {}
    stated = finite_number(policy.get(key))
    return otherwise if stated is None else stated
