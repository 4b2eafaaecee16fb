"""Conclusions from all trials of the forgotten labels: the strongest reader, the worst label."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
    observed_excess,
    rate_finding,
)

_STRONGEST, _SAME_READER = "strongest", "same_reader"
_RATES = ("balanced_accuracy", "auroc")
_EXCESS = "excess"
_ABOVE_FLOOR = "above_floor"


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
    contests = contests_of(trials, reference)
    for place, ours in in_places(trials):
        yield from strongest_of(place, contests[place])
        yield same_readers(f"{_SAME_READER}/{place}", ours, theirs.get(place))

    released = {path: one for path, one in trials.items() if panel_place(path) in RELEASED}
    yield same_readers(_SAME_READER, released, reference)


@dataclass(frozen=True)
class Contest:
    """The strongest reader of a model in one place, and the strongest one of Retrain there.

    Attributes:
        reader: Path of the model's reader, below the label.
        trial: Its trial, or why there is none.
        reference: That of Retrain's reader, or why there is none.
    """

    reader: str
    trial: Trial | str
    reference: Trial | str

    @property
    def pair(self) -> tuple[Trial, Trial] | None:
        """Both trials; None where one is missing."""
        if isinstance(self.trial, Trial) and isinstance(self.reference, Trial):
            return self.trial, self.reference
        return None


def contests_of(trials: Evidence[Trial], reference: Evidence[Trial] | None) -> dict[str, Contest]:
    """The contest in each place; arguments are as in `strongest_findings`."""
    theirs = dict(in_places(reference)) if reference is not None else {}
    found = {}
    for place, ours in in_places(trials):
        other: Trial | str = NO_REFERENCE
        if reference is not None:
            other = theirs[place][strongest_reader(theirs[place])]

        reader = strongest_reader(ours)
        found[place] = Contest(reader, ours[reader], other)

    return found


def strongest_of(place: str, contest: Contest) -> Iterator[Finding]:
    """`strongest/<place>/...` of one place."""
    path, chosen, trial = f"{_STRONGEST}/{place}", {"reader": contest.reader}, contest.trial
    if isinstance(trial, str):
        for name in (*_RATES, _EXCESS):
            yield Finding(f"{path}/{name}", None, missing=trial)
        return

    seen, drawn = observed(trial), bootstrapped(trial)
    for name in _RATES:
        yield replace(rate_finding(name, seen, drawn).under(path), chosen=chosen)
    yield replace(excess_finding(path, trial, contest.reference), chosen=chosen)


def released_place(trials: Evidence[Trial], reference: Evidence[Trial] | None) -> str:
    """The place that is released in which the strongest reader exceeds Retrain's most.

    Without Retrain it is the place where the balanced accuracy is the highest.

    Args:
        trials: Of the unlearned model and one label, by path below the label.
        reference: Of Retrain; None where there is none.
    """
    contests = contests_of(trials, reference)
    worth: dict[str, float] = {}
    for place in RELEASED:
        contest = contests[place]
        if contest.pair is not None:
            worth[place] = observed_excess(*contest.pair)
        elif isinstance(contest.trial, Trial):
            worth[place] = balanced_accuracy_of(contest.trial)

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
    contests = contests_of(trials, reference)
    pairs = [pair for one in RELEASED if (pair := contests[one].pair) is not None]

    for found in strongest_of(place, contests[place]):
        metric = found.path.rpartition("/")[2]
        if metric == _EXCESS and found.value is not None:
            largest = largest_excess(_STRONGEST, pairs)
            found = largest if largest.value == found.value else found
        chosen = None if found.missing else {"place": place, "reader": contests[place].reader}
        yield replace(found, path=f"{_STRONGEST}/{metric}", chosen=chosen)


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

    excess = {name: observed_excess(*pair) for name, pair in pairs.items()}
    found = same_reader_excess(path, list(pairs.values()))

    return replace(found, chosen={"reader": max(excess, key=excess.__getitem__)})


def above_floor(trials: Evidence[Trial], told: Evidence[Trial], released: str) -> list[Finding]:
    """`strongest/.../above_floor`: read by the strongest reader, less told by the retained labels.

    The mark where there is no Retrain: nothing below it can be had while these are kept.

    Args:
        trials: Of one model and label, by path below the label.
        told: Of the true retained labels alone, by path below the label.
        released: The place whose figure stands without a place.
    """
    floor, found = told[strongest_reader(told)], []
    for place, contest in contests_of(trials, None).items():
        paths = [f"{_STRONGEST}/{place}", *([_STRONGEST] if place == released else [])]
        for path in paths:
            excess = excess_finding(path, contest.trial, floor)
            found.append(replace(excess, path=f"{path}/{_ABOVE_FLOOR}"))

    return found


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
