"""Figures of how much an attacker's answers tell, with intervals and permutation tests.

Both draw people, not images: images of one person are not independent.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from mlu.metrics.findings import CONSTANT, NO_REFERENCE, Evidence, Finding, Trial
from mlu.metrics.intervals import CONFIDENCE
from mlu.metrics.labels import mutual_information

TRIAL_METRICS = (
    "balanced_accuracy",
    "auroc",
    "accuracy",
    "folded_balanced_accuracy",
    "folded_auroc",
    "mutual_information",
    "mutual_information_corrected",
    "information_bound",
)
"""All figures of a trial, but for true positives at a rate of false ones."""

READING = ("balanced_accuracy", "auroc")
"""Figures of one reader among many."""

RATES = ("balanced_accuracy", "auroc", "accuracy")
FOLDED = ("balanced_accuracy", "auroc")
"""Rates that who knows that they are inverted can turn round; the bound is of the first one."""

FALSE_POSITIVE_RATES = (0.01, 0.001)
"""Rates at which true positives are counted."""

FEWEST_FALSE_POSITIVES = 10
"""That a rate must be able to show among the images at hand, else it is not reported."""

NO_SUCH = "Retrain has nothing like it: forgetting added it to the network"
RESAMPLES, PERMUTATIONS = 1000, 999

CELLS = 2**22
"""Numbers held at once while people are drawn."""
ROUNDING = 1e-12


@dataclass(frozen=True)
class Sample:
    """Statistics of a trial under several weightings of its images, or under several truths.

    Each has the shape (draws,).
    """

    balanced_accuracy: np.ndarray
    accuracy: np.ndarray
    auroc: np.ndarray
    mutual_information: np.ndarray

    def folded(self, metric: str) -> np.ndarray:
        """A rate as who knows that it is inverted reads it, in [0.5, 1]."""
        rates: np.ndarray = getattr(self, metric)
        return 0.5 + np.abs(rates - 0.5)


def trial_findings(path: str, trial: Trial | str) -> Iterator[Finding]:
    """`path/<metric>` for all TRIAL_METRICS.

    An attacker who is mostly wrong has a `balanced_accuracy` and `auroc` below 0.5; the `folded_`
    ones turn it round. `mutual_information` is between answer and truth, in bits (plug-in).
    `information_bound` is 1 - H(p) bits of the folded balanced accuracy p (paper, Corollary 1): so
    much at least was learnt of a label that is as often true as not, for then Fano's inequality
    bounds what is still unknown by H(p). Folded figures and bits err upwards where there is nothing
    to learn, so they have the p-value of a permutation test; `mutual_information_corrected` is less
    what that test finds on average.

    Percentile intervals of a strong attacker's AUROC are a little narrow where people are few
    (about 92 % of them hold the true value with 120 people, of whom few have the label).

    Who says the same of every image is right by chance, by construction: then `path/constant` is 1,
    and the other figures are no evidence.

    Args:
        path: Prefix of the findings.
        trial: Or why there is none.
    """
    if isinstance(trial, str):
        yield from (Finding(f"{path}/{metric}", None, missing=trial) for metric in TRIAL_METRICS)
        return

    seen, drawn, chance = observed(trial), bootstrapped(trial), permuted(trial)
    folded = [folded_finding(metric, seen, drawn, chance) for metric in FOLDED]
    found = [
        *(rate_finding(metric, seen, drawn) for metric in RATES),
        *folded,
        *information_findings(seen, drawn, chance),
        information_bound(folded[0]),
    ]
    yield from (finding.under(path) for finding in found)
    if says_the_same(trial):
        yield Finding(f"{path}/{CONSTANT}", 1.0)


def says_the_same(trial: Trial) -> bool:
    """Whether all scores are equal, but for rounding."""
    least, most = trial.scores.min(), trial.scores.max()
    return bool(least == most or most - least <= ROUNDING * max(1.0, abs(most)))


def rate_finding(metric: str, seen: Sample, drawn: Sample) -> Finding:
    """A rate as the attacker has it, with its percentile interval."""
    low, high = percentile_interval(getattr(drawn, metric))
    return Finding(metric, getattr(seen, metric).item(), low, high)


def folded_finding(metric: str, seen: Sample, drawn: Sample, chance: Sample) -> Finding:
    """A rate as who knows that it is inverted reads it, with its interval and its p-value."""
    value = seen.folded(metric).item()
    low, high = folded_ends(*percentile_interval(getattr(drawn, metric)))
    p_value = exceedance(chance.folded(metric), value)
    return Finding(f"folded_{metric}", value, low, high, p_value=p_value)


def information_findings(seen: Sample, drawn: Sample, chance: Sample) -> list[Finding]:
    """Mutual information of answer and truth, in bits: plug-in, and less what chance gives."""
    shared = seen.mutual_information.item()
    p_value = exceedance(chance.mutual_information, shared)
    low, high = percentile_interval(drawn.mutual_information)
    # Resamples add bits of their own, so they never come down to none; and few have classes as even
    # as these.
    low, high = 0.0 if p_value > 1 - CONFIDENCE else low, max(high, shared)

    return [
        Finding("mutual_information", shared, low, high, p_value=p_value),
        Finding("mutual_information_corrected", shared - chance.mutual_information.mean().item()),
    ]


def information_bound(folded: Finding) -> Finding:
    """Bits of which the folded balanced accuracy tells, at least, of an even label."""
    ends = [folded.value, folded.low, folded.high]
    value, low, high = (None if end is None else information(end) for end in ends)
    return Finding("information_bound", value, low, high, p_value=folded.p_value)


def excesses(evidence: Evidence[Trial], reference: Evidence[Trial] | None) -> Iterator[Finding]:
    """`path/excess` of every trial over that of Retrain under the same path."""
    for path, trial in evidence.items():
        yield excess_finding(
            path, trial, NO_REFERENCE if reference is None else reference.get(path, NO_SUCH)
        )


def excess_finding(path: str, trial: Trial | str, reference: Trial | str) -> Finding:
    """`path/excess`: folded balanced accuracy less that of the same attack on the reference.

    The interval draws the same people for both, where both are of the same people. Each side is
    folded as it was observed, not anew in every draw, so that a difference of nothing is not read
    into chance.

    Args:
        path: Prefix of the finding.
        trial: Or why there is none.
        reference: Of Retrain, or why there is none.
    """
    for side in (trial, reference):
        if isinstance(side, str):
            return Finding(f"{path}/excess", None, missing=side)

    assert isinstance(trial, Trial)
    assert isinstance(reference, Trial)
    value, draws = drawn_excess(trial, reference)

    return Finding(f"{path}/excess", value, *percentile_interval(draws))


def observed_excess(trial: Trial, reference: Trial) -> float:
    """Folded balanced accuracy of one trial less that of another."""
    ours, theirs = (abs(balanced_accuracy_of(side) - 0.5) for side in (trial, reference))
    return ours - theirs


def drawn_excess(trial: Trial, reference: Trial) -> tuple[float, np.ndarray]:
    """The excess of one trial over another, and in each draw of people, shape (RESAMPLES,)."""
    draws = []
    for side in (trial, reference):
        sign = 1 if balanced_accuracy_of(side) >= 0.5 else -1
        draws.append(sign * (balance_drawn(side) - 0.5))

    return observed_excess(trial, reference), draws[0] - draws[1]


def balanced_accuracy_of(trial: Trial) -> float:
    """Mean of the shares that are answered rightly of those with the label and of those without."""
    said = trial.scores > 0
    return float(said[trial.truth].mean() - said[~trial.truth].mean() + 1) / 2


def reading_findings(path: str, trial: Trial | str) -> Iterator[Finding]:
    """`path/balanced_accuracy`, with its interval, and `path/auroc`: of one reader among many."""
    if isinstance(trial, str):
        yield from (Finding(f"{path}/{name}", None, missing=trial) for name in READING)
        return

    ends = percentile_interval(balance_drawn(trial))
    auroc = float(roc_auc_score(trial.truth, trial.scores))
    yield Finding(f"{path}/{READING[0]}", balanced_accuracy_of(trial), *ends)
    yield Finding(f"{path}/{READING[1]}", auroc)


def information_gain(path: str, trial: Trial | str, known: Trial | str) -> Finding:
    """`path/bits`: mutual information of one attacker's answers with the truth, less another's.

    Of each, what a permutation test finds on average is taken away. The interval draws the same
    people for both.

    Args:
        path: Prefix of the finding.
        trial: Or why there is none.
        known: Of the other attacker, about the same people, or why there is none.
    """
    for side in (trial, known):
        if isinstance(side, str):
            return Finding(f"{path}/bits", None, missing=side)

    assert isinstance(trial, Trial)
    assert isinstance(known, Trial)
    values, draws = [], []
    for side in (trial, known):
        by_chance = permuted(side).mutual_information.mean()
        values.append(observed(side).mutual_information.item() - by_chance)
        draws.append(bootstrapped(side).mutual_information - by_chance)

    ends = percentile_interval(draws[0] - draws[1])

    return Finding(f"{path}/bits", float(values[0] - values[1]), *ends)


def low_rate_findings(path: str, trial: Trial | str) -> Iterator[Finding]:
    """`path/tpr_at_fpr_<rate>`: the most true positives at that rate of false ones or less.

    The interval is Clopper and Pearson's and counts images, not people. A rate that the images at
    hand cannot show is missing.
    """
    for rate in FALSE_POSITIVE_RATES:
        name = f"{path}/tpr_at_fpr_{rate:g}"
        if isinstance(trial, str):
            yield Finding(name, None, missing=trial)
            continue

        positive, negative = trial.scores[trial.truth], np.sort(trial.scores[~trial.truth])[::-1]
        fewest = round(FEWEST_FALSE_POSITIVES / rate)
        if len(negative) < fewest:
            yield Finding(
                name,
                None,
                missing=f"{len(negative)} non-members, at least {fewest} are needed at this rate",
            )
            continue

        caught = int((positive > negative[int(rate * len(negative) + ROUNDING)]).sum())
        low, high = stats.binomtest(caught, len(positive)).proportion_ci(CONFIDENCE, "exact")
        yield Finding(name, caught / len(positive), float(low), float(high))


def roc(trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rates at every threshold where the curve turns, ascending."""
    false, true, _ = roc_curve(trial.truth, trial.scores)
    return false, true


