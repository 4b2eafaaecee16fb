"""What travels between the stages, and what a method must give."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlu.data.base import TaskName
from mlu.data.split import Split


@dataclass(frozen=True)
class ForgetRequest:
    """Which labels to forget. Numbers are columns: the last axis of logits and targets."""

    forgotten: tuple[int, ...]
    retained: tuple[int, ...]


NEVER = -1e4
"""Bias of a class that must never be predicted: its probability underflows to 0 in float32."""


class Task(ABC):
    """Losses, predictions and statistics of one kind of output."""

    name: TaskName

    @abstractmethod
    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses before any mean, in nats, in the shape of a scope. Targets may be soft."""

    @abstractmethod
    def scope(self, targets: Tensor, known: Tensor, columns: Sequence[int]) -> Tensor:
        """Which terms speak of `columns`: bool, see the module's text."""

    @abstractmethod
    def probs(self, logits: Tensor) -> Tensor:
        """Probabilities in [0, 1], shape (batch, labels)."""

    @abstractmethod
    def soft_targets(self, logits: Tensor, columns: Sequence[int]) -> Tensor:
        """A teacher's outputs as targets that say nothing about other columns, shape (batch,
        labels)."""

    @abstractmethod
    def predictions(self, logits: Tensor) -> Tensor:
        """0/1, bool, shape (batch, labels)."""

    @abstractmethod
    def entropy(self, logits: Tensor, columns: Sequence[int]) -> Tensor:
        """Entropy of the outputs in nats, shape (batch,)."""

    @abstractmethod
    def divergence(self, logits: Tensor, reference: Tensor, columns: Sequence[int]) -> Tensor:
        """Jensen-Shannon divergence between two models' outputs, in nats, in [0, ln 2], shape
        (batch,)."""

    @abstractmethod
    def silence(self, head: nn.Linear, columns: Sequence[int], base_rates: Tensor) -> None:
        """Make the outputs `columns` carry no information about the image, in place."""

    @abstractmethod
    def log_odds(self, logits: Tensor) -> Tensor:
        """ln p / (1 - p) of each label against the rest, shape (batch, labels)."""

    @abstractmethod
    def confidences(self, logits: Tensor, targets: Tensor) -> Tensor:
        """ln p / (1 - p) of the true value of each label, or of the true class, shape (batch,
        labels) or (batch, 1)."""

    @abstractmethod
    def modified_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Entropy that grows where the model is sure and wrong, in nats, shape (batch, labels) or
        (batch, 1).

        -(1 - p_y) ln p_y - sum over other classes c of p_c ln(1 - p_c) (Song and Mittal, 2021).
        """

    @abstractmethod
    def distillation(
        self, teacher: Tensor, student: Tensor, columns: Sequence[int], temperature: float
    ) -> Tensor:
        """T^2 KL(teacher || student) of the outputs at a temperature, in nats, >= 0, shape
        (batch,)."""

    @abstractmethod
    def ignorant(self, logits: Tensor, columns: Sequence[int], base_rates: Tensor) -> Tensor:
        """A teacher's logits without what they say of `columns`, shape (batch, labels)."""

    @abstractmethod
    def curvature_roots(self, logits: Tensor) -> Tensor:
        """Numbers whose squared gradients by the weights sum to the diagonal of the Gauss-Newton
        matrix.

        Shape (batch, labels); linear in the logits. Their outer products by logits, r_c = d root_c
        / d logits, sum to the Hessian of the image's loss by its logits, whatever its target.
        """

    @abstractmethod
    def rows(self, scope: Tensor, labels: int) -> Tensor:
        """A scope as one entry for each label: bool, shape (batch, labels)."""

    @abstractmethod
    def without(self, split: Split, columns: Sequence[int]) -> Split:
        """What is left of a split for a model that must not learn `columns`."""

    @abstractmethod
    def only(self, split: Split, columns: Sequence[int]) -> Split:
        """The part of a split that speaks of `columns`, and of nothing else."""

    @abstractmethod
    def ignorance(self, base_rates: Tensor, columns: Sequence[int]) -> float:
        """Mean loss of the constant base rate on what speaks of `columns`, in nats."""

    def label_loss(self, logits: Tensor, targets: Tensor, columns: Sequence[int]) -> Tensor:
        """Binary cross-entropy of each of `columns` against the rest, of every image, shape (batch,
        len(columns))."""
        columns = list(columns)
        odds = self.log_odds(logits)[:, columns]
        return F.binary_cross_entropy_with_logits(odds, targets[:, columns], reduction="none")

    def image_loss(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Sequence[int]
    ) -> Tensor:
        """Mean of each image's terms that speak of `columns`, in nats, shape (batch,); NaN where
        there is none."""
        return mean_of_terms(self.terms(logits, targets), self.scope(targets, known, columns))

    def loss(self, logits: Tensor, targets: Tensor, scope: Tensor) -> Tensor:
        """Mean of the terms in scope: a scalar in nats, 0 where the scope is empty."""
        terms = self.terms(logits, targets)
        return (terms * scope).sum() / scope.sum().clamp(min=1)


