"""Embeddings: models without a classifying head, whose distances between images must stay."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlu.data.base import TaskName
from mlu.data.split import Split
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.models.tasks import Columns, Groups, OneAnswer, Relabelling
from mlu.system.errors import UserError


class Embedding(OneAnswer):
    """An embedding that is to keep its direction: what is compared between images is cosine.

    Outputs are its coordinates; targets are what the original gives of the same image, at length 1.
    Its terms are one for each image, 1 - cosine with that. No coordinate is ever forgotten.
    """

    name: TaskName = "multilabel"

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """1 - cosine, in [0, 2], shape (batch,)."""
        return 1 - F.cosine_similarity(logits, targets, dim=1)

    def column_loss(self, logits: Tensor, targets: Tensor, columns: Columns) -> Tensor:
        return self.terms(logits, targets).mean()

    def ignorance(self, base_rates: Tensor, columns: Columns) -> float:
        """The loss of a direction that has nothing to do with the image."""
        return 1.0

    def curvature_roots(self, logits: Tensor) -> Tensor:
        """Roots at the target itself: steps along the embedding cost nothing."""
        length = logits.norm(dim=1, keepdim=True).detach()
        along = logits.detach() / length
        across: Tensor = (logits - (logits * along).sum(1, keepdim=True) * along) / length
        return across

    def scope(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Images whose target is known; none where no coordinate is asked about."""
        return known[:, list(columns)].any(1)

    def images_of(self, targets: Tensor, known: Tensor, columns: Columns) -> Tensor:
        """Every image: each has an embedding."""
        return known.new_ones(len(known))

    def without(self, split: Split, columns: Columns) -> Split:
        return split.withhold(columns)

    def only(self, split: Split, columns: Columns) -> Split:
        return split

    def parts(self, split: Split, groups: Groups) -> list[tuple[Split, Groups]]:
        return [(split, groups)]

    def one_class(self, targets: Tensor) -> Tensor | None:
        return None

    def probs(self, logits: Tensor) -> Tensor:
        """Shares of the squared length, in [0, 1]."""
        return F.normalize(logits).square()

    def predictions(self, logits: Tensor) -> Tensor:
        """Whether a coordinate is positive."""
        return logits > 0

    def right_answers(
        self, logits: Tensor, targets: Tensor, known: Tensor, columns: Columns
    ) -> tuple[Tensor, Tensor]:
        """Whether each coordinate has the original's sign."""
        right = self.predictions(logits) == (targets > 0)
        return right[:, list(columns)], known[:, list(columns)]

    def log_odds(self, logits: Tensor) -> Tensor:
        """The coordinates, at length 1."""
        return F.normalize(logits)

    def confidences(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cosine with the target, shape (batch, 1)."""
        return F.cosine_similarity(logits, targets, dim=1).unsqueeze(1)

    def sureness(self, logits: Tensor, columns: Columns) -> Tensor:
        return self.probs(logits)[:, list(columns)].mean(1)

    def remembered(self, balanced_accuracy: float, recall: float) -> float:
        return abs(balanced_accuracy - 0.5)

    def entropy(self, logits: Tensor, columns: Columns) -> Tensor:
        """Entropy of the shares of the squared length."""
        shares = self.probs(logits)[:, list(columns)]
        return -torch.xlogy(shares, shares).sum(1)

    def modified_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.terms(logits, targets).unsqueeze(1)

    def divergence(self, logits: Tensor, reference: Tensor, columns: Columns) -> Tensor:
        """1 - cosine of both."""
        return self.terms(logits, reference)

    def leak_and_goal(
        self, respond: Callable[[Split], Tensor], learnt: Split, unseen: Split, columns: Columns
    ) -> tuple[float, float]:
        """Mean distance from the original, against none."""
        return self.terms(respond(unseen), unseen.targets).mean().item(), 0.0

    def soft_targets(self, logits: Tensor, columns: Columns) -> Tensor:
        return F.normalize(logits)

    def distillation(
        self, teacher: Tensor, student: Tensor, columns: Columns, temperature: float
    ) -> Tensor:
        """1 - cosine with the teacher, whatever the temperature."""
        return self.terms(student, teacher)

    def ignorant(self, logits: Tensor, columns: Columns, base_rates: Tensor) -> Tensor:
        return logits

    def ignorant_teacher(
        self, student: Tensor, teacher: Callable[[], Tensor], columns: Columns, base_rates: Tensor
    ) -> Tensor:
        return teacher()

    def silence(self, head: nn.Linear, columns: Columns, base_rates: Tensor) -> None:
        """Zeros."""
        with torch.no_grad():
            head.weight[list(columns)] = 0
            head.bias[list(columns)] = 0

    def redrawn_targets(
        self,
        targets: Tensor,
        columns: Columns,
        base_rates: Tensor,
        rule: Relabelling,
        generator: torch.Generator,
    ) -> Tensor:
        return targets

    def invented_targets(
        self, images: int, labels: int, columns: Columns, generator: torch.Generator
    ) -> Tensor:
        return torch.zeros(images, labels)


def identity_head(size: int) -> nn.Linear:
    """A head that gives an embedding of so many numbers as it is."""
    head = nn.Linear(size, size)
    with torch.no_grad():
        head.weight.copy_(torch.eye(size))
        head.bias.zero_()
    return head


def with_embedding_targets(net: Network, split: Split) -> Split:
    """A split whose first columns are what a network's features are to stay: at length 1.

    Raises:
        UserError: If an embedding is not finite, or has no length.
    """
    _, features = respond(net, split)
    lengths = features.norm(dim=1)
    if not lengths.isfinite().all() or not lengths.all():
        raise UserError("the model's embeddings are not finite, or zero: they have no direction")

    known = torch.ones(features.shape, dtype=torch.bool)

    return replace(
        split,
        targets=torch.cat([F.normalize(features), split.targets], 1),
        known=torch.cat([known, split.known], 1),
    )