def best_threshold(values: np.ndarray, truth: np.ndarray) -> float:
    """The threshold above which to say yes for the best balanced accuracy.

    It lies halfway between two of the values, shape (images,).
    """
    false, true, steps = roc_curve(truth, values, drop_intermediate=False)
    # The first one is infinite: nobody is above it. To say yes to everybody, the last one, is as
    # good.
    best = 1 + int(np.argmax((true - false)[1:]))
    below = steps[best + 1] if best + 1 < len(steps) else steps[best] - 1
    return float(steps[best] + below) / 2


def observed(trial: Trial) -> Sample:
    """The figures of the trial itself, each of shape (1,)."""
    return weighted(trial.scores, trial.truth, np.ones((len(trial.truth), 1)))


@dataclass(frozen=True)
class Drawable:
    """A trial from which people can be drawn.

    Attributes:
        scores: As in the trial, and those of people who were made up, shape (images,).
        truth: Likewise, bool, shape (images,).
        mass: Images that each stands for, shape (images,).
        person: Place of its person among those who are drawn, shape (images,).
        people: How many are drawn from.
    """

    scores: np.ndarray
    truth: np.ndarray
    mass: np.ndarray
    person: np.ndarray
    people: int


def drawable(trial: Trial) -> Drawable:
    """A trial with what it takes to draw its people fairly.

    Draws from a class that was answered without one exception would never show an exception: one
    more person of that class, answered the other way, is then there to be drawn (0 of n seen leaves
    about 3 in n possible).
    """
    _, person = np.unique(trial.persons, return_inverse=True)
    people = int(person.max()) + 1
    scores, truth, mass, slot = trial.scores, trial.truth, np.ones(len(person)), person
    for positive in (False, True):
        said = trial.scores[trial.truth == positive] > 0
        if said.all() or not said.any():
            size = len(said) / len(np.unique(person[trial.truth == positive]))
            scores = np.append(scores, -np.inf if said.all() else np.inf)
            truth, mass, slot = (
                np.append(truth, positive),
                np.append(mass, size),
                np.append(slot, people + positive),
            )

    return Drawable(scores, truth, mass, slot, people + 2)