class MultiLabel(Task):
    """Independent labels: sigmoid and binary cross-entropy per column."""

    name: TaskName = "multilabel"

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def scope(self, targets: Tensor, known: Tensor, columns: Sequence[int]) -> Tensor:
        return known & column_mask(columns, known)

    def probs(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def soft_targets(self, logits: Tensor, columns: Sequence[int]) -> Tensor:
        return self.probs(logits) * column_mask(columns, logits)

    def predictions(self, logits: Tensor) -> Tensor:
        return logits > 0

    def entropy(self, logits: Tensor, columns: Sequence[int]) -> Tensor:
        """Sum of the columns' binary entropies."""
        return bernoulli_entropy_of_logits(logits[:, columns]).sum(1)

    def divergence(self, logits: Tensor, reference: Tensor, columns: Sequence[int]) -> Tensor:
        """Mean over columns of the divergence between two Bernoullis, never a softmax over labels."""
        ours, theirs = self.probs(logits[:, columns]), self.probs(reference[:, columns])
        middle = bernoulli_entropy((ours + theirs) / 2)
        return (
            (middle - (bernoulli_entropy(ours) + bernoulli_entropy(theirs)) / 2)
            .mean(1)
            .clamp(min=0)
        )

    def silence(self, head: nn.Linear, columns: Sequence[int], base_rates: Tensor) -> None:
        """Row zero, bias logit(base rate): the best constant prediction (METHODS: the uninformative
        output)."""
        with torch.no_grad():
            head.weight[list(columns)] = 0
            head.bias[list(columns)] = uninformative(base_rates)[list(columns)].to(head.bias)

    def log_odds(self, logits: Tensor) -> Tensor:
        return logits

    def confidences(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (2 * targets - 1) * logits

    def modified_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Of each label's two classes, true and not: the other one's term is the same."""
        odds = self.confidences(logits, targets)
        return 2 * torch.sigmoid(-odds) * F.softplus(-odds)

    def distillation(
        self, teacher: Tensor, student: Tensor, columns: Sequence[int], temperature: float
    ) -> Tensor:
        """Mean over the columns of the divergence of two Bernoullis, never a softmax over labels."""
        theirs, ours = (
            teacher[:, list(columns)] / temperature,
            student[:, list(columns)] / temperature,
        )
        cross = F.binary_cross_entropy_with_logits(ours, theirs.sigmoid(), reduction="none")
        return temperature**2 * (cross - bernoulli_entropy_of_logits(theirs)).mean(1)

    def ignorant(self, logits: Tensor, columns: Sequence[int], base_rates: Tensor) -> Tensor:
        """These columns say their base rate."""
        return torch.where(
            column_mask(columns, logits), uninformative(base_rates).to(logits), logits
        )

    def curvature_roots(self, logits: Tensor) -> Tensor:
        probs = self.probs(logits).detach()
        return (probs * (1 - probs)).sqrt() * logits

    def rows(self, scope: Tensor, labels: int) -> Tensor:
        return scope

    def without(self, split: Split, columns: Sequence[int]) -> Split:
        """All images, without the targets of the columns."""
        return split.withhold(columns)

    def only(self, split: Split, columns: Sequence[int]) -> Split:
        """All images, with no targets but the columns'."""
        return split.withhold(
            [column for column in range(split.targets.shape[1]) if column not in columns]
        )

    def ignorance(self, base_rates: Tensor, columns: Sequence[int]) -> float:
        return bernoulli_entropy(base_rates[list(columns)]).mean().item()


class SingleLabel(Task):
    """One class per image: softmax and cross-entropy."""

    name: TaskName = "singlelabel"

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none")

    def scope(self, targets: Tensor, known: Tensor, columns: Sequence[int]) -> Tensor:
        """Images whose class is among the columns and known."""
        return (known & column_mask(columns, known) & (targets > 0)).any(1)

    def probs(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def soft_targets(self, logits: Tensor, columns: Sequence[int]) -> Tensor:
        """The softmax over the columns alone: what the teacher gave to other classes is shared out."""
        return logits.masked_fill(~column_mask(columns, logits), -torch.inf).softmax(1)

    def predictions(self, logits: Tensor) -> Tensor:
        return F.one_hot(logits.argmax(1), logits.shape[1]).bool()

    def entropy(self, logits: Tensor, columns: Sequence[int]) -> Tensor:
        """Entropy of the softmax over the columns."""
        return categorical_entropy(logits[:, columns].softmax(1))

    def divergence(self, logits: Tensor, reference: Tensor, columns: Sequence[int]) -> Tensor:
        """Divergence between the softmaxes over the columns."""
        ours, theirs = logits[:, columns].softmax(1), reference[:, columns].softmax(1)
        middle = categorical_entropy((ours + theirs) / 2)
        return (middle - (categorical_entropy(ours) + categorical_entropy(theirs)) / 2).clamp(min=0)

    def silence(self, head: nn.Linear, columns: Sequence[int], base_rates: Tensor) -> None:
        """Row zero and a bias so low that the class is never predicted."""
        with torch.no_grad():
            head.weight[list(columns)] = 0
            head.bias[list(columns)] = NEVER

    def log_odds(self, logits: Tensor) -> Tensor:
        return logits - others(logits)

    def confidences(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (self.log_odds(logits) * targets).sum(1, keepdim=True)

    def modified_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        odds = self.log_odds(logits)
        true = torch.sigmoid(-odds) * F.softplus(-odds)
        other = torch.sigmoid(odds) * F.softplus(odds)
        return torch.where(targets > 0, true, other).sum(1, keepdim=True)

    def distillation(
        self, teacher: Tensor, student: Tensor, columns: Sequence[int], temperature: float
    ) -> Tensor:
        """Of the softmax over all classes, whatever the columns: they share one distribution."""
        theirs = teacher / temperature
        cross = F.cross_entropy(student / temperature, theirs.softmax(1), reduction="none")
        return temperature**2 * (cross - categorical_entropy(theirs.softmax(1)))

    def ignorant(self, logits: Tensor, columns: Sequence[int], base_rates: Tensor) -> Tensor:
        """These classes are out of the question; the others share what is left as before."""
        return logits.masked_fill(column_mask(columns, logits), NEVER)

    def curvature_roots(self, logits: Tensor) -> Tensor:
        probs = self.probs(logits).detach()
        return probs.sqrt() * (logits - (probs * logits).sum(1, keepdim=True))

    def rows(self, scope: Tensor, labels: int) -> Tensor:
        return scope.unsqueeze(1).expand(-1, labels)

    def without(self, split: Split, columns: Sequence[int]) -> Split:
        """The images of the other classes."""
        return split.subset((split.targets[:, list(columns)] == 0).all(1).nonzero().squeeze(1))

    def only(self, split: Split, columns: Sequence[int]) -> Split:
        """The images of these classes."""
        return split.subset((split.targets[:, list(columns)] > 0).any(1).nonzero().squeeze(1))

    def ignorance(self, base_rates: Tensor, columns: Sequence[int]) -> float:
        """Of images of these classes: each class counts by its base rate."""
        rates = base_rates[list(columns)]
        return (
            -torch.xlogy(rates, rates).sum() / rates.sum().clamp(min=torch.finfo(rates.dtype).tiny)
        ).item()


def task_of(name: TaskName) -> Task:
    return {"multilabel": MultiLabel, "singlelabel": SingleLabel}[name]()


def column_mask(columns: Sequence[int], like: Tensor) -> Tensor:
    """True at `columns`, shape (labels,)."""
    chosen = torch.zeros(like.shape[1], dtype=torch.bool, device=like.device)
    chosen[list(columns)] = True
    return chosen


def mean_of_terms(terms: Tensor, scope: Tensor) -> Tensor:
    """Mean of each image's terms in scope, one or several of them, shape (batch,); NaN where there
    is none."""
    terms, scope = (values[:, None] if values.ndim == 1 else values for values in (terms, scope))
    return (terms * scope).sum(1) / scope.sum(1)


def uninformative(base_rates: Tensor) -> Tensor:
    """Logits of the best constant prediction; finite for a label that never or always occurs."""
    return base_rates.logit(eps=1e-6)


def others(logits: Tensor) -> Tensor:
    """Log-sum-exp over all labels but one, for each, shape (batch, labels)."""
    labels = logits.shape[1]
    itself = torch.eye(labels, dtype=torch.bool, device=logits.device)
    return logits.unsqueeze(1).expand(-1, labels, -1).masked_fill(itself, -torch.inf).logsumexp(2)


def bernoulli_entropy(probs: Tensor) -> Tensor:
    """-p ln p - (1 - p) ln(1 - p) per element, in nats, exactly 0 at p = 0 and p = 1."""
    return -(torch.xlogy(probs, probs) + torch.xlogy(1 - probs, 1 - probs))


def bernoulli_entropy_of_logits(logits: Tensor) -> Tensor:
    """As `bernoulli_entropy` of their sigmoid, without rounding to 0 where that rounds to 0 or 1."""
    size = logits.abs()
    return torch.log1p(torch.exp(-size)) + size * torch.sigmoid(-size)


def categorical_entropy(probs: Tensor) -> Tensor:
    """-sum p ln p over the last axis, in nats."""
    return -torch.xlogy(probs, probs).sum(-1)
