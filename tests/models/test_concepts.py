import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from mlu.data.split import Split
from mlu.models.concepts import (
    WithConcepts,
    folded_regression,
    probe_of,
    with_probes,
    with_rows,
    without_rows,
)
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.models.tasks import MultiLabel, SingleLabel
from mlu.system.errors import UserError

CLASSES, CONCEPTS, IMAGES = 3, 2, 40
BEHIND = (3, 4)
TASK, PLAIN = WithConcepts(SingleLabel(), CLASSES), MultiLabel()
law = settings(deadline=None, derandomize=True, max_examples=20)


def drawn(seed=0):
    """Logits, targets and what is known of classes and two concepts."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(IMAGES, 5, dtype=torch.float64, generator=generator)
    classes = torch.randint(CLASSES, (IMAGES,), generator=generator)
    concepts = torch.randint(2, (IMAGES, CONCEPTS), generator=generator)
    known = torch.ones(IMAGES, 5, dtype=torch.bool)
    known[:, 3:] = torch.rand(IMAGES, 2, generator=generator) < 0.7
    targets = torch.cat([F.one_hot(classes, CLASSES), concepts], 1).double()
    return logits, targets * known, known


def plain_sums(logits, targets, known):
    """Cross-entropies of classes, and binary ones of known concepts, added up one by one."""
    classes = concepts = 0.0
    for z, y, seen in zip(logits.tolist(), targets.tolist(), known.tolist(), strict=True):
        classes += math.log(sum(map(math.exp, z[:CLASSES]))) - z[y[:CLASSES].index(1)]
        for k in BEHIND:
            p = 1 / (1 + math.exp(-z[k]))
            concepts -= seen[k] * math.log(p if y[k] else 1 - p)
    return classes, concepts


@law
@given(st.integers(0, 999))
def test_the_loss_is_the_plain_sum_of_cross_entropies_over_what_is_known(seed):
    logits, targets, known = drawn(seed)
    classes, concepts = plain_sums(logits, targets, known)
    count = known[:, 3:].sum().item()
    everything = TASK.scope(targets, known, range(5))
    whole = TASK.loss(logits, targets, everything).item()
    assert whole == pytest.approx((classes + concepts) / (IMAGES + count), rel=1e-12)
    sides = TASK.grouped_loss(logits, targets, known, [(0, 1, 2), BEHIND]).item()
    assert sides == pytest.approx(classes / IMAGES + concepts / count, rel=1e-12)
    # The negative control: cross-entropy over all five outputs is another loss.
    assert whole != pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-3)


def test_of_some_columns_it_is_the_loss_of_the_task_that_they_belong_to():
    logits, targets, known = drawn()
    for columns, other in (((0, 1, 2), SingleLabel()), ((0, 2), SingleLabel()), (BEHIND, PLAIN)):
        loss = TASK.loss(logits, targets, TASK.scope(targets, known, columns))
        if other is PLAIN:
            expected = PLAIN.loss(logits, targets, PLAIN.scope(targets, known, columns))
        else:
            parts = targets[:, :3], known[:, :3]
            expected = other.loss(logits[:, :3], parts[0], other.scope(*parts, columns))
        torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        TASK.column_loss(logits, targets, BEHIND), PLAIN.column_loss(logits, targets, BEHIND)
    )


def test_outputs_say_of_classes_and_of_concepts_what_each_task_says():
    logits, targets, known = drawn()
    first, single = logits[:, :3], SingleLabel()
    for name in ("probs", "predictions", "log_odds", "curvature_roots"):
        found = getattr(TASK, name)(logits)
        assert torch.equal(found[:, :3], getattr(single, name)(first))
        assert torch.equal(found[:, 3:], getattr(PLAIN, name)(logits)[:, 3:])
    for name in ("confidences", "modified_entropy", "terms"):
        found = getattr(TASK, name)(logits, targets)
        own = getattr(single, name)(first, targets[:, :3])
        assert torch.equal(found[:, 0], own.flatten())
        assert torch.equal(found[:, 1:], getattr(PLAIN, name)(logits, targets)[:, 3:])
    right, told = TASK.right_answers(logits, targets, known, range(5))
    assert right.shape == told.shape == (IMAGES, 3)
    assert torch.equal(right[:, 0], first.argmax(1) == targets[:, :3].argmax(1))
    assert torch.equal(told[:, 1:], known[:, 3:])
    assert torch.equal(TASK.right_answers(logits, targets, known, (0, 1, 2))[0][:, 0], right[:, 0])


def test_the_curvature_roots_give_the_hessian_of_the_loss():
    """The second derivation: by autograd, image by image."""
    logits, targets, _ = drawn()
    z, y = logits[0], targets[:1]

    def loss(one):
        return TASK.terms(one[None], y).sum()

    dense = torch.func.hessian(loss)(z)
    roots = torch.func.jacrev(lambda one: TASK.curvature_roots(one[None])[0])
    # Each root is linear in the logits with its probabilities held fixed.
    slopes = roots(z.clone())
    torch.testing.assert_close(slopes.T @ slopes, dense)


def test_a_divergence_or_a_distillation_adds_that_of_both():
    logits, _, _ = drawn()
    other = drawn(1)[0]
    single, first = SingleLabel(), (0, 1, 2)
    own = single.distillation(other[:, :3], logits[:, :3], first, 2.0)
    behind = PLAIN.distillation(other, logits, BEHIND, 2.0)
    torch.testing.assert_close(TASK.distillation(other, logits, range(5), 2.0), own + behind)
    torch.testing.assert_close(TASK.distillation(other, logits, first, 2.0), own)
    apart = TASK.divergence(logits, other, range(5))
    sides = TASK.divergence(logits, other, first), TASK.divergence(logits, other, BEHIND)
    torch.testing.assert_close(apart, sum(sides) / 2)
    entropies = TASK.entropy(logits, [0, 1, 2, *BEHIND])
    assert (entropies > TASK.entropy(logits, list(BEHIND))).all()
    assert TASK.sureness(logits, range(5)).shape == (IMAGES,)


def split_of(targets, known, images=None):
    rows = np.arange(len(targets))
    pixels = np.zeros((len(targets), 1), np.float32) if images is None else images.numpy()
    return Split(pixels, rows, targets.float(), known, rows)


def test_without_a_concept_all_images_and_classes_stay():
    _, targets, known = drawn()
    split = split_of(targets, known)
    rest, alone = TASK.without(split, (4,)), TASK.only(split, (4,))
    assert torch.equal(rest.targets[:, :4], split.targets[:, :4])
    assert not rest.known[:, 4].any()
    assert not rest.targets[:, 4].any()
    assert not alone.known[:, :4].any()
    assert torch.equal(alone.targets[:, 4], split.targets[:, 4])
    assert len(rest) == len(alone) == IMAGES
    gone = TASK.without(split, (0,))
    assert not gone.targets[:, 0].any()
    assert 0 < len(gone) < IMAGES
    assert len(gone) + len(TASK.only(split, (0,))) == IMAGES
    groups = TASK.parts(split, {"forgotten": (4,), "retained": (0, 1, 2)})
    assert [list(columns) for _, columns in groups] == [["forgotten"], ["retained"]]


def test_scopes_are_spread_over_the_columns_that_they_speak_of():
    _, targets, known = drawn()
    scope = TASK.scope(targets, known, (0, 4))
    spread = TASK.rows(scope, 5)
    assert torch.equal(spread[:, 0], targets[:, 0] > 0)
    assert torch.equal(spread[:, 1], spread[:, 0])
    assert torch.equal(spread[:, 4], known[:, 4])
    assert not spread[:, 3].any()
    assert TASK.images_of(targets, known, (4,)).all()
    assert torch.equal(TASK.images_of(targets, known, (0,)), targets[:, 0] > 0)
    assert torch.equal(TASK.scope_of_images(targets, known, (4,))[:, 1:], known[:, 3:])
    assert TASK.competing((0, 4), 5) == [0, 1, 2, 4]
    assert torch.equal(TASK.one_class(targets), targets[:, :3].argmax(1))
    told = TASK.other_labels(targets, known, (0, 1, 2))
    assert torch.equal(told, targets[:, :3])


def test_what_is_taught_of_a_concept_leaves_the_classes_alone():
    logits, targets, known = drawn()
    rates = split_of(targets, known).base_rates().double()
    taught = TASK.soft_targets(logits, (0, 1, 2))
    torch.testing.assert_close(taught[:, :3], logits[:, :3].softmax(1))
    assert not taught[:, 3:].any()
    assert not TASK.soft_targets(logits, (3,))[:, [0, 1, 2, 4]].any()
    for ignorant in (
        TASK.ignorant(logits, BEHIND, rates),
        TASK.ignorant_teacher(logits, lambda: pytest.fail("asked"), BEHIND, rates),
    ):
        assert torch.equal(ignorant[:, :3], logits[:, :3])
        torch.testing.assert_close(ignorant[:, 3:].sigmoid(), rates[3:].expand(IMAGES, 2))
    generator = torch.Generator().manual_seed(0)
    drawn_anew = TASK.redrawn_targets(targets, (4,), rates, "flip", generator)
    assert torch.equal(drawn_anew[:, 4], 1 - targets[:, 4])
    assert torch.equal(drawn_anew[:, :4], targets[:, :4])
    invented = TASK.invented_targets(10, 5, (3,), generator)
    assert invented.sum(0).tolist() == [0, 0, 0, 5, 0]
    assert TASK.ignorance(rates, (3,)) == pytest.approx(PLAIN.ignorance(rates, (3,)))
    head = nn.Linear(4, 5)
    old = head.weight.detach().clone()
    TASK.silence(head, (4,), rates)
    assert torch.equal(head.weight[:4], old[:4])
    assert not head.weight[4].any()


# Rows of a head


class Flat(nn.Module):
    """Features are the images."""

    def forward(self, images):
        return images


@pytest.fixture
def seen():
    """A network of three outputs, and images whose first number tells a concept."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(300, 6, generator=generator) * torch.tensor([1, 2, 0.1, 1, 5, 1]) + 3
    images[:, 5] = 1.0  # a feature that never varies
    concept = (images[:, 0] + 0.3 * torch.randn(300, generator=generator) > 3).float()
    net = Network.around(Flat(), nn.Linear(6, 3)).eval().requires_grad_(False)
    targets = torch.cat([torch.zeros(300, 3), concept[:, None]], 1)
    return net, split_of(targets, torch.ones(300, 4, dtype=torch.bool), images)


