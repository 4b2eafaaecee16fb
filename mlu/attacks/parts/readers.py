"""Readers: classifiers that tell a label from numbers that a model gives of an image."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from mlu.attacks.parts.cases import Cases
from mlu.metrics.findings import READERS

LINEAR, *_ = READERS

NEIGHBOURS = 15
MARGIN_COST = 10.0
"""C of the support-vector machine."""

LEAVES, BINS = 8, 32
"""Of each boosted tree, and of each number that it looks at."""

_PATIENCE = 20
"""Epochs without progress after which the perceptron stops: an epoch is but a few steps."""

_DIGITS = 9
"""Digits of a score that are meant."""

_CERTAIN = 1e-12
"""The perceptron's probabilities are kept this far from 0 and 1: their logit is the score."""


Found = TypeVar("Found")


class Reader(Protocol):
    """A classifier in scikit-learn's manner, whose last step takes the weights of images."""

    def fit(self, seen: np.ndarray, truth: np.ndarray, **weights: np.ndarray) -> Any: ...


class Making(Protocol):
    """Makes a reader that has learnt nothing yet."""

    def __call__(self) -> Reader: ...


def panel_of(strength: float, weaker: float, hidden: int, seed: int) -> Mapping[str, Making]:
    """The readers of numbers, by name.

    All see standardised or binned numbers and weigh the classes as if they were equally frequent,
    so that 0 is where they say yes:

    - a logistic regression, with no name, and a more strongly penalised one (`weak`);
    - `mlp`: a perceptron with one hidden layer; a tenth of its images tells it when to stop;
    - `svm`: a support-vector machine with a Gaussian kernel, C = 10 and scikit-learn's width;
    - `knn`: the 15 nearest neighbours;
    - `trees`: gradient boosting of 100 trees with 8 leaves, on histograms of 32 bins (as good as
      scikit-learn's 31 leaves and 255 bins on 2,500 images, at a fifth of the time).

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
        "svm": partial(on_standardised, KernelMachine),
        "knn": partial(on_standardised, Neighbours),
        "trees": partial(boosted_trees, seed),
    }


def logistic_regression(strength: float) -> Pipeline:
    """A logistic regression on standardised numbers, with this inverse of its L2 penalty."""
    return on_standardised(LogisticRegression, C=strength, max_iter=1000)


def perceptron(hidden: int, seed: int) -> Pipeline:
    """A perceptron with one hidden layer on standardised numbers."""
    classifier = MLPClassifier(
        (hidden,), early_stopping=True, n_iter_no_change=_PATIENCE, random_state=seed
    )
    return Pipeline([("scale", Standardised()), ("orient", Oriented()), ("classify", classifier)])


def on_standardised(kind: type[Any], **settings: Any) -> Pipeline:
    """A classifier on standardised numbers."""
    return Pipeline([("scale", Standardised()), ("classify", kind(**settings))])


def boosted_trees(seed: int) -> Pipeline:
    """Gradient boosting of trees on binned numbers."""
    classifier = HistGradientBoostingClassifier(
        max_leaf_nodes=LEAVES, early_stopping=False, random_state=seed
    )
    return Pipeline([("bin", Binned()), ("classify", classifier)])


class Standardised(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """Standardises each number; one that is the same for all that is learnt from is 0 ever after.

    It has no deviation to be divided by: what rounding leaves of a huge one, or what it is of other
    images, would drown all others, and so blind a reader.
    """

    def fit(self, seen: np.ndarray, truth: np.ndarray) -> "Standardised":
        # NaN is not the same as itself: it stays, and readers refuse it.
        self.scaler_, self.varies_ = StandardScaler().fit(seen), np.ptp(seen, axis=0) != 0
        return self

    def transform(self, seen: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.where(self.varies_, self.scaler_.transform(seen), 0.0)
        return found


class Binned(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Puts each number into one of 32 bins with equally many images.

    Gradient boosting does so as well; of weighted images that takes it longer than all its trees.
    """

    def fit(self, seen: np.ndarray, truth: np.ndarray) -> "Binned":
        self.edges_ = np.quantile(seen, np.linspace(0, 1, BINS + 1)[1:-1], axis=0)
        return self

    def transform(self, seen: np.ndarray) -> np.ndarray:
        columns = zip(self.edges_.T, seen.T, strict=True)
        return np.stack([np.searchsorted(*column) for column in columns], 1).astype(np.float64)


class Oriented(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Turns every number so that it rises with the target.

    A perceptron's start then does not know its sign.
    """

    def fit(self, seen: np.ndarray, truth: np.ndarray) -> "Oriented":
        self.signs_ = np.where(seen[truth].mean(0) < seen[~truth].mean(0), -1, 1)
        return self

    def transform(self, seen: np.ndarray) -> np.ndarray:
        return seen * self.signs_


class KernelMachine(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """A support-vector machine with a Gaussian kernel, which is computed as one matrix product.

    That is up to ten times as fast as scikit-learn's own, which computes it row by row.
    """

    def fit(
        self, seen: np.ndarray, truth: np.ndarray, sample_weight: np.ndarray
    ) -> "KernelMachine":
        spread = seen.var()
        self.seen_, self.gamma_ = seen, 1 / (seen.shape[1] * spread) if spread else 1.0
        self.machine_ = SVC(C=MARGIN_COST, kernel="precomputed")
        self.machine_.fit(rbf_kernel(seen, gamma=self.gamma_), truth, sample_weight)
        return self

    def decision_function(self, seen: np.ndarray) -> np.ndarray:
        kernel = rbf_kernel(seen, self.seen_, gamma=self.gamma_)
        scores: np.ndarray = self.machine_.decision_function(kernel)
        return scores


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


def side_by_side(tasks: Sequence[Callable[[], Found]], alone: Sequence[bool]) -> list[Found]:
    """Answers of tasks: as many at once as this process has threads, each on one thread.

    So the figures are the same on one thread and on several.

    Args:
        tasks: Called in this order.
        alone: Those that may not be at work at the same time: they draw torch's random numbers.
    """
    found: list[Any] = [None] * len(tasks)
    with threadpool_limits(1), warnings.catch_warnings():
        # A separable view has no finite optimum; its direction is good long before the iterations
        # end. Filters are one for all threads.
        warnings.simplefilter("ignore", ConvergenceWarning)
        together = [place for place, by_itself in enumerate(alone) if not by_itself]
        work = Parallel(torch.get_num_threads(), prefer="threads")
        answers = work(delayed(tasks[place])() for place in together)
        for place, answer in zip(together, answers, strict=True):
            found[place] = answer

    for place, by_itself in enumerate(alone):
        if by_itself:
            found[place] = tasks[place]()

    return found


def learnt_scores(make: Making, view: str, fit: Cases, asked: Cases) -> np.ndarray:
    """The scores that a reader gives images after it has learnt from others, shape (images,).

    Args:
        make: Makes the reader.
        view: What it looks at.
        fit: To learn from.
        asked: To say something of.
    """
    reader = make()
    weight = compute_sample_weight("balanced", fit.truth)
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
