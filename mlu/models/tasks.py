"""Multi-label and single-label classification: all that depends on the meaning of the outputs.

Targets are 0/1 with shape (batch, labels) in both tasks; of a single-label task they are one-hot.
A *scope* says which terms of a loss count: shape (batch, labels) in a multi-label task, (batch,) in
a single-label one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from mlu.data.base import TaskName
from mlu.data.split import Split

NEVER = -1e4
"""Bias of a class that must never be predicted: its probability underflows to 0 in float32."""

Columns = Sequence[int]
"""Numbers of labels: positions along the last axis of logits and targets."""

Groups = Mapping[str, tuple[int, ...]]
"""Sets of columns, by name."""

Relabelling = Literal["prior", "uniform", "flip"]
"""Rule by which new targets are drawn: by the base rate, evenly, or never the old one."""


@dataclass(frozen=True)
class ForgetRequest:
    """Which labels to forget. Numbers are columns: the last axis of logits and targets."""

    forgotten: tuple[int, ...]
    retained: tuple[int, ...]


class Task(ABC):
    """Losses, predictions and statistics of one kind of output.

    Attributes:
        name: Name of the task.
        withholds_labels: Whether an image can be trained on without one of its labels.
    """

    name: TaskName
    withholds_labels: ClassVar[bool]

    # Losses

    @abstractmethod
    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses before any mean, in nats, in the shape of a scope. Targets may be soft."""

    @abstractmethod
    def column_loss(self, logits: Tensor, targets: Tensor, columns: Columns) -> Tensor:
        """Mean loss of images made up for `columns` alone: a scalar in nats."""

    def grouped_loss(
        self, logits: Tensor, targets: Tensor, known: Tensor, groups: Sequence[Columns]
    ) -> Tensor:
        """Loss to which each group of columns adds its mean, however many there are: a scalar.

        Together the groups hold all columns. Classes share one distribution: of these it is the
        mean over all images.
        """
        scopes = [self.scope(targets, known, columns) for columns in groups]
        return torch.stack([self.loss(logits, targets, scope) for scope in scopes]).sum()

    def loss(self, logits: Tensor, targets: Tensor, scope: Tensor) -> Tensor:
        """Mean of the terms in scope: a scalar in nats, 0 where the scope is empty.

        >>> task, logits, targets = MultiLabel(), torch.zeros(1, 2), torch.eye(2)[:1]
        >>> task.loss(logits, targets, task.scope(targets, targets < 2, columns=[1]))
        tensor(0.6931)
        """
        terms = self.terms(logits, targets)
        return (terms * scope).sum() / scope.sum().clamp(min=1)

    def image_loss(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> Tensor:
        """Mean of each image's terms that speak of `columns`, in nats, shape (batch,).

        NaN where there is none.
        """
        return mean_of_terms(self.terms(logits, targets), self.scope(targets, known, columns))

    def label_loss(self, logits: Tensor, targets: Tensor, columns: Columns) -> Tensor:
        """Binary cross-entropy of each of `columns` against the rest, shape (batch, len(columns)).

        Of every image, known or not.
        """
        columns = list(columns)
        odds = self.log_odds(logits)[:, columns]
        return F.binary_cross_entropy_with_logits(odds, targets[:, columns], reduction="none")

    @abstractmethod
    def ignorance(self, base_rates: Tensor, columns: Columns) -> float:
        """Mean loss of the constant base rate on what speaks of `columns`, in nats."""

    @abstractmethod
    def curvature_roots(self, logits: Tensor) -> Tensor:
        """Numbers whose squared gradients by the weights sum to the Gauss-Newton diagonal.

        Shape (batch, labels); linear in the logits. Their outer products by logits, r_c = d root_c
        / d logits, sum to the Hessian of the image's loss by its logits, whatever its target.
        """

    # What speaks of some columns

    @abstractmethod
    def scope(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Which terms speak of `columns`: bool, see the module's text."""

    @abstractmethod
    def rows(self, scope: Tensor, labels: int) -> Tensor:
        """A scope as one entry for each label: bool, shape (batch, labels)."""

    @abstractmethod
    def images_of(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Images that can be asked about `columns`: bool, shape (batch,)."""

    @abstractmethod
    def scope_of_images(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """All known terms of the images that can be asked about `columns`: a scope."""

    @abstractmethod
    def without(self, split: Split, columns: Columns) -> Split:
        """The rest of a split for a model that must not learn `columns`."""

    @abstractmethod
    def only(self, split: Split, columns: Columns) -> Split:
        """The part of a split that speaks of `columns`, and of nothing else."""

    @abstractmethod
    def parts(self, split: Split, groups: Groups) -> list[tuple[Split, Groups]]:
        """Parts of a split, each with the groups of columns that its images speak of."""

    @abstractmethod
    def competing(self, columns: Columns, labels: int) -> list[int]:
        """All columns that share a distribution with one of these, itself included, of `labels`."""

    @abstractmethod
    def one_class(self, targets: Tensor) -> Tensor | None:
        """Number of each image's class, shape (batch,); None where images have several labels."""

    @abstractmethod
    def other_labels(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Numbers in [0, 1] by which the true `columns` may tell of others, shape (batch, numbers).

        An unknown target is neither true nor false: it stands halfway. There is no number where
        `columns` say nothing but whether another one is true.
        """

    # What outputs say

    @abstractmethod
    def probs(self, logits: Tensor) -> Tensor:
        """Probabilities in [0, 1], shape (batch, labels)."""

    @abstractmethod
    def predictions(self, logits: Tensor) -> Tensor:
        """0/1, bool, shape (batch, labels)."""

    @abstractmethod
    def right_answers(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> tuple[Tensor, Tensor]:
        """Which answers are right, and of which that is known, both bool, shape (batch, answers).

        One answer for each of `columns`; an image's class is a single answer, whatever these are.
        """

    @abstractmethod
    def log_odds(self, logits: Tensor) -> Tensor:
        """ln p / (1 - p) of each label against the rest, shape (batch, labels)."""

    @abstractmethod
    def confidences(self, logits: Tensor, targets: Tensor) -> Tensor:
        """ln p / (1 - p) of what is true: of each label's value, or of the class.

        Shape (batch, labels) or (batch, 1).
        """

    @abstractmethod
    def known_confidences(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> Tensor:
        """Confidences in `columns`, shape (batch, len(columns)), NaN where a target is unknown.

        Of a class there is but the one in the true class, shape (batch, 1), whatever the columns.
        """

    @abstractmethod
    def sureness(self, logits: Tensor, columns: Columns) -> Tensor:
        """Mean distance of `columns` from saying nothing, in [0, 1], shape (batch,)."""

    @abstractmethod
    def remembered(self, balanced_accuracy: float, recall: float) -> float:
        """Distance of a forgotten output from saying nothing, >= 0, by what it predicts.

        Args:
            balanced_accuracy: Of the label against the rest, in [0, 1].
            recall: Share of its images that are predicted to have it, in [0, 1].
        """

    @abstractmethod
    def entropy(self, logits: Tensor, columns: Columns) -> Tensor:
        """Entropy of the outputs in nats, shape (batch,)."""

    @abstractmethod
    def modified_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Entropy that grows where the model is sure and wrong, in nats.

        -(1 - p_y) ln p_y - sum over other classes c of p_c ln(1 - p_c) (Song and Mittal, 2021).
        Shape (batch, labels) or (batch, 1).
        """

    @abstractmethod
    def divergence(self, logits: Tensor, reference: Tensor, columns: Columns) -> Tensor:
        """Jensen-Shannon divergence between two models' outputs in nats, shape (batch,).

        In [0, ln 2].
        """

    def aurocs(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> list[float]:
        """AUROC of each of `columns` against the rest, of those known to occur both ways."""
        odds, found = self.log_odds(logits), []

        for column in columns:
            seen, truth = known[:, column], targets[:, column].long()
            if truth[seen].unique().numel() == 2:
                found.append(binary_auroc(odds[seen, column], truth[seen]).item())

        return found

    @abstractmethod
    def leak_and_goal(
        self, respond: Callable[[Split], Tensor], learnt: Split, unseen: Split, columns: Columns
    ) -> tuple[float, float]:
        """Figure of what outputs tell of `columns`, and its value where these are forgotten.

        Args:
            respond: Gives the logits of a split.
            learnt: Images that speak of nothing but `columns`, and were trained on.
            unseen: Images that were not.
            columns: What is forgotten.
        """

    # What is taught

    @abstractmethod
    def soft_targets(self, logits: Tensor, columns: Columns) -> Tensor:
        """A teacher's outputs as targets silent on other columns, shape (batch, labels)."""

    @abstractmethod
    def distillation(
        self, teacher: Tensor, student: Tensor, columns: Columns, temperature: float
    ) -> Tensor:
        """T^2 KL(teacher || student) at a temperature T, in nats, >= 0, shape (batch,)."""

    @abstractmethod
    def ignorant(self, logits: Tensor, columns: Columns, base_rates: Tensor) -> Tensor:
        """A teacher's logits without what they say of `columns`, shape (batch, labels)."""

    @abstractmethod
    def ignorant_teacher(
        self, student: Tensor, teacher: Callable[[], Tensor], columns: Columns, base_rates: Tensor
    ) -> Tensor:
        """Logits that know nothing of `columns`, shape (batch, labels); without a gradient.

        Args:
            student: Logits of the network that is taught.
            teacher: Gives the teacher's logits; asked only where they bear on `columns`.
            columns: What is forgotten.
            base_rates: Share of positives of each label, shape (labels,).
        """

    @abstractmethod
    def silence(self, head: nn.Linear, columns: Columns, base_rates: Tensor) -> None:
        """Make the outputs `columns` carry no information about the image, in place."""

    @abstractmethod
    def redrawn_targets(
        self,
        targets: Tensor,
        columns: Columns,
        base_rates: Tensor,
        rule: Relabelling,
        generator: torch.Generator,
    ) -> Tensor:
        """Targets with random ones where they speak of `columns`, shape (batch, labels)."""

    @abstractmethod
    def invented_targets(
        self, images: int, labels: int, columns: Columns, generator: torch.Generator
    ) -> Tensor:
        """Targets for images made up for `columns`, shape (images, labels): 0 elsewhere."""


class MultiLabel(Task):
    """Independent labels: sigmoid and binary cross-entropy per column."""

    name: TaskName = "multilabel"
    withholds_labels: ClassVar[bool] = True

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def column_loss(self, logits: Tensor, targets: Tensor, columns: Columns) -> Tensor:
        return self.label_loss(logits, targets, columns).mean()

    def ignorance(self, base_rates: Tensor, columns: Columns) -> float:
        return bernoulli_entropy(base_rates[list(columns)]).mean().item()

    def curvature_roots(self, logits: Tensor) -> Tensor:
        probs = self.probs(logits).detach()
        return (probs * (1 - probs)).sqrt() * logits

    def scope(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        return known & column_mask(columns, known)

    def rows(self, scope: Tensor, labels: int) -> Tensor:
        return scope

    def images_of(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Every image: each has all labels."""
        return known.new_ones(len(known))

    def scope_of_images(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        return self.scope(targets, known, range(known.shape[1]))

    def without(self, split: Split, columns: Columns) -> Split:
        """All images, without the targets of the columns."""
        return split.withhold(columns)

    def only(self, split: Split, columns: Columns) -> Split:
        """All images, with no targets but the columns'."""
        return split.withhold(
            [column for column in range(split.targets.shape[1]) if column not in columns]
        )

    def parts(self, split: Split, groups: Groups) -> list[tuple[Split, Groups]]:
        """The whole: every image speaks of all groups, so that one forward pass serves them."""
        return [(split, groups)]

    def competing(self, columns: Columns, labels: int) -> list[int]:
        """No others: each label has a distribution of its own."""
        return list(columns)

    def one_class(self, targets: Tensor) -> Tensor | None:
        return None

    def other_labels(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        return torch.where(known, targets, 0.5)[:, list(columns)]

    def probs(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def predictions(self, logits: Tensor) -> Tensor:
        return logits > 0

    def right_answers(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> tuple[Tensor, Tensor]:
        columns = list(columns)
        right = self.predictions(logits) == (targets > 0)
        return right[:, columns], known[:, columns]

    def log_odds(self, logits: Tensor) -> Tensor:
        return logits

    def confidences(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (2 * targets - 1) * logits

    def known_confidences(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> Tensor:
        found = torch.where(known, self.confidences(logits, targets), torch.nan)
        return found[:, list(columns)]

    def sureness(self, logits: Tensor, columns: Columns) -> Tensor:
        """Distance of the probabilities from 1/2."""
        return (self.probs(logits)[:, list(columns)] - 0.5).abs().mean(1)

    def remembered(self, balanced_accuracy: float, recall: float) -> float:
        """The balanced accuracy's distance from a coin's: a constant output says nothing."""
        return abs(balanced_accuracy - 0.5)

    def entropy(self, logits: Tensor, columns: Columns) -> Tensor:
        """Sum of the columns' binary entropies."""
        return bernoulli_entropy_of_logits(logits[:, columns]).sum(1)

    def modified_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Both classes of a label, true and not, give the same term."""
        odds = self.confidences(logits, targets)
        return 2 * torch.sigmoid(-odds) * F.softplus(-odds)

    def divergence(self, logits: Tensor, reference: Tensor, columns: Columns) -> Tensor:
        """Mean over the columns of that of two Bernoullis, never of a softmax over labels."""
        ours, theirs = self.probs(logits[:, columns]), self.probs(reference[:, columns])
        middle = bernoulli_entropy((ours + theirs) / 2)
        apart = middle - (bernoulli_entropy(ours) + bernoulli_entropy(theirs)) / 2
        return apart.mean(1).clamp(min=0)

    def leak_and_goal(
        self, respond: Callable[[Split], Tensor], learnt: Split, unseen: Split, columns: Columns
    ) -> tuple[float, float]:
        """AUROC on the unseen images, of the label where it is furthest from 0.5, against 0.5."""
        aurocs = self.aurocs(respond(unseen), unseen.targets, unseen.known, columns)
        return max([0.5, *aurocs], key=lambda auroc: abs(auroc - 0.5)), 0.5

    def soft_targets(self, logits: Tensor, columns: Columns) -> Tensor:
        return self.probs(logits) * column_mask(columns, logits)

    def distillation(
        self, teacher: Tensor, student: Tensor, columns: Columns, temperature: float
    ) -> Tensor:
        """Mean over the columns of that of two Bernoullis, never of a softmax over labels."""
        columns = list(columns)
        theirs, ours = teacher[:, columns] / temperature, student[:, columns] / temperature
        cross = F.binary_cross_entropy_with_logits(ours, theirs.sigmoid(), reduction="none")
        return temperature**2 * (cross - bernoulli_entropy_of_logits(theirs)).mean(1)

    def ignorant(self, logits: Tensor, columns: Columns, base_rates: Tensor) -> Tensor:
        """The base rate in these columns."""
        constant = uninformative(base_rates).to(logits)
        return torch.where(column_mask(columns, logits), constant, logits)

    def ignorant_teacher(
        self, student: Tensor, teacher: Callable[[], Tensor], columns: Columns, base_rates: Tensor
    ) -> Tensor:
        """Base rates, which no teacher need be asked for; elsewhere what the student says."""
        return self.ignorant(student.detach(), columns, base_rates)

    def silence(self, head: nn.Linear, columns: Columns, base_rates: Tensor) -> None:
        """Row zero, bias logit(base rate): the best constant prediction."""
        with torch.no_grad():
            head.weight[list(columns)] = 0
            head.bias[list(columns)] = uninformative(base_rates)[list(columns)].to(head.bias)

    def redrawn_targets(
        self,
        targets: Tensor,
        columns: Columns,
        base_rates: Tensor,
        rule: Relabelling,
        generator: torch.Generator,
    ) -> Tensor:
        """A 0 or 1 for each image in these columns; `flip` inverts, and draws nothing."""
        targets = targets.clone()

        for column in columns:
            old = targets[:, column]
            rate = base_rates[column] if rule == "prior" else torch.tensor(0.5)
            drawn = (torch.rand(len(old), generator=generator) < rate).to(old)
            targets[:, column] = 1 - old if rule == "flip" else drawn

        return targets

    def invented_targets(
        self, images: int, labels: int, columns: Columns, generator: torch.Generator
    ) -> Tensor:
        """A random half of the images has each label, so that no side of it is favoured."""
        targets = torch.zeros(images, labels)
        for column in columns:
            targets[torch.randperm(images, generator=generator)[: images // 2], column] = 1
        return targets


class OneAnswer(Task):
    """All that outputs which together give one answer of an image, such as its class, share.

    A scope has one entry for each image.
    """

    withholds_labels: ClassVar[bool] = False

    def grouped_loss(
        self, logits: Tensor, targets: Tensor, known: Tensor, groups: Sequence[Columns]
    ) -> Tensor:
        """Mean over all images of which something is known."""
        return self.loss(logits, targets, known.any(1))

    def rows(self, scope: Tensor, labels: int) -> Tensor:
        return scope.unsqueeze(1).expand(-1, labels)

    def scope_of_images(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        return self.scope(targets, known, columns)

    def competing(self, columns: Columns, labels: int) -> list[int]:
        """All of them: together they give one answer."""
        return list(range(labels))

    def other_labels(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """No numbers: of one answer, the rest is what this part is not."""
        return targets.new_empty(len(targets), 0)

    def known_confidences(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> Tensor:
        return self.confidences(logits, targets)


class SingleLabel(OneAnswer):
    """One class per image: softmax and cross-entropy."""

    name: TaskName = "singlelabel"

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none")

    def column_loss(self, logits: Tensor, targets: Tensor, columns: Columns) -> Tensor:
        """Cross-entropy over all classes: the images' own are among the columns."""
        return F.cross_entropy(logits, targets)

    def ignorance(self, base_rates: Tensor, columns: Columns) -> float:
        """Mean over images of these classes: each class counts by its base rate."""
        rates = base_rates[list(columns)]
        share = rates.sum().clamp(min=torch.finfo(rates.dtype).tiny)
        return (-torch.xlogy(rates, rates).sum() / share).item()

    def curvature_roots(self, logits: Tensor) -> Tensor:
        probs = self.probs(logits).detach()
        return probs.sqrt() * (logits - (probs * logits).sum(1, keepdim=True))

    def scope(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Images whose class is among the columns and known."""
        return (known & column_mask(columns, known) & (targets > 0)).any(1)

    def images_of(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Images of these classes."""
        return self.scope(targets, known, columns)

    def without(self, split: Split, columns: Columns) -> Split:
        """The images of the other classes."""
        return split.subset((split.targets[:, list(columns)] == 0).all(1).nonzero().squeeze(1))

    def only(self, split: Split, columns: Columns) -> Split:
        """The images of these classes."""
        return split.subset((split.targets[:, list(columns)] > 0).any(1).nonzero().squeeze(1))

    def parts(self, split: Split, groups: Groups) -> list[tuple[Split, Groups]]:
        """The images of each group's classes."""
        return [(self.only(split, columns), {name: columns}) for name, columns in groups.items()]

    def one_class(self, targets: Tensor) -> Tensor | None:
        return targets.argmax(1)

    def probs(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def predictions(self, logits: Tensor) -> Tensor:
        return F.one_hot(logits.argmax(1), logits.shape[1]).bool()

    def right_answers(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> tuple[Tensor, Tensor]:
        right = self.predictions(logits) == (targets > 0)
        return right.all(1, keepdim=True), known.all(1, keepdim=True)

    def log_odds(self, logits: Tensor) -> Tensor:
        return logits - others(logits)

    def confidences(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (self.log_odds(logits) * targets).sum(1, keepdim=True)

    def sureness(self, logits: Tensor, columns: Columns) -> Tensor:
        """The probabilities themselves, for a class never seen is never said."""
        return self.probs(logits)[:, list(columns)].mean(1)

    def remembered(self, balanced_accuracy: float, recall: float) -> float:
        """The same, and how often the class is still said: one never seen is never said."""
        return abs(balanced_accuracy - 0.5) + recall

    def entropy(self, logits: Tensor, columns: Columns) -> Tensor:
        """Entropy of the softmax over the columns."""
        return categorical_entropy(logits[:, columns].softmax(1))

    def modified_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        odds = self.log_odds(logits)
        true = torch.sigmoid(-odds) * F.softplus(-odds)
        other = torch.sigmoid(odds) * F.softplus(odds)
        return torch.where(targets > 0, true, other).sum(1, keepdim=True)

    def divergence(self, logits: Tensor, reference: Tensor, columns: Columns) -> Tensor:
        """Divergence between the softmaxes over the columns."""
        ours, theirs = logits[:, columns].softmax(1), reference[:, columns].softmax(1)
        middle = categorical_entropy((ours + theirs) / 2)
        return (middle - (categorical_entropy(ours) + categorical_entropy(theirs)) / 2).clamp(min=0)

    def leak_and_goal(
        self, respond: Callable[[Split], Tensor], learnt: Split, unseen: Split, columns: Columns
    ) -> tuple[float, float]:
        """Share of wrong answers on learnt images of these classes, against that on unseen ones."""
        unseen = self.only(unseen, columns)
        return self._error(respond, learnt), self._error(respond, unseen)

    def _error(self, respond: Callable[[Split], Tensor], split: Split) -> float:
        """Share of a split's images whose class is not predicted; 0 where there are none."""
        if not len(split):
            return 0.0
        right = (self.predictions(respond(split)) & (split.targets > 0)).any(1)
        return 1 - right.float().mean().item()

    def soft_targets(self, logits: Tensor, columns: Columns) -> Tensor:
        """The softmax over the columns alone: the teacher's rest is shared out among them."""
        return logits.masked_fill(~column_mask(columns, logits), -torch.inf).softmax(1)

    def distillation(
        self, teacher: Tensor, student: Tensor, columns: Columns, temperature: float
    ) -> Tensor:
        """Divergence of the softmaxes over all classes, whatever the columns: they share one."""
        theirs = teacher / temperature
        cross = F.cross_entropy(student / temperature, theirs.softmax(1), reduction="none")
        return temperature**2 * (cross - categorical_entropy(theirs.softmax(1)))

    def ignorant(self, logits: Tensor, columns: Columns, base_rates: Tensor) -> Tensor:
        """No chance for these classes; the others share what is left as before."""
        return logits.masked_fill(column_mask(columns, logits), NEVER)

    def ignorant_teacher(
        self, student: Tensor, teacher: Callable[[], Tensor], columns: Columns, base_rates: Tensor
    ) -> Tensor:
        """The teacher's distribution over the other classes."""
        return self.ignorant(teacher(), columns, base_rates)

    def silence(self, head: nn.Linear, columns: Columns, base_rates: Tensor) -> None:
        """Row zero and a bias so low that the class is never predicted."""
        with torch.no_grad():
            head.weight[list(columns)] = 0
            head.bias[list(columns)] = NEVER

    def redrawn_targets(
        self,
        targets: Tensor,
        columns: Columns,
        base_rates: Tensor,
        rule: Relabelling,
        generator: torch.Generator,
    ) -> Tensor:
        """A new class for each image of these classes: `prior` gives it to none of them."""
        targets, columns = targets.clone(), list(columns)
        rows = (targets[:, columns] > 0).any(1).nonzero().squeeze(1)
        chances = torch.ones(len(rows), targets.shape[1])
        if rule == "prior":
            chances[:] = base_rates
            chances[:, columns] = 0
        elif rule == "flip":
            chances -= targets[rows]

        if len(rows):
            drawn = torch.multinomial(chances, 1, generator=generator).squeeze(1)
            targets[rows] = F.one_hot(drawn, targets.shape[1]).to(targets)

        return targets

    def invented_targets(
        self, images: int, labels: int, columns: Columns, generator: torch.Generator
    ) -> Tensor:
        """One of these classes for each image, in turn."""
        targets, number = torch.zeros(images, labels), torch.arange(images)
        targets[number, torch.tensor(list(columns))[number % len(columns)]] = 1
        return targets


def task_of(name: TaskName) -> Task:
    """The task of a name.

    >>> task_of("singlelabel").predictions(torch.tensor([[0.1, 2.0, 0.3]]))
    tensor([[False,  True, False]])
    """
    return {"multilabel": MultiLabel, "singlelabel": SingleLabel}[name]()


def column_mask(columns: Columns, like: Tensor) -> Tensor:
    """True at `columns`, shape (labels,).

    >>> column_mask([2, 0], torch.empty(5, 3))
    tensor([ True, False,  True])
    """
    chosen = torch.zeros(like.shape[1], dtype=torch.bool, device=like.device)
    chosen[list(columns)] = True
    return chosen


def mean_of_terms(terms: Tensor, scope: Tensor) -> Tensor:
    """Mean of each image's terms in scope, one or several of them, shape (batch,).

    NaN where there is none.

    >>> mean_of_terms(torch.tensor([[1.0, 3.0]]), torch.tensor([[True, True]]))
    tensor([2.])
    """
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
    """-p ln p - (1 - p) ln(1 - p) per element, in nats, exactly 0 at p = 0 and p = 1.

    >>> bernoulli_entropy(torch.tensor([0.5, 0.1]))
    tensor([0.6931, 0.3251])
    """
    return -(torch.xlogy(probs, probs) + torch.xlogy(1 - probs, 1 - probs))


def bernoulli_entropy_of_logits(logits: Tensor) -> Tensor:
    """`bernoulli_entropy` of their sigmoid, also where that would round to 0 or 1."""
    size = logits.abs()
    return torch.log1p(torch.exp(-size)) + size * torch.sigmoid(-size)


def categorical_entropy(probs: Tensor) -> Tensor:
    """-sum p ln p over the last axis, in nats."""
    return -torch.xlogy(probs, probs).sum(-1)