def test_a_folded_probe_says_what_scikit_learn_says(seen):
    net, split = seen
    read = with_probes(with_rows(net, (3,)), split, (3,), ["Male"], seed=0)
    logits, features = respond(read, split)
    truth = split.targets[:, 3].numpy() > 0
    scaled = StandardScaler().fit_transform(features.double().numpy())
    other = LogisticRegression(max_iter=1000).fit(scaled, truth)
    np.testing.assert_allclose(logits[:, 3], other.decision_function(scaled), atol=1e-4)
    assert ((logits[:, 3] > 0).numpy() == other.predict(scaled)).all()
    assert balanced_accuracy_score(truth, logits[:, 3] > 0) > 0.85
    # The negative control: without the fold of the means it says something else.
    raw = features.double().numpy() @ (other.coef_[0])
    assert np.abs(raw - other.decision_function(scaled)).max() > 1


def test_unknown_targets_of_a_concept_are_not_read(seen):
    net, split = seen
    known = split.known.clone()
    known[::3, 3] = False
    first = Split(split.images, split.rows, split.targets, known, split.identities)
    turned = torch.where(known, split.targets, 1 - split.targets)
    other = Split(split.images, split.rows, turned, known, split.identities)
    weights = [
        with_probes(with_rows(net, (3,)), one, (3,), ["Male"], seed=0).head.weight
        for one in (first, other, split)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_concept_of_shuffled_labels_is_read_at_chance(seen):
    net, split = seen
    order = torch.randperm(300, generator=torch.Generator().manual_seed(5))
    learnt, asked = order[:150].sort().values, order[150:].sort().values
    shuffled = split.targets.clone()
    shuffled[:, 3] = shuffled[order.roll(7), 3]
    mixed = Split(split.images, split.rows, shuffled, split.known, split.identities)
    said = []
    for one in (split, mixed):
        read = with_probes(with_rows(net, (3,)), one.subset(learnt), (3,), ["Male"], seed=0)
        logits = respond(read, one.subset(asked))[0][:, 3]
        said.append(balanced_accuracy_score(one.targets[asked, 3] > 0, logits > 0))
    assert said[0] > 0.85
    assert abs(said[1] - 0.5) < 0.13  # three standard errors of 150 images


def test_rows_come_and_go_and_the_rest_of_the_network_stays(seen):
    net, split = seen
    more = with_rows(net, (3, 4))
    assert more.head.out_features == 5
    assert not more.head.weight[3:].any()
    logits = respond(more, split)[0]
    torch.testing.assert_close(logits[:, :3], respond(net, split)[0])
    back = without_rows(more, (3, 4))
    torch.testing.assert_close(back.state_dict(), net.state_dict(), rtol=0, atol=0)
    assert net.head.out_features == 3
    between = respond(with_rows(net, (1, 4)), split)[0]
    torch.testing.assert_close(between[:, [0, 2, 3]], logits[:, :3])
    assert not between[:, [1, 4]].any()
    kept = without_rows(more, (0, 3, 4)).head.weight
    assert torch.equal(kept, net.head.weight[1:])


def test_a_concept_that_is_too_rare_is_refused_in_one_line(seen):
    net, split = seen
    rare = split.targets.clone()
    rare[:, 3] = 0
    rare[:9, 3] = 1
    few = Split(split.images, split.rows, rare, split.known, split.identities)
    with pytest.raises(UserError, match="the concept 'Male' cannot be read: 9 training") as caught:
        with_probes(with_rows(net, (3,)), few, (3,), ["Male"], seed=0)
    assert "\n" not in str(caught.value)


def test_a_probe_of_one_number_is_folded_by_hand():
    numbers = np.array([[0.0], [2.0], [4.0], [6.0]] * 5)
    probe = probe_of(numbers, numbers[:, 0] > 3)
    weight, bias = folded_regression(probe)
    np.testing.assert_allclose(numbers @ weight + bias, probe.decision_function(numbers))
    assert -bias / weight[0] == pytest.approx(3)  # the border lies in the middle
