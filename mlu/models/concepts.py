"""Concepts: attributes that a model does not output and its features tell, read by rows of a head.

For as long as it takes to forget one, the head has a row for it: a logistic regression of the
features. Methods then meet an output like any other; afterwards the row is gone.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from mlu.data.split import Split
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.models.tasks import Columns, Groups, MultiLabel, Relabelling, Task
from mlu.system.errors import UserError
from mlu.system.seeding import generator

FEWEST_KNOWN = 10
"""Training images with a concept, and without it, that its row needs to be learnt."""

MOST_LEARNT = 20_000
"""Images that a row is learnt from; of more, some are drawn."""


class WithConcepts(Task):
    """A task on the first columns, and concepts behind them: independent labels.

    Its terms are those of the first task, one for each image or for each label, and then one for
    each concept; so is a scope. What is forgotten are concepts. What the first columns tell of them
    is not taken for granted (`withholds_labels`): whom an image shows tells each attribute of a
    person, so that else nothing would be left to forget.

    Attributes:
        kept: Meaning of the first columns.
        columns: How many these are.
    """

    withholds_labels: ClassVar[bool] = False

    def __init__(self, kept: Task, columns: int) -> None:
        self.kept, self.columns, self.concepts = kept, columns, MultiLabel()
        self.name = kept.name

    def divided(self, columns: Columns) -> tuple[list[int], list[int]]:
        """Columns that belong to the first task, and those that are concepts."""
        first = [column for column in columns if column < self.columns]
        return first, [column for column in columns if column >= self.columns]

    def joined(self, first: Tensor, behind: Tensor) -> Tensor:
        """Answers of the first task, and of all columns what holds for concepts, side by side."""
        first = first.unsqueeze(1) if first.ndim == 1 else first
        return torch.cat([first, behind[:, self.columns :].to(first.dtype)], 1)

    # Losses

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        first = self.kept.terms(logits[:, : self.columns], targets[:, : self.columns])
        return self.joined(first, self.concepts.terms(logits, targets))

    def column_loss(self, logits: Tensor, targets: Tensor, columns: Columns) -> Tensor:
        first, concepts = self.divided(columns)
        loss = logits.sum() * 0

        if first:
            kept = slice(self.columns)
            loss = loss + self.kept.column_loss(logits[:, kept], targets[:, kept], first)
        if concepts:
            loss = loss + self.concepts.column_loss(logits, targets, concepts)

        return loss

    def ignorance(self, base_rates: Tensor, columns: Columns) -> float:
        """The mean of both, where both are asked about."""
        first, concepts = self.divided(columns)
        found = [self.kept.ignorance(base_rates[: self.columns], first)] if first else []
        found += [self.concepts.ignorance(base_rates, concepts)] if concepts else []
        return sum(found) / max(len(found), 1)

    def curvature_roots(self, logits: Tensor) -> Tensor:
        first = self.kept.curvature_roots(logits[:, : self.columns])
        return self.joined(first, self.concepts.curvature_roots(logits))

    # What speaks of some columns

    def scope(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        first, concepts = self.divided(columns)
        own = self.kept.scope(targets[:, : self.columns], known[:, : self.columns], first)
        return self.joined(own, self.concepts.scope(targets, known, concepts))

    def rows(self, scope: Tensor, labels: int) -> Tensor:
        behind = scope.shape[1] - (labels - self.columns)
        own = scope[:, 0] if behind == 1 else scope[:, :behind]
        return torch.cat([self.kept.rows(own, self.columns), scope[:, behind:]], 1)

    def images_of(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """All images where a concept is among the columns: each has it, or lacks it."""
        first, concepts = self.divided(columns)
        if concepts:
            return self.concepts.images_of(targets, known, concepts)
        return self.kept.images_of(targets[:, : self.columns], known[:, : self.columns], first)

    def scope_of_images(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        everything = self.scope(targets, known, range(known.shape[1]))
        return everything & self.images_of(targets, known, columns)[:, None]

    def without(self, split: Split, columns: Columns) -> Split:
        first, concepts = self.divided(columns)
        kept = self.kept.without(split, first) if first else split
        return kept.withhold(concepts)

    def only(self, split: Split, columns: Columns) -> Split:
        first, concepts = self.divided(columns)
        others = [column for column in range(split.targets.shape[1]) if column not in columns]
        if concepts:
            return split.withhold(others)
        behind = [column for column in others if column >= self.columns]
        return self.kept.only(split, first).withhold(behind)

    def parts(self, split: Split, groups: Groups) -> list[tuple[Split, Groups]]:
        return [(self.only(split, columns), {name: columns}) for name, columns in groups.items()]

    def competing(self, columns: Columns, labels: int) -> list[int]:
        first, concepts = self.divided(columns)
        return [*(self.kept.competing(first, self.columns) if first else []), *concepts]

    def one_class(self, targets: Tensor) -> Tensor | None:
        return self.kept.one_class(targets[:, : self.columns])

    def other_labels(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Classes as well: a concept is none of them, so that they tell of it."""
        first, concepts = self.divided(columns)
        kept = slice(self.columns)
        if self.one_class(targets) is not None:
            return self.concepts.other_labels(targets, known, columns)

        own = self.kept.other_labels(targets[:, kept], known[:, kept], first)

        return torch.cat([own, self.concepts.other_labels(targets, known, concepts)], 1)

    # What outputs say

    def probs(self, logits: Tensor) -> Tensor:
        first = self.kept.probs(logits[:, : self.columns])
        return self.joined(first, self.concepts.probs(logits))

    def predictions(self, logits: Tensor) -> Tensor:
        first = self.kept.predictions(logits[:, : self.columns])
        return self.joined(first, self.concepts.predictions(logits))

    def right_answers(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> tuple[Tensor, Tensor]:
        first, concepts = self.divided(columns)
        right, told = self.concepts.right_answers(logits, targets, known, concepts)
        if not first:
            return right, told

        own, own_told = self.kept.right_answers(
            logits[:, : self.columns], targets[:, : self.columns], known[:, : self.columns], first
        )

        return torch.cat([own, right], 1), torch.cat([own_told, told], 1)

    def log_odds(self, logits: Tensor) -> Tensor:
        first = self.kept.log_odds(logits[:, : self.columns])
        return self.joined(first, self.concepts.log_odds(logits))

    def confidences(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Confidences of the first task, and then in each concept."""
        first = self.kept.confidences(logits[:, : self.columns], targets[:, : self.columns])
        return self.joined(first, self.concepts.confidences(logits, targets))

    def known_confidences(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> Tensor:
        first, concepts = self.divided(columns)
        found = self.concepts.known_confidences(logits, targets, known, concepts)
        if not first:
            return found

        own = self.kept.known_confidences(
            logits[:, : self.columns], targets[:, : self.columns], known[:, : self.columns], first
        )

        return torch.cat([own, found], 1)

    def sureness(self, logits: Tensor, columns: Columns) -> Tensor:
        first, concepts = self.divided(columns)
        found = [self.kept.sureness(logits[:, : self.columns], first)] if first else []
        found += [self.concepts.sureness(logits, concepts)] if concepts else []
        return torch.stack(found).mean(0)

    def remembered(self, balanced_accuracy: float, recall: float) -> float:
        return self.concepts.remembered(balanced_accuracy, recall)

    def entropy(self, logits: Tensor, columns: Columns) -> Tensor:
        """Sum of both tasks' entropies."""
        first, concepts = self.divided(columns)
        found = self.concepts.entropy(logits, concepts)
        return found + self.kept.entropy(logits[:, : self.columns], first) if first else found

    def modified_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        first = self.kept.modified_entropy(logits[:, : self.columns], targets[:, : self.columns])
        return self.joined(first, self.concepts.modified_entropy(logits, targets))

    def divergence(self, logits: Tensor, reference: Tensor, columns: Columns) -> Tensor:
        """The mean of both tasks' divergences."""
        first, concepts = self.divided(columns)
        kept, found = slice(self.columns), []
        if first:
            found.append(self.kept.divergence(logits[:, kept], reference[:, kept], first))
        if concepts:
            found.append(self.concepts.divergence(logits, reference, concepts))
        return torch.stack(found).mean(0)

    def leak_and_goal(
        self, respond: Callable[[Split], Tensor], learnt: Split, unseen: Split, columns: Columns
    ) -> tuple[float, float]:
        """The figure and goal of concepts."""
        return self.concepts.leak_and_goal(respond, learnt, unseen, self.divided(columns)[1])

    # What is taught

    def soft_targets(self, logits: Tensor, columns: Columns) -> Tensor:
        first, concepts = self.divided(columns)
        said = logits[:, : self.columns]
        own = self.kept.soft_targets(said, first) if first else torch.zeros_like(said)
        return self.joined(own, self.concepts.soft_targets(logits, concepts))

    def distillation(
        self, teacher: Tensor, student: Tensor, columns: Columns, temperature: float
    ) -> Tensor:
        """Sum of both tasks' divergences."""
        first, concepts = self.divided(columns)
        kept, apart = slice(self.columns), student.sum(1) * 0

        if first:
            apart = apart + self.kept.distillation(
                teacher[:, kept], student[:, kept], first, temperature
            )
        if concepts:
            apart = apart + self.concepts.distillation(teacher, student, concepts, temperature)

        return apart

    def ignorant(self, logits: Tensor, columns: Columns, base_rates: Tensor) -> Tensor:
        first, concepts = self.divided(columns)
        own = logits[:, : self.columns]
        own = self.kept.ignorant(own, first, base_rates[: self.columns]) if first else own
        return self.joined(own, self.concepts.ignorant(logits, concepts, base_rates))

    def ignorant_teacher(
        self, student: Tensor, teacher: Callable[[], Tensor], columns: Columns, base_rates: Tensor
    ) -> Tensor:
        """Logits of each task; elsewhere what the student says."""
        first, concepts = self.divided(columns)
        own = student.detach()[:, : self.columns]

        if first:
            own = self.kept.ignorant_teacher(
                own, lambda: teacher()[:, : self.columns], first, base_rates[: self.columns]
            )

        return self.joined(own, self.concepts.ignorant(student.detach(), concepts, base_rates))

    def silence(self, head: nn.Linear, columns: Columns, base_rates: Tensor) -> None:
        first, concepts = self.divided(columns)
        self.kept.silence(head, first, base_rates)
        self.concepts.silence(head, concepts, base_rates)

    def redrawn_targets(
        self,
        targets: Tensor,
        columns: Columns,
        base_rates: Tensor,
        rule: Relabelling,
        generator: torch.Generator,
    ) -> Tensor:
        first, concepts = self.divided(columns)
        own, rates = targets[:, : self.columns], base_rates[: self.columns]
        if first:
            own = self.kept.redrawn_targets(own, first, rates, rule, generator)
        return self.joined(
            own, self.concepts.redrawn_targets(targets, concepts, base_rates, rule, generator)
        )

    def invented_targets(
        self, images: int, labels: int, columns: Columns, generator: torch.Generator
    ) -> Tensor:
        first, concepts = self.divided(columns)
        own = torch.zeros(images, self.columns)
        if first:
            own = self.kept.invented_targets(images, self.columns, first, generator)
        return self.joined(own, self.concepts.invented_targets(images, labels, concepts, generator))


# Rows of a head


def with_rows(net: Network, columns: Columns) -> Network:
    """A copy of a network with more outputs, at these columns, which say nothing yet: zeros."""
    net = copy.deepcopy(net)
    old = net.head
    labels = old.out_features + len(columns)
    kept = [column for column in range(labels) if column not in columns]
    net.head = nn.Linear(old.in_features, labels).to(old.weight)

    with torch.no_grad():
        net.head.weight.zero_()[kept] = old.weight
        net.head.bias.zero_()[kept] = old.bias
    net.head.train(old.training).requires_grad_(old.weight.requires_grad)

    return net


def without_rows(net: Network, columns: Columns) -> Network:
    """A copy of a network without some of its outputs."""
    net = copy.deepcopy(net)
    old = net.head
    kept = [column for column in range(old.out_features) if column not in columns]
    net.head = nn.Linear(old.in_features, len(kept)).to(old.weight)

    with torch.no_grad():
        net.head.weight.copy_(old.weight[kept])
        net.head.bias.copy_(old.bias[kept])
    net.head.train(old.training).requires_grad_(old.weight.requires_grad)

    return net


def with_probes(
    net: Network, split: Split, columns: Columns, names: Sequence[str], seed: int
) -> Network:
    """A copy of a network whose outputs `columns` are read from its features.

    Each is a logistic regression on standardised features, folded into a row of the head: that is
    what the output says where nothing else was trained to say it.

    Args:
        net: Has a row for each column, whatever is in it.
        split: Images to learn from, with targets in these columns.
        columns: Of the concepts.
        names: Of the concepts, for messages.
        seed: Draws images where there are more than MOST_LEARNT.

    Raises:
        UserError: If too few images are known to have a concept, or to lack it.
    """
    for column, name in zip(columns, names, strict=True):
        refuse_rare(split, column, name)

    rows = torch.randperm(len(split), generator=generator(seed))[:MOST_LEARNT].sort().values
    learnt = split.subset(rows)
    net = copy.deepcopy(net)
    _, features = respond(net, learnt)
    numbers = features.double().numpy()

    with torch.no_grad():
        for column in columns:
            known = learnt.known[:, column].numpy()
            truth = learnt.targets[:, column].numpy()[known] > 0
            weight, bias = folded_regression(probe_of(numbers[known], truth))
            net.head.weight[column] = torch.from_numpy(weight).to(net.head.weight)
            net.head.bias[column] = bias

    return net


def refuse_rare(split: Split, column: int, name: str) -> None:
    known, targets = split.known[:, column], split.targets[:, column] > 0
    fewest = min(int((known & targets).sum()), int((known & ~targets).sum()))
    if fewest < FEWEST_KNOWN:
        raise UserError(
            f"the concept {name!r} cannot be read: {fewest} training images are known to have it, "
            f"or to lack it, give at least {FEWEST_KNOWN} of each"
        )


def probe_of(features: np.ndarray, truth: np.ndarray) -> Pipeline:
    """A logistic regression on standardised features, by scikit-learn.

    Args:
        features: Shape (images, features).
        truth: Bool, shape (images,), of both kinds.
    """
    probe = Pipeline([("scale", StandardScaler()), ("read", LogisticRegression(max_iter=1000))])
    with warnings.catch_warnings():
        # A separable concept has no finite optimum beside its penalty's; it reads well long before.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features, truth)

    return probe


def folded_regression(probe: Pipeline) -> tuple[np.ndarray, float]:
    """Weights, shape (features,), and bias by which plain features give a probe's log-odds."""
    scale, read = probe.named_steps["scale"], probe.named_steps["read"]
    weight: np.ndarray = read.coef_[0] / scale.scale_
    return weight, float(read.intercept_[0] - weight @ scale.mean_)
