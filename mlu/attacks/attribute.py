"""Attribute inference: the forgotten label read from outputs or features of unseen images."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np
from scipy.special import logit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor

from mlu.attacks.contract import Attack, Victim
from mlu.data.split import Split, people_drawn
from mlu.metrics.findings import Evidence, Finding, Trial
from mlu.metrics.trials import excesses, trial_findings
from mlu.models.outputs import Outputs

FEWEST_TO_LEARN = 10
"""Validation images with the label, and without it, that the attacker needs to learn from."""

NO_CLASSES = (
    f"fewer than {FEWEST_TO_LEARN} validation images, or no test image, are known to have "
    "the forgotten label, or to lack it"
)
NO_OTHERS = (
    "in a single-label task the retained labels say nothing but whether the forgotten one is true"
)

_PATIENCE = 20
"""Epochs without progress after which the perceptron stops: an epoch is but a few steps."""

_FOLDS = 3
"""To choose, of several forgotten labels, the one that is read best."""

_CHANCE = 0.5

_DIGITS = 9
"""Digits of a score that are meant."""

_CERTAIN = 1e-12
"""The perceptron's probabilities are kept this far from 0 and 1: their logit is the score."""

Images = TypeVar("Images", Split, Outputs)


@dataclass(frozen=True, kw_only=True)
class AttributeInference(Attack[Trial]):
    """Classifiers from what a model shows to the true forgotten label (paper, Section 7.2).

    They are fitted on the validation split, with classes weighted as if they were equally frequent,
    and judged on the test split; the model was trained on neither, and no person is in both. Views
    are what the attacker sees: `output` (the forgotten logits), `outputs` (all logits),
    `retained_outputs`, and `features` (what the head reads). Each is attacked by a logistic
    regression, and by a multilayer perceptron under `<view>/mlp`; each stage of the body by a
    logistic regression, under `features/<stage>`. They learn the sign, so an inverted output does
    not hide the label.

    Half is what knowing nothing gives. The true retained labels alone give more (`without_model`),
    and so do the features of random weights and of Retrain: what exceeds these was not forgotten.
    Of several forgotten labels the one is attacked that the logistic regression reads best in
    cross-validation on the validation split.

    Attributes:
        images: Most validation images to learn from, >= 20; people are drawn where there are more.
        strength: Inverse of the logistic regression's L2 penalty on standardised inputs, > 0.
        hidden: Units of the perceptron's hidden layer, >= 1. A tenth of its images tells it when to
            stop.
        judged: The split that it is judged on: `test`; or `validation`, whose people are then
            divided between learning and judging, so that a search for settings does not see the
            test split.
    """

    name: ClassVar[str] = "aia"
    images: int
    strength: float
    hidden: int
    judged: Literal["test", "validation"]

    def observe(self, victim: Victim) -> Evidence[Trial]:
        exposed = {
            name: said.with_stages() for name, said in victim.outputs.items() if name != "train"
        }
        fitted, asked = self.sides(exposed, victim.seed)
        learnt, judged = views(victim, fitted), views(victim, asked)
        # What the last stage gives is what the head reads: it is attacked once.
        *_, last = judged
        found: dict[str, Trial | str] = {}
        for view, seen in judged.items():
            if view != last:
                sides = Side(fitted, learnt[view]), Side(asked, seen)
                found |= self.attack(victim, f"{self.name}/{view}", *sides, deep="/" not in view)

        return {**found, f"{self.name}/{last}": found[f"{self.name}/features"]}

    def without_model(self, victim: Victim) -> Evidence[Trial]:
        retained = victim.request.retained
        learnt, judged = (
            Side(split, victim.task.other_labels(split.targets, split.known, retained))
            for split in self.sides(victim.splits, victim.seed)
        )
        if not learnt.seen.shape[1]:
            return {self.name: NO_OTHERS, f"{self.name}/mlp": NO_OTHERS}

        return self.attack(victim, self.name, learnt, judged, deep=True)

    def conclude(self, evidence: Evidence[Trial]) -> Iterable[Finding]:
        for path, trial in evidence.items():
            yield from trial_findings(path, trial)

    def compare(
        self, evidence: Evidence[Trial], reference: Evidence[Trial] | None
    ) -> Iterable[Finding]:
        return excesses(evidence, reference)

    def sides(self, by_split: Mapping[str, Images], seed: int) -> tuple[Images, Images]:
        """Images to learn from and to be judged on; no person is in both."""
        validation = by_split["validation"]
        if self.judged == "test":
            return validation, by_split["test"]
        images = len(validation)
        half, rest = people_drawn(validation.identities, [images // 2, images], seed)
        return validation.subset(half), validation.subset(rest)

    def attack(
        self, victim: Victim, path: str, learnt: "Side", judged: "Side", deep: bool
    ) -> Evidence[Trial]:
        """The trial of each attacker, by its path.

        Args:
            victim: Whose targets are to be told.
            path: Of the logistic regression's findings.
            learnt: Validation images.
            judged: Test images.
            deep: Whether the perceptron attacks as well.
        """
        attackers: dict[str, Pipeline] = {path: self.logistic_regression()}
        if deep:
            attackers[f"{path}/mlp"] = self.perceptron(victim.seed)

        (drawn,) = people_drawn(learnt.images.identities, [self.images], victim.seed)
        cases = []
        for column in victim.request.forgotten:
            fit = cases_of(learnt.images.subset(drawn), column, learnt.seen[drawn])
            asked = cases_of(judged.images, column, judged.seen)
            if fit.fewest >= FEWEST_TO_LEARN and asked.fewest > 0:
                cases.append((fit, asked))

        if not cases:
            return dict.fromkeys(attackers, NO_CLASSES)

        fit, asked = (
            cases[0] if len(cases) == 1 else max(cases, key=lambda pair: self.readable(pair[0]))
        )

        return {path: attribute_trial(attacker, fit, asked) for path, attacker in attackers.items()}

    def readable(self, fit: "Cases") -> float:
        """Balanced accuracy of the logistic regression on people that it was not fitted on."""
        if any(len(np.unique(fit.persons[fit.truth == side])) < _FOLDS for side in (True, False)):
            return _CHANCE
        rates = []
        for rest, own in StratifiedGroupKFold(_FOLDS).split(fit.seen, fit.truth, fit.persons):
            trial = attribute_trial(self.logistic_regression(), fit.subset(rest), fit.subset(own))
            rates.append(balanced_accuracy_score(trial.truth, trial.scores > 0))
        return float(np.mean(rates))

    def logistic_regression(self) -> Pipeline:
        classifier = LogisticRegression(C=self.strength, max_iter=1000)
        return Pipeline([("scale", StandardScaler()), ("classify", classifier)])

    def perceptron(self, seed: int) -> Pipeline:
        classifier = MLPClassifier(
            (self.hidden,), early_stopping=True, n_iter_no_change=_PATIENCE, random_state=seed
        )
        return Pipeline(
            [("scale", StandardScaler()), ("orient", Oriented()), ("classify", classifier)]
        )


class Oriented(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Turns every number so that it rises with the target.

    A perceptron's start then does not know its sign.
    """

    def fit(self, seen: np.ndarray, truth: np.ndarray) -> "Oriented":
        self.signs_ = np.where(seen[truth].mean(0) < seen[~truth].mean(0), -1, 1)
        return self

    def transform(self, seen: np.ndarray) -> np.ndarray:
        return seen * self.signs_


@dataclass(frozen=True, eq=False)
class Side:
    """Images to learn from or to be judged on.

    Attributes:
        images: Their targets and people.
        seen: What the attacker sees of each, shape (images, numbers).
    """

    images: Split | Outputs
    seen: Tensor


@dataclass(frozen=True)
class Cases:
    """Images whose target is known.

    Attributes:
        seen: What is seen of each, float64, shape (images, numbers).
        truth: The target, bool, shape (images,).
        persons: Number of the person on each, shape (images,).
    """

    seen: np.ndarray
    truth: np.ndarray
    persons: np.ndarray

    def subset(self, rows: np.ndarray) -> "Cases":
        return Cases(self.seen[rows], self.truth[rows], self.persons[rows])

    @property
    def fewest(self) -> int:
        """Images of the rarer class."""
        return int(min(self.truth.sum(), (~self.truth).sum()))


def cases_of(split: Split | Outputs, column: int, seen: Tensor) -> Cases:
    known = split.known[:, column]
    truth = split.targets[known, column].numpy() > 0
    return Cases(seen[known].double().numpy(), truth, split.identities[known.numpy()])


def attribute_trial(attacker: Pipeline, fit: Cases, asked: Cases) -> Trial:
    """The attacker's answers about `asked` after it has learnt from `fit`."""
    weight = compute_sample_weight("balanced", fit.truth)
    with warnings.catch_warnings():
        # A separable view has no finite optimum; its direction is good long before the iterations
        # end.
        warnings.simplefilter("ignore", ConvergenceWarning)
        attacker.fit(fit.seen, fit.truth, classify__sample_weight=weight)

    if hasattr(attacker, "decision_function"):
        scores = attacker.decision_function(asked.seen)
    else:
        scores = logit(attacker.predict_proba(asked.seen)[:, 1].clip(_CERTAIN, 1 - _CERTAIN))

    # Matrix products round equal rows differently, and who sees a constant must not tell images
    # apart.
    return Trial(scores.round(_DIGITS), asked.truth, asked.persons)


def views(victim: Victim, outputs: Outputs) -> dict[str, Tensor]:
    """The numbers that the attacker sees of each image, by view, shape (images, numbers)."""
    features = list(outputs.stages.values())[-1]
    return {
        "output": outputs.logits[:, list(victim.request.forgotten)],
        "outputs": outputs.logits,
        "retained_outputs": outputs.logits[:, list(victim.request.retained)],
        "features": features,
        **{f"features/{stage}": means for stage, means in outputs.stages.items()},
    }
