"""Readers: classifiers that tell a label from numbers that a model gives of an image."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from mlu.attacks.parts.cases import Cases
from mlu.metrics.strongest import READERS

LINEAR, *_ = READERS

NEIGHBOURS = 15
MARGIN_COST = 10.0
"""C of the support-vector machine."""

_PATIENCE = 20
"""Epochs without progress after which the perceptron stops: an epoch is but a few steps."""

_DIGITS = 9
"""Digits of a score that are meant."""

_CERTAIN = 1e-12
"""The perceptron's probabilities are kept this far from 0 and 1: their logit is the score."""


class Reader(Protocol):
    """A classifier in scikit-learn's manner, whose last step takes the weights of images."""

    def fit(self, seen: np.ndarray, truth: np.ndarray, **weights: np.ndarray) -> Any: ...


class Making(Protocol):
    """Makes a reader that has learnt nothing yet."""

    def __call__(self) -> Reader: ...


def panel_of(strength: float, weaker: float, hidden: int, seed: int) -> Mapping[str, Making]:
    """The readers of numbers, by name.

    All see standardised numbers and weigh the classes as if they were equally frequent, so that 0
    is where they say yes:

    - a logistic regression, with no name, and a more strongly penalised one (`weak`);
    - `mlp`: a perceptron with one hidden layer; a tenth of its images tells it when to stop;
    - `svm`: a support-vector machine with a Gaussian kernel, C = 10 and scikit-learn's width;
    - `knn`: the 15 nearest neighbours;
    - `trees`: gradient boosting of 100 trees on histograms.

    Args:
        strength: Inverse of the logistic regression's L2 penalty, > 0.
        weaker: That of `weak`, > 0.
        hidden: Units of the perceptron, >= 1.
        seed: Of its start and of what it learns to stop by.
    """
    return {
        LINEAR: partial(logistic_regression, strength),
        "weak": partial(logistic_regression, weaker),
        "mlp": partial(perceptron, hidden, seed),
        "svm": partial(standardised, SVC, C=MARGIN_COST),
        "knn": partial(standardised, Neighbours),
        "trees": partial(
            standardised, HistGradientBoostingClassifier, early_stopping=False, random_state=seed
        ),
    }


def logistic_regression(strength: float) -> Pipeline:
    """A logistic regression on standardised numbers, with this inverse of its L2 penalty."""
    return standardised(LogisticRegression, C=strength, max_iter=1000)


def perceptron(hidden: int, seed: int) -> Pipeline:
    """A perceptron with one hidden layer on standardised numbers."""
    classifier = MLPClassifier(
        (hidden,), early_stopping=True, n_iter_no_change=_PATIENCE, random_state=seed
    )
    return Pipeline([("scale", StandardScaler()), ("orient", Oriented()), ("classify", classifier)])


def standardised(kind: type[Any], **settings: Any) -> Pipeline:
    """A classifier on standardised numbers."""
    return Pipeline([("scale", StandardScaler()), ("classify", kind(**settings))])


class Oriented(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Turns every number so that it rises with the target.

    A perceptron's start then does not know its sign.
    """

    def fit(self, seen: np.ndarray, truth: np.ndarray) -> "Oriented":
        self.signs_ = np.where(seen[truth].mean(0) < seen[~truth].mean(0), -1, 1)
        return self

    def transform(self, seen: np.ndarray) -> np.ndarray:
        return seen * self.signs_


class Neighbours(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The nearest neighbours, each with the weight of its image: scikit-learn's take no weights."""

    def fit(self, seen: np.ndarray, truth: np.ndarray, sample_weight: np.ndarray) -> "Neighbours":
        self.search_ = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(seen))).fit(seen)
        self.votes_ = np.where(truth, sample_weight, -sample_weight)
        self.weights_ = sample_weight
        return self

    def decision_function(self, seen: np.ndarray) -> np.ndarray:
        """Share of the neighbours' weight that has the label, less that which lacks it."""
        near = self.search_.kneighbors(seen, return_distance=False)
        shares: np.ndarray = self.votes_[near].sum(1) / self.weights_[near].sum(1)
        return shares


def answers_of(make: Making, view: str, fit: Cases, asked: Cases) -> np.ndarray:
    """The scores that a reader gives images after it has learnt from others, shape (images,).

    Args:
        make: Makes the reader.
        view: What it looks at.
        fit: To learn from.
        asked: To say something of.
    """
    reader = make()
    weight = compute_sample_weight("balanced", fit.truth)
    with warnings.catch_warnings():
        # A separable view has no finite optimum; its direction is good long before the iterations
        # end.
        warnings.simplefilter("ignore", ConvergenceWarning)
        reader.fit(fit.seen[view], fit.truth, classify__sample_weight=weight)

    if hasattr(reader, "decision_function"):
        scores = reader.decision_function(asked.seen[view])
    else:
        yes = reader.predict_proba(asked.seen[view])[:, 1]  # type: ignore[attr-defined]
        scores = logit(yes.clip(_CERTAIN, 1 - _CERTAIN))

    # Matrix products round equal rows differently, and who sees a constant must not tell images
    # apart.
    rounded: np.ndarray = np.asarray(scores, np.float64).round(_DIGITS)

    return rounded
