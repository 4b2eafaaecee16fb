"""Membership inference without shadow models: was this image, or this label of it, learnt from?"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mlu.attacks.contract import FEWEST_ASKED, Attack, Canaries, Victim
from mlu.data.split import people_drawn
from mlu.metrics.findings import NO_REFERENCE, Evidence, Finding, Trial
from mlu.metrics.trials import best_threshold, excesses, low_rate_findings, trial_findings
from mlu.models.outputs import Outputs, joined_outputs
from mlu.models.tasks import ForgetRequest, Task, mean_of_terms

LABEL_MEMBERSHIP = "label_membership"

TOO_FEW = f"fewer than {FEWEST_ASKED} members or non-members to learn from or to be judged by"

FOLDS = 5
"""Parts of the people that an attacker learns from, each held out in turn to choose by."""

Attacker = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Scores of images asked about: from numbers to learn from, (images, numbers), their membership,
and numbers asked."""


@dataclass(frozen=True)
class Game:
    """Who was learnt from, and who may be asked about.

    Attributes:
        outputs: Of all images of the game.
        member: Whether each was learnt from, bool, shape (images,).
        learning: Whether the attacker may learn from it, bool, shape (images,).
        asked: Whether the attacker is judged on it, bool, shape (images,). No person is on both
            sides.
    """

    outputs: Outputs
    member: np.ndarray
    learning: np.ndarray
    asked: np.ndarray


@dataclass(frozen=True, kw_only=True)
class MembershipInference(Attack[Trial]):
    """Threshold and logistic attacks on single numbers of each image.

    These are of Yeom et al. (2018) and of Song and Mittal (2021).

    Members are training images. The attacker knows some of them, and the validation images, which
    the model was not trained on; it is judged on other people, as many training images as there are
    in the test split, and these. `mia/<statistic>` says member beyond a threshold,
    `mia/<statistic>/logistic` by a logistic regression, both in the direction that they learn.
    `mia/combined` has all statistics: it takes the one, or the logistic regression on all, that is
    best on held-out people of those that it learns from. In a single-label task, what speaks of the
    forgotten class compares images of that class alone.

    Where forgotten targets were withheld from the original (canaries), members are the training
    images whose target it learnt, and the others those whose target it did not: what differs, the
    label itself left behind. `mia/flipped` then asks whether the model says what a few wrong
    targets said.

    `label_membership` asks whether a label was among the targets at all: how sure the model's
    forgotten outputs are of half of the test people, against how sure Retrain's are of the other
    half.
    """

    name: ClassVar[str] = "mia"

    def observe(self, victim: Victim) -> Evidence[Trial]:
        game = game_of(victim)
        found = statistics(victim.task, game.outputs, victim.request)
        evidence: dict[str, Trial | str] = {}
        for name, values in found.items():
            for path, attacker in {name: threshold, f"{name}/logistic": logistic}.items():
                evidence[f"{self.name}/{path}"] = membership_trial(
                    attacker, game, values[:, None], victim.seed
                )

        evidence[f"{self.name}/combined"] = combined_trial(game, combined(found), victim.seed)
        if victim.canaries is not None:
            evidence[f"{self.name}/flipped"] = flipped_trial(victim, victim.canaries)

        return {**evidence, LABEL_MEMBERSHIP: label_membership(victim)}

    def conclude(self, evidence: Evidence[Trial]) -> Iterable[Finding]:
        for path, trial in evidence.items():
            yield from trial_findings(path, trial)
            if path != LABEL_MEMBERSHIP:
                yield from low_rate_findings(path, trial)

    def compare(
        self, evidence: Evidence[Trial], reference: Evidence[Trial] | None
    ) -> Iterable[Finding]:
        return excesses(evidence, reference)


