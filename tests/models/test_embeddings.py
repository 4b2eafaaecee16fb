import numpy as np
import pytest
import torch
from torch import nn

from mlu.data.split import Split
from mlu.models.concepts import WithConcepts
from mlu.models.embeddings import Embedding, identity_head, with_embedding_targets
from mlu.models.network import Network
from mlu.system.errors import UserError

TASK, SIZE = Embedding(), 4
EVERY = range(SIZE)


def drawn(seed=0, images=30):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, SIZE, dtype=torch.float64, generator=generator)


def test_the_loss_is_one_less_the_cosine_by_hand():
    logits, targets = drawn(), nn.functional.normalize(drawn(1))
    expected = [
        1 - float(a @ b) / float(a.norm() * b.norm()) for a, b in zip(logits, targets, strict=True)
    ]
    terms = TASK.terms(logits, targets)
    torch.testing.assert_close(terms, torch.tensor(expected, dtype=torch.float64))
    known = torch.ones(30, SIZE, dtype=torch.bool)
    known[:10] = False
    scope = TASK.scope(targets, known, EVERY)
    torch.testing.assert_close(TASK.loss(logits, targets, scope), terms[10:].mean())
    assert TASK.loss(logits, targets, TASK.scope(targets, known, [])) == 0
    # Its length is free, its direction is not.
    torch.testing.assert_close(TASK.terms(3 * logits, targets), terms)
    assert TASK.terms(-targets, targets).min() > 1.99


def test_at_the_target_the_curvature_roots_give_the_hessian():
    """The second derivation: by autograd."""
    one = drawn()[0]
    target = nn.functional.normalize(one[None])
    dense = torch.func.hessian(lambda z: TASK.terms(z[None], target).sum())(one)
    slopes = torch.func.jacrev(lambda z: TASK.curvature_roots(z[None])[0])(one)
    torch.testing.assert_close(slopes.T @ slopes, dense, atol=1e-9, rtol=1e-6)


def test_beside_concepts_the_loss_is_the_sum_of_both():
    whole = WithConcepts(TASK, SIZE)
    logits = torch.cat([drawn(), drawn(2)[:, :1]], 1)
    concept = (drawn(3)[:, :1] > 0).double()
    targets = torch.cat([nn.functional.normalize(drawn(1)), concept], 1)
    known = torch.ones(30, SIZE + 1, dtype=torch.bool)
    found = whole.grouped_loss(logits, targets, known, [tuple(EVERY), (SIZE,)])
    own = TASK.terms(logits[:, :SIZE], targets[:, :SIZE]).mean()
    other = nn.functional.binary_cross_entropy_with_logits(logits[:, SIZE:], concept)
    torch.testing.assert_close(found, own + other)
    assert whole.other_labels(targets, known, tuple(EVERY)).shape == (30, 0)
    taught = whole.soft_targets(logits, tuple(EVERY))
    torch.testing.assert_close(taught[:, :SIZE].norm(dim=1), torch.ones(30, dtype=torch.float64))


class Flat(nn.Module):
    """Features are the images."""

    def forward(self, images):
        return images


def split_of(images):
    rows = np.arange(len(images))
    concept = (torch.arange(len(images)) % 2).float()[:, None]
    return Split(images.numpy(), rows, concept, torch.ones_like(concept, dtype=torch.bool), rows)


def test_what_is_to_stay_is_the_direction_of_what_the_network_gives():
    images = drawn().float()
    net = Network.around(Flat(), identity_head(SIZE)).eval()
    split = with_embedding_targets(net, split_of(images))
    torch.testing.assert_close(net(images), images)
    torch.testing.assert_close(split.targets[:, :SIZE], nn.functional.normalize(images))
    assert torch.equal(split.targets[:, SIZE], (torch.arange(30) % 2).float())
    assert split.known.all()
    images[3] = 0
    with pytest.raises(UserError, match="they have no direction"):
        with_embedding_targets(net, split_of(images))
