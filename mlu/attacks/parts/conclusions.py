"""Conclusions from all trials of the forgotten labels: the strongest reader, the worst label."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mlu.attacks.contract import PROXY
from mlu.attacks.parts.panel import BEYOND, RELEASED, in_places, of_labels, panel_place
from mlu.metrics.findings import NO_REFERENCE, Evidence, Finding, Trial
from mlu.metrics.strongest import largest_excess, same_reader_excess, strongest_reader
from mlu.metrics.trials import (
    balanced_accuracy_of,
    bootstrapped,
    excess_finding,
    information_gain,
    observed,
    rate_finding,
)

STRONGEST, SAME_READER = "strongest", "same_reader"

_RATES = ("balanced_accuracy", "auroc")
_EXCESS = "excess"


def strongest_findings(
    trials: Evidence[Trial], reference: Evidence[Trial] | None
) -> Iterator[Finding]:
    """Findings of the strongest readers of one label, in each place.

    `strongest/<place>/...` is of the reader that is best at a model's held-out people, of each
    model its own; `same_reader/<place>/excess` the largest excess of a reader over itself on
    Retrain, and without a place of outputs and features together, which a model gives away.

    Args:
        trials: Of one model and label, by path below the label.
        reference: Of Retrain; None where there is none.
    """
    theirs = dict(in_places(reference)) if reference is not None else {}
    for place, ours in in_places(trials):
        reader, trial = strongest_in(ours)
        other = strongest_in(theirs[place])[1] if reference is not None else NO_REFERENCE
        yield from strongest_of(place, reader, trial, other)
        yield same_readers(f"{SAME_READER}/{place}", ours, theirs.get(place))

    released = {path: one for path, one in trials.items() if panel_place(path) in RELEASED}
    yield same_readers(SAME_READER, released, reference)


def strongest_in(trials: Evidence[Trial]) -> tuple[str, Trial | str]:
    """The path of the strongest reader of a place, and its trial."""
    reader = strongest_reader(trials)
    return reader, trials[reader]


def strongest_of(
    place: str, reader: str, trial: Trial | str, reference: Trial | str
) -> Iterator[Finding]:
    """`strongest/<place>/...` of one place.

    Args:
        place: Where is read.
        reader: Path of the strongest reader's figures, below the label.
        trial: Its trial, or why there is none.
        reference: Of the strongest reader of Retrain, or why there is none.
    """
    path, chosen = f"{STRONGEST}/{place}", {"reader": reader}
    if isinstance(trial, str):
        for name in (*_RATES, _EXCESS):
            yield Finding(f"{path}/{name}", None, missing=trial)
        return

    seen, drawn = observed(trial), bootstrapped(trial)
    for name in _RATES:
        yield replace(rate_finding(name, seen, drawn).under(path), chosen=chosen)
    yield replace(excess_finding(path, trial, reference), chosen=chosen)


def released_place(trials: Evidence[Trial], reference: Evidence[Trial] | None) -> str:
    """The place that is released in which the strongest reader exceeds Retrain's most.

    Without Retrain it is the place where the balanced accuracy is the highest.

    Args:
        trials: Of the unlearned model and one label, by path below the label.
        reference: Of Retrain; None where there is none.
    """
    theirs = dict(in_places(reference)) if reference is not None else {}
    worth: dict[str, float] = {}
    for place, ours in in_places(trials):
        trial = strongest_in(ours)[1]
        other = strongest_in(theirs[place])[1] if reference is not None else None
        if place in RELEASED and isinstance(trial, Trial):
            worth[place] = balanced_accuracy_of(trial)
            if isinstance(other, Trial):
                worth[place] = excess_of(trial, other)

    return max(worth, key=worth.__getitem__) if worth else RELEASED[0]


def released_findings(
    trials: Evidence[Trial], reference: Evidence[Trial] | None, place: str
) -> Iterator[Finding]:
    """`strongest/...` without a place, of the one place that is the same for all models.

    Where its excess is the larger of both places', the ends hold for the larger one.

    Args:
        trials: Of one model and label, by path below the label.
        reference: Of Retrain; None where there is none.
        place: As the unlearned model has it.
    """
    ours = dict(in_places(trials))
    theirs = dict(in_places(reference)) if reference is not None else {}
    pairs = []
    for one in RELEASED:
        trial = strongest_in(ours[one])[1]
        other = strongest_in(theirs[one])[1] if reference is not None else None
        if isinstance(trial, Trial) and isinstance(other, Trial):
            pairs.append((trial, other))

    reader, trial = strongest_in(ours[place])
    other = strongest_in(theirs[place])[1] if reference is not None else NO_REFERENCE
    for found in strongest_of(place, reader, trial, other):
        metric = found.path.rpartition("/")[2]
        if metric == _EXCESS and found.value is not None:
            largest = largest_excess(STRONGEST, pairs)
            found = largest if largest.value == found.value else found
        chosen = None if found.missing else {"place": place, "reader": reader}
        yield replace(found, path=f"{STRONGEST}/{metric}", chosen=chosen)


def same_readers(path: str, trials: Evidence[Trial], reference: Evidence[Trial] | None) -> Finding:
    """`<path>/excess`: the largest excess of a reader over itself on Retrain."""
    if reference is None:
        return Finding(f"{path}/{_EXCESS}", None, missing=NO_REFERENCE)

    pairs: dict[str, tuple[Trial, Trial]] = {}
    for name, trial in trials.items():
        other = reference.get(name)
        if isinstance(trial, Trial) and isinstance(other, Trial):
            pairs[name] = trial, other
    if not pairs:
        reason = next((one for one in trials.values() if isinstance(one, str)), NO_REFERENCE)
        return Finding(f"{path}/{_EXCESS}", None, missing=reason)

    excess = {name: excess_of(*pair) for name, pair in pairs.items()}
    found = same_reader_excess(path, list(pairs.values()))

    return replace(found, chosen={"reader": max(excess, key=excess.__getitem__)})


def excess_of(trial: Trial, reference: Trial) -> float:
    ours, theirs = (abs(balanced_accuracy_of(one) - 0.5) for one in (trial, reference))
    return ours - theirs


def beyond_retained(trials: Evidence[Trial], told: Evidence[Trial]) -> list[Finding]:
    """Findings of what features tell of one label beyond the true retained labels.

    `beyond_retained/...`: read from both together, less read from the true retained labels alone:
    each by the reader that is best at held-out people.

    Args:
        trials: Of one model and label, by path below the label.
        told: Of the retained labels alone, by path below the label.
    """
    together = {path: one for path, one in trials.items() if panel_place(path) == BEYOND}
    reader = strongest_reader(together)
    ours, theirs = together[reader], told[strongest_reader(told)]
    found = excess_finding(BEYOND, ours, theirs)
    balanced = replace(found, path=f"{BEYOND}/balanced_accuracy", chosen={"reader": reader})

    return [balanced, information_gain(BEYOND, ours, theirs)]


def repeated_for_the_worst(
    start: str, by_model: Mapping[str, Sequence[Finding]]
) -> dict[str, list[Finding]]:
    """All findings, and those of the worst label once more without a label.

    The worst label of a reading is the one with the largest excess in the unlearned model; where
    there is no excess, the one that is read best. The excess of the worst of several labels has no
    interval: those of the labels, by themselves, have.

    Args:
        start: What all paths begin with.
        by_model: By the name of the model; of PROXY too.
    """
    judge = next(name for name in ("unlearned", *by_model) if name in by_model and name != PROXY)
    whole = {}
    for name, findings in by_model.items():
        by_label = of_labels(start, {one.path: one for one in findings})
        worst = worst_labels(start, findings if name == PROXY else by_model[judge])
        repeated = []
        for label, found in by_label.items():
            for rest, one in found.items():
                if worst.get(rest.rpartition("/")[0]) == label:
                    alone = replace(one, path=f"{start}/{rest}")
                    repeated.append(alone if len(by_label) == 1 else of_several(alone, label))

        whole[name] = [*findings, *repeated]

    return whole


def worst_labels(start: str, findings: Sequence[Finding]) -> dict[str, str]:
    """The label that is worst forgotten, by the path of a reading below the label."""
    values: dict[str, dict[str, float]] = {}
    for label, found in of_labels(start, {one.path: one for one in findings}).items():
        for rest, one in found.items():
            reading, _, metric = rest.rpartition("/")
            if metric == _RATES[0]:
                # Below any excess: it counts where there is none, and so the labels keep an order.
                values.setdefault(reading, {}).setdefault(label, (one.value or 0.0) - 2)
            if metric == _EXCESS and one.value is not None:
                values.setdefault(reading, {})[label] = one.value

    return {reading: max(found, key=found.__getitem__) for reading, found in values.items()}


def of_several(found: Finding, label: str) -> Finding:
    """A finding of the worst of several labels."""
    chosen = {"label": label, **(found.chosen or {})}
    if found.path.endswith(f"/{_EXCESS}"):
        found = replace(found, low=None, high=None)
    return replace(found, chosen=chosen)