def game_of(victim: Victim) -> Game:
    """Images learnt from against images that were not.

    With canaries, labels learnt against labels withheld.
    """
    train, validation, test = (victim.outputs[name] for name in ("train", "validation", "test"))
    if victim.canaries is not None:
        groups = people_drawn(train.identities, [len(train) // 2, len(train)], victim.seed)
        learning, asked = (
            rows_mask(rows, len(train)) & ~victim.canaries.flipped for rows in groups
        )
        return Game(train, victim.canaries.supervised, learning, asked)

    share = min(1, len(train) / (len(validation) + len(test)))
    sizes = [int(share * len(validation)), int(share * len(test))]
    learning, asked = (
        rows_mask(rows, len(train)) for rows in people_drawn(train.identities, sizes, victim.seed)
    )
    strangers = np.zeros(len(validation) + len(test), bool)
    known = np.arange(len(strangers)) < len(validation)

    return Game(
        joined_outputs(train, validation, test),
        np.concatenate([~np.zeros(len(train), bool), strangers]),
        np.concatenate([learning, known]),
        np.concatenate([asked, ~known]),
    )


def statistics(task: Task, outputs: Outputs, request: ForgetRequest) -> dict[str, Tensor]:
    """Numbers that are larger for members, by name, shape (images,) each.

    They are NaN for images that they do not speak of.

    `loss_forgotten` and `loss_retained` are mean losses over those labels, in nats; `entropy` and
    `modified_entropy` (nats), `margin` (log odds of what is true) and `correctness` (share of
    labels) speak of all labels. What is smaller for members is negated. In a single-label task they
    speak of images of the forgotten classes, but for `loss_retained`. Of forgotten outputs that are
    the same for every image the loss follows from the targets alone: it counts as 0.
    """
    logits, targets, known = outputs.logits.double(), outputs.targets.double(), outputs.known
    every = range(targets.shape[1])
    scope = task.scope_of_images(targets, known, request.forgotten)
    told = task.rows(scope, len(every)).any(1)
    odds, entropy = task.confidences(logits, targets), task.entropy(logits, list(every))

    forgotten = -task.image_loss(logits, targets, known, request.forgotten)
    said = task.log_odds(logits)[:, list(request.forgotten)]
    if (said == said[:1]).all():
        forgotten = 0 * forgotten

    return {
        "loss_forgotten": forgotten,
        "loss_retained": -task.image_loss(logits, targets, known, request.retained),
        "entropy": -torch.where(told, entropy, torch.nan),
        "modified_entropy": -mean_of_terms(task.modified_entropy(logits, targets), scope),
        "margin": mean_of_terms(odds, scope),
        "correctness": mean_of_terms((odds > 0).double(), scope),
    }


def combined(found: Mapping[str, Tensor]) -> Tensor:
    """All that speak of the same images as `loss_forgotten`, shape (images, statistics)."""
    same = found["loss_forgotten"].isfinite()
    return torch.stack(
        [values for values in found.values() if torch.equal(values.isfinite() & same, same)], 1
    )


def membership_trial(attacker: Attacker, game: Game, seen: Tensor, seed: int) -> Trial | str:
    """The answers of an attacker about as many members as others.

    Args:
        attacker: Gives scores of numbers.
        game: Its sides.
        seen: Numbers of each image of the game, shape (images, numbers); one with a NaN is left
            out.
        seed: Of the choice among members, or among others, where these are more.
    """
    numbers = seen.double().numpy()
    learning, asked = balanced_sides(game, numbers, seed)
    if min(len(learning), len(asked)) < 2 * FEWEST_ASKED:
        return TOO_FEW

    scores = attacker(numbers[learning], game.member[learning], numbers[asked])

    return Trial(scores, game.member[asked], game.outputs.identities[asked])


def combined_trial(game: Game, seen: Tensor, seed: int) -> Trial | str:
    """The answers of the attacker that is best on people that it has not learnt from.

    Arguments are as in `membership_trial`.
    """
    numbers, persons = seen.double().numpy(), game.outputs.identities
    learning, _ = balanced_sides(game, numbers, seed)
    if len(learning) < 2 * FEWEST_ASKED:
        return TOO_FEW

    best = best_attacker(numbers[learning], game.member[learning], persons[learning], seed)

    return membership_trial(best, game, seen, seed)


def best_attacker(seen: np.ndarray, member: np.ndarray, persons: np.ndarray, seed: int) -> Attacker:
    """The attacker with the highest mean AUROC over held-out folds of people.

    Each number alone is a candidate, and three logistic regressions on all of them: on the numbers,
    on their ranks, and on these with squares. Who then asks about other people than these takes no
    advantage of the choice.

    Args:
        seen: Numbers to learn from, shape (images, numbers).
        member: Bool, shape (images,).
        persons: Shape (images,).
        seed: Of the folds.

    Returns:
        The regression on ranks where people are too few to hold some of them out.
    """
    together: list[Attacker] = [logistic_of_ranks, logistic, logistic_of_squares]
    alone: list[Attacker] = [partial(one_number, column) for column in range(seen.shape[1])]
    fold = folds_of_people(member, persons, seed)

    areas = []
    for number in range(FOLDS):
        rest, own = fold != number, fold == number
        if occurs_both_ways(member[rest]) and occurs_both_ways(member[own]):
            said = [one(seen[rest], member[rest], seen[own]) for one in together]
            signs = np.where(areas_under(member[rest], seen[rest]) >= 0.5, 1, -1)
            scores = np.column_stack([*said, signs * seen[own]])
            areas.append(areas_under(member[own], scores))

    candidates = [*together, *alone]

    return candidates[int(np.argmax(np.mean(areas, axis=0)))] if areas else logistic_of_ranks


def areas_under(member: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUROC of each column of scores, shape (columns,), from the ranks of members."""
    yes, no = member.sum(), (~member).sum()
    above = rankdata(scores, axis=0)[member].sum(0) - yes * (yes + 1) / 2
    return np.asarray(above / (yes * no))


def occurs_both_ways(member: np.ndarray) -> bool:
    return bool(member.any() and not member.all())


def folds_of_people(member: np.ndarray, persons: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each image, in [0, FOLDS): people as a whole, members and others spread evenly."""
    _, person = np.unique(persons, return_inverse=True)
    share = np.bincount(person, member) / np.bincount(person)
    mixed = np.random.default_rng(seed).permutation(len(share))
    order = mixed[np.argsort(share[mixed], kind="stable")]

    fold = np.empty(len(share), int)
    fold[order] = np.arange(len(share)) % FOLDS

    return fold[person]


def one_number(column: int, seen: np.ndarray, member: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The threshold attack on one of several numbers."""
    return threshold(seen[:, [column]], member, asked[:, [column]])


def logistic_of_ranks(seen: np.ndarray, member: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The logistic attack on normal scores of ranks, so that a few large numbers do not rule it."""
    return logistic(normal_scores(seen, seen), member, normal_scores(seen, asked))


def logistic_of_squares(seen: np.ndarray, member: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The same with squares: members may lie in the middle, or on both sides."""
    learnt, scores = normal_scores(seen, seen), normal_scores(seen, asked)
    return logistic(np.hstack([learnt, learnt**2]), member, np.hstack([scores, scores**2]))


def normal_scores(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks of numbers among known ones, shape (images, numbers)."""
    scores = np.empty_like(asked)
    for column, values in enumerate(np.sort(known, axis=0).T):
        below, upto = (
            np.searchsorted(values, asked[:, column], side) for side in ("left", "right")
        )
        scores[:, column] = ndtri(((below + upto) / 2 + 0.5) / (len(values) + 1))
    return scores


def balanced_sides(game: Game, numbers: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and to be judged on, each with as many members as others.

    Those with a number that is not finite are left out.
    """
    defined = np.isfinite(numbers).all(1)
    learning, asked = (
        balanced(game.member, side & defined, seed) for side in (game.learning, game.asked)
    )
    return learning, asked


def balanced(member: np.ndarray, chosen: np.ndarray, seed: int) -> np.ndarray:
    """Rows of `chosen` images, as many members as others."""
    random = np.random.default_rng(seed)
    sides = [np.flatnonzero(chosen & (member == side)) for side in (False, True)]
    fewest = min(map(len, sides))
    return np.sort(np.concatenate([random.choice(rows, fewest, replace=False) for rows in sides]))


def threshold(seen: np.ndarray, member: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Distance beyond the value that divides best, on the side where members are.

    Forgetting may turn it round.
    """
    sign = 1 if roc_auc_score(member, seen[:, 0]) >= 0.5 else -1
    return sign * asked[:, 0] - best_threshold(sign * seen[:, 0], member)


def logistic(seen: np.ndarray, member: np.ndarray, asked: np.ndarray) -> np.ndarray:
    attacker = make_pipeline(StandardScaler(), LogisticRegression())
    odds: np.ndarray = attacker.fit(seen, member).decision_function(asked)
    return odds


def flipped_trial(victim: Victim, canaries: Canaries) -> Trial | str:
    """Whether outputs follow wrong targets that were learnt more than such that were withheld."""
    train, columns = victim.outputs["train"], victim.request.forgotten
    odds = victim.task.confidences(train.logits.double(), train.targets.double())
    wrong = -mean_of_terms(odds, victim.task.scope(train.targets, train.known, columns)).numpy()
    rows = np.flatnonzero(canaries.flipped & np.isfinite(wrong))
    member = canaries.supervised[rows]
    if min(member.sum(), (~member).sum()) < FEWEST_ASKED:
        return f"fewer than {FEWEST_ASKED} targets were turned round on either side"

    return Trial(wrong[rows], member, train.identities[rows])


def label_membership(victim: Victim) -> Trial | str:
    """Whether the forgotten outputs are this model's or Retrain's, by how sure they are.

    This model's are of half of the people, Retrain's of the others.
    """
    if victim.retrain is None:
        return NO_REFERENCE

    sides = []
    for name in ("validation", "test"):
        own, never = victim.outputs[name], victim.retrain[name]
        half, rest = people_drawn(own.identities, [len(own) // 2, len(own)], victim.seed)
        values = torch.cat(
            [sureness(victim, own.subset(half)), sureness(victim, never.subset(rest))]
        )
        persons = own.identities[torch.cat([half, rest]).numpy()]
        sides.append((values[:, None].numpy(), np.arange(len(values)) < len(half), persons))

    (seen, member, _), (asked, truth, persons) = sides

    return Trial(threshold(seen, member, asked), truth, persons)


def sureness(victim: Victim, outputs: Outputs) -> Tensor:
    """Mean distance of the forgotten outputs from 1/2.

    Of a class its probability, for one never seen is never said.
    """
    return victim.task.sureness(outputs.logits.double(), victim.request.forgotten)


def rows_mask(rows: Tensor, images: int) -> np.ndarray:
    chosen = np.zeros(images, bool)
    chosen[rows.numpy()] = True
    return chosen