@functools.lru_cache(maxsize=64)
def bootstrapped(trial: Trial) -> Sample:
    """Figures of RESAMPLES draws of as many people, with replacement, shape (RESAMPLES,).

    Trials of the same people get the same draws.
    """
    whole = drawable(trial)
    counts = drawn_people(whole.people)
    rows = max(1, CELLS // len(whole.scores))
    blocks = []
    for at in range(0, RESAMPLES, rows):
        weights = counts[whole.person, at : at + rows] * whole.mass[:, None]
        blocks.append(weighted(whole.scores, whole.truth, weights))

    return joined_samples(blocks)


@functools.lru_cache(maxsize=512)
def balance_drawn(trial: Trial) -> np.ndarray:
    """`bootstrapped(trial).balanced_accuracy`, without the rest of it, shape (RESAMPLES,)."""
    whole = drawable(trial)
    counts = drawn_people(whole.people).T.astype(np.float64)
    shares = []
    for positive in (True, False):
        asked = whole.truth == positive
        right = asked & ((whole.scores > 0) == positive)
        those, all_of = (
            np.bincount(whole.person, whole.mass * images, minlength=whole.people)
            for images in (right, asked)
        )
        with np.errstate(invalid="ignore"):
            shares.append((counts @ those) / (counts @ all_of))

    drawn: np.ndarray = (shares[0] + shares[1]) / 2

    return drawn


@functools.lru_cache(maxsize=4)
def drawn_people(slots: int) -> np.ndarray:
    """The times that each of `slots` people is drawn, shape (slots, RESAMPLES)."""
    random = np.random.default_rng(slots)
    columns = [
        np.bincount(random.integers(slots, size=slots), minlength=slots) for _ in range(RESAMPLES)
    ]
    return np.stack(columns, 1).astype(np.uint8)


def permuted(trial: Trial) -> Sample:
    """Figures under PERMUTATIONS truths that have nothing to do with the scores.

    All that is true of one person is given to another one with as many images.
    """
    order = np.argsort(trial.persons, kind="stable")
    _, starts, sizes = np.unique(trial.persons[order], return_index=True, return_counts=True)
    said, ranks = trial.scores > 0, stats.rankdata(trial.scores)
    positives, images = int(trial.truth.sum()), len(trial.truth)
    random = np.random.default_rng(0)
    rows = max(1, CELLS // images)
    blocks = []
    for at in range(0, PERMUTATIONS, rows):
        times = min(rows, PERMUTATIONS - at)
        truth = np.empty((times, images))
        for size in np.unique(sizes):
            columns = order[starts[sizes == size][:, None] + np.arange(size)]
            dealt = random.random((times, len(columns))).argsort(1)
            truth[:, columns] = trial.truth[columns][dealt]

        tp = truth @ said
        wins = truth @ ranks - positives * (positives + 1) / 2
        blocks.append(sample(tp, said.sum() - tp, positives, images - positives, wins))

    return joined_samples(blocks)


def weighted(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> Sample:
    """Figures under each column of `weights`, shape (images, draws)."""
    order = np.argsort(scores, kind="stable")
    scores, truth, weights = scores[order], truth[order], weights[order]
    yes, no = weights[truth], weights[~truth]
    # Mass of the negatives below each of them, and of all.
    below = np.concatenate([np.zeros((1, weights.shape[1])), no.cumsum(0)])
    lower, equal = (
        np.searchsorted(scores[~truth], scores[truth], side) for side in ("left", "right")
    )
    wins = (yes * (below[lower] + below[equal])).sum(0) / 2

    return sample((scores[truth] > 0) @ yes, (scores[~truth] > 0) @ no, yes.sum(0), below[-1], wins)


def sample(
    tp: np.ndarray,
    fp: np.ndarray,
    positives: np.ndarray | int,
    negatives: np.ndarray | int,
    wins: np.ndarray,
) -> Sample:
    """Figures from counts.

    `wins` are the pairs in which the positive has the higher score; ties count half.
    """
    fn, tn = positives - tp, negatives - fp
    with np.errstate(divide="ignore", invalid="ignore"):
        return Sample(
            balanced_accuracy=(tp / positives + tn / negatives) / 2,
            accuracy=(tp + tn) / (positives + negatives),
            auroc=wins / (positives * negatives),
            mutual_information=mutual_information(tp, fp, tn, fn),
        )


def joined_samples(blocks: list[Sample]) -> Sample:
    """All draws of several samples, in their order."""
    names = [field.name for field in fields(Sample)]
    joined = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in names}
    return Sample(**joined)


def percentile_interval(draws: np.ndarray) -> tuple[float, float]:
    """Percentile interval. A draw without any person of one class has no figure."""
    low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def folded_ends(low: float, high: float) -> tuple[float, float]:
    """Ends of the folded rate that an interval of a rate leaves possible."""
    reach = (abs(low - 0.5), abs(high - 0.5))
    return 0.5 + (0.0 if low <= 0.5 <= high else min(reach)), 0.5 + max(reach)


def exceedance(chance: np.ndarray, value: float) -> float:
    """The p-value of a permutation test: the share of truths, this one too, that give as much."""
    return float((1 + (chance >= value - ROUNDING).sum()) / (1 + len(chance)))


def information(rate: float) -> float:
    """1 - H(rate) in bits."""
    return float(1 - stats.entropy([rate, 1 - rate], base=2))
