import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.distributions import Bernoulli, Categorical, kl_divergence

from mlu.data.split import Split
from mlu.models.tasks import (
    MultiLabel,
    SingleLabel,
    bernoulli_entropy,
    column_mask,
    mean_of_terms,
    task_of,
)

LABELS = 4
TASKS = [MultiLabel(), SingleLabel()]
law = settings(deadline=None, derandomize=True, max_examples=30)
SEEDS = st.integers(0, 999)
COLUMNS = st.lists(st.integers(0, LABELS - 1), min_size=1, unique=True)
by_name = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def random_logits(seed=0, images=20, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(images, LABELS, dtype=torch.float64, generator=generator)


def random_targets(task, seed=0, images=20):
    generator = torch.Generator().manual_seed(seed + 1000)
    if task.name == "singlelabel":
        return nn.functional.one_hot(
            torch.randint(0, LABELS, (images,), generator=generator), LABELS
        ).double()
    return torch.randint(0, 2, (images, LABELS), generator=generator).double()


def random_known(seed=0, images=20):
    return torch.rand(images, LABELS, generator=torch.Generator().manual_seed(seed + 2000)) < 0.7


def plain_loss(task, logits, targets, known, columns):
    """Mean over the entries (images) that count, one by one."""
    terms = []
    for z, y, seen in zip(logits.tolist(), targets.tolist(), known.tolist(), strict=True):
        if task.name == "singlelabel":
            k = y.index(1)
            if k in columns and seen[k]:
                terms.append(-math.log(math.exp(z[k]) / sum(map(math.exp, z))))
        else:
            for k in columns:
                p = 1 / (1 + math.exp(-z[k]))
                if seen[k]:
                    terms.append(-math.log(p if y[k] else 1 - p))
    return sum(terms) / len(terms)


@by_name
@pytest.mark.parametrize("columns", [(0, 1, 2, 3), (2,), (3, 1)])
def test_the_loss_is_the_mean_over_known_targets(task, columns):
    logits, targets, known = random_logits(), random_targets(task), random_known()
    loss = task.loss(logits, targets, task.scope(targets, known, columns))
    assert loss.item() == pytest.approx(
        plain_loss(task, logits, targets, known, columns), rel=1e-12
    )


@by_name
def test_unknown_targets_are_not_read(task):
    logits, targets, known = random_logits(), random_targets(task), random_known()
    known[targets.bool()] |= task.name == "multilabel"
    scope = task.scope(targets, known, range(LABELS))
    other = (
        torch.where(known, targets, 1 - targets) if task.name == "multilabel" else targets.clone()
    )
    hidden = ~(known & targets.bool()).any(1)
    if task.name == "singlelabel":
        other[hidden] = 0
    assert not torch.equal(other, targets)
    assert torch.equal(task.scope(other, known, range(LABELS)), scope)
    assert task.loss(logits, other, scope) == task.loss(logits, targets, scope)


@by_name
def test_an_empty_scope_costs_nothing(task):
    logits = random_logits().requires_grad_()
    targets = random_targets(task)
    loss = task.loss(
        logits, targets, task.scope(targets, torch.zeros_like(targets).bool(), range(LABELS))
    )
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_scope_of_multi_label_is_known_and_asked_for():
    known = torch.tensor([[True, True, False], [False, True, True]])
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    scope = MultiLabel().scope(targets, known, (0, 2))
    assert scope.tolist() == [[True, False, False], [False, False, True]]


def test_scope_of_single_label_is_by_the_class_of_the_image():
    targets = torch.eye(3)
    known = torch.tensor([[True, True, True], [True, False, True], [False, False, True]])
    assert SingleLabel().scope(targets, known, (0, 1)).tolist() == [True, False, False]
    assert SingleLabel().scope(targets, known, (2,)).tolist() == [False, False, True]


@law
@given(SEEDS, COLUMNS)
def test_entropy_equals_scipys(seed, columns):
    logits = random_logits(seed)
    for row, ours in zip(logits, MultiLabel().entropy(logits, columns), strict=True):
        p = torch.sigmoid(row[columns])
        assert ours.item() == pytest.approx(sum(entropy([x, 1 - x]) for x in p.tolist()), abs=1e-12)
    for row, ours in zip(logits, SingleLabel().entropy(logits, columns), strict=True):
        assert ours.item() == pytest.approx(entropy(row[columns].exp().numpy()), abs=1e-12)


@law
@given(SEEDS, COLUMNS)
def test_divergence_equals_scipys(seed, columns):
    ours, theirs = random_logits(seed), random_logits(seed + 1)
    multi, single = (task.divergence(ours, theirs, columns) for task in TASKS)
    for row in range(len(ours)):
        p, q = ours[row, columns].sigmoid().tolist(), theirs[row, columns].sigmoid().tolist()
        plain = [jensenshannon([a, 1 - a], [b, 1 - b]) ** 2 for a, b in zip(p, q, strict=True)]
        assert multi[row].item() == pytest.approx(sum(plain) / len(columns), abs=1e-12)
        a, b = ours[row, columns].softmax(0).numpy(), theirs[row, columns].softmax(0).numpy()
        plain = jensenshannon(a, b) ** 2 if len(columns) > 1 else 0
        assert single[row].item() == pytest.approx(plain, abs=1e-12)


@by_name
@law
@given(SEEDS, COLUMNS, st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
def test_divergence_keeps_its_bounds_and_is_symmetric(task, seed, columns, scale):
    ours, theirs = random_logits(seed, scale=scale), random_logits(seed + 1, scale=scale)
    divergence = task.divergence(ours, theirs, columns)
    assert ((divergence >= 0) & (divergence <= math.log(2) + 1e-12)).all()
    torch.testing.assert_close(
        divergence, task.divergence(theirs, ours, columns), rtol=0, atol=1e-14
    )
    assert (task.divergence(ours, ours, columns) == 0).all()


@by_name
def test_certain_opposite_outputs_are_ln_2_apart(task):
    ours, theirs = (
        torch.tensor([[900.0, -900.0]]).double(),
        torch.tensor([[-900.0, 900.0]]).double(),
    )
    assert task.divergence(ours, theirs, (0, 1)).item() == pytest.approx(math.log(2), abs=1e-15)


def test_entropy_of_a_certain_output_is_exactly_zero():
    assert bernoulli_entropy(torch.tensor([0.0, 1.0])).tolist() == [0, 0]
    assert torch.equal(
        MultiLabel().entropy(torch.tensor([[900.0, -900.0]]), [0, 1]), torch.zeros(1)
    )


def one_louder(logits, column):
    louder = logits.clone()
    louder[:, column] += 5
    return louder


def test_labels_of_a_multi_label_task_do_not_compete():
    task, logits, reference = MultiLabel(), random_logits(), random_logits(1)
    louder, others, targets = one_louder(logits, 2), [0, 1, 3], random_targets(MultiLabel())
    for see in (
        lambda z: task.probs(z)[:, others],
        lambda z: task.terms(z, targets)[:, others],
        lambda z: task.predictions(z)[:, others],
        lambda z: task.soft_targets(z, others),
        lambda z: task.entropy(z, others),
        lambda z: task.divergence(z, reference, others),
        lambda z: task.divergence(reference, z, others),
    ):
        assert torch.equal(see(logits), see(louder))
    # Control: all of them do see the label that changed.
    assert not torch.equal(task.entropy(logits, [2]), task.entropy(louder, [2]))
    assert not torch.equal(
        task.divergence(logits, reference, [2]), task.divergence(louder, reference, [2])
    )


def test_adding_a_constant_to_all_logits_changes_a_multi_label_task_only():
    logits, reference = random_logits(), random_logits(1)
    for task, same in zip(TASKS, (False, True), strict=True):
        assert (
            torch.allclose(task.entropy(logits, [0, 1]), task.entropy(logits + 2, [0, 1])) is same
        )
        assert (
            torch.allclose(
                task.divergence(logits, reference, [0, 1]),
                task.divergence(logits + 2, reference, [0, 1]),
            )
            is same
        )


@law
@given(SEEDS, COLUMNS)
def test_soft_targets_are_silent_about_other_columns(seed, columns):
    logits = random_logits(seed)
    others = [column for column in range(LABELS) if column not in columns]
    for task in TASKS:
        assert (task.soft_targets(logits, columns)[:, others] == 0).all()
        for column in others:
            assert torch.equal(
                task.soft_targets(logits, columns),
                task.soft_targets(one_louder(logits, column), columns),
            )
    taught = MultiLabel().soft_targets(logits, columns)
    torch.testing.assert_close(taught[:, columns], logits[:, columns].sigmoid(), rtol=1e-14, atol=0)
    taught = SingleLabel().soft_targets(logits, columns)
    torch.testing.assert_close(taught.sum(1), torch.ones(len(logits)).double(), rtol=0, atol=1e-14)
    torch.testing.assert_close(taught[:, columns], logits[:, columns].softmax(1))


def test_predictions():
    logits = torch.tensor([[0.1, -0.1, 2.0], [-3.0, -1.0, -2.0]])
    assert MultiLabel().predictions(logits).tolist() == [[True, False, True], [False, False, False]]
    assert SingleLabel().predictions(logits).tolist() == [
        [False, False, True],
        [False, True, False],
    ]


@by_name
@law
@given(SEEDS)
def test_predictions_are_the_likelier_side(task, seed):
    logits = random_logits(seed)
    likely = task.probs(logits)
    expected = likely > 0.5 if task.name == "multilabel" else likely == likely.amax(1, keepdim=True)
    assert torch.equal(task.predictions(logits), expected)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return nn.Linear(5, LABELS).double()


def silenced(task, head, columns, rates):
    quiet = nn.Linear(5, LABELS).double()
    quiet.load_state_dict(head.state_dict())
    task.silence(quiet, columns, rates)
    return quiet


@by_name
def test_silence_leaves_other_rows_alone(task, head):
    quiet = silenced(task, head, (1, 3), torch.full((LABELS,), 0.3))
    for name, value in head.state_dict().items():
        assert torch.equal(quiet.state_dict()[name][[0, 2]], value[[0, 2]])
        assert quiet.state_dict()[name].dtype == torch.float64


def test_a_silent_multi_label_output_is_the_base_rate_of_every_image(head):
    rates = torch.tensor([0.5, 0.123, 0.9, 0.002]).double()
    features = 1e6 * random_logits(images=50)[:, [0, 1, 2, 3, 0]]
    probs = MultiLabel().probs(silenced(MultiLabel(), head, (1, 3), rates)(features))
    torch.testing.assert_close(probs[:, [1, 3]], rates[[1, 3]].expand(50, 2), rtol=1e-12, atol=0)
    assert (probs[:, [1, 3]].std(0) == 0).all()
    assert (probs[:, [0, 2]].std(0) > 0).all()


def test_silence_is_finite_for_a_label_that_all_or_none_have(head):
    quiet = silenced(MultiLabel(), head, (0, 1), torch.tensor([0.0, 1, 0.5, 0.5]))
    assert quiet.bias.isfinite().all()
    torch.testing.assert_close(
        quiet.bias.sigmoid()[:2], torch.tensor([0.0, 1]).double(), rtol=0, atol=2e-6
    )


def test_a_silent_class_is_never_predicted(head):
    task = SingleLabel()
    features = 1000 * random_logits(images=500)[:, [0, 1, 2, 3, 0]]
    before, after = (
        head(features),
        silenced(task, head, (1,), torch.full((LABELS,), 0.25))(features),
    )
    assert task.predictions(before)[:, 1].any()
    assert not task.predictions(after)[:, 1].any()
    assert (task.probs(after)[:, 1] == 0).all()
    assert (task.probs(after.float())[:, 1] == 0).all()


def retained_gradient(task, head):
    head.zero_grad()
    features, targets = random_logits()[:, [0, 1, 2, 3, 0]], random_targets(task)
    scope = task.scope(targets, torch.ones_like(targets).bool(), (0, 2, 3))
    task.loss(head(features), targets, scope).backward()
    return head.weight.grad, head.bias.grad


def test_the_retained_loss_does_not_pull_at_the_forgotten_row(head):
    weight, bias = retained_gradient(MultiLabel(), head)
    assert torch.equal(weight[1], torch.zeros(5).double())
    assert bias[1] == 0
    assert (weight[[0, 2, 3]] != 0).all()
    # Control: a softmax couples its classes.
    weight, bias = retained_gradient(SingleLabel(), head)
    assert (weight[1] != 0).all()
    assert bias[1] != 0


def test_tasks_are_found_by_their_names():
    assert [type(task_of(name)) for name in ("multilabel", "singlelabel")] == [
        MultiLabel,
        SingleLabel,
    ]
    assert task_of("singlelabel").name == "singlelabel"


def test_among():
    assert column_mask((2, 0), torch.empty(7, 3)).tolist() == [True, False, True]


@law
@given(SEEDS)
@by_name
def test_log_odds_are_those_of_the_probabilities(task, seed):
    logits = random_logits(seed)
    torch.testing.assert_close(task.log_odds(logits).sigmoid(), task.probs(logits))


@law
@given(SEEDS, COLUMNS)
@by_name
def test_the_loss_of_a_label_is_that_of_it_against_the_rest(task, seed, columns):
    logits, targets = random_logits(seed), random_targets(task, seed)
    probs, wanted = task.probs(logits)[:, columns], targets[:, columns]
    plain = -(wanted * probs.log() + (1 - wanted) * (1 - probs).log())
    torch.testing.assert_close(task.label_loss(logits, targets, columns), plain)


@law
@given(SEEDS, COLUMNS, st.floats(0.5, 5))
def test_distillation_equals_torchs_divergences(seed, columns, temperature):
    teacher, student = random_logits(seed), random_logits(seed + 1)
    ours = MultiLabel().distillation(teacher, student, columns, temperature)
    theirs, other = (
        Bernoulli(logits=logits[:, columns] / temperature) for logits in (teacher, student)
    )
    torch.testing.assert_close(ours, temperature**2 * kl_divergence(theirs, other).mean(1))
    ours = SingleLabel().distillation(teacher, student, columns, temperature)
    theirs, other = (Categorical(logits=logits / temperature) for logits in (teacher, student))
    torch.testing.assert_close(ours, temperature**2 * kl_divergence(theirs, other))


@by_name
def test_distillation_is_zero_only_at_the_teacher(task):
    teacher = random_logits()
    nothing = task.distillation(teacher, teacher, range(LABELS), 2.0)
    torch.testing.assert_close(nothing, torch.zeros_like(nothing), atol=1e-12, rtol=0)
    assert (task.distillation(teacher, random_logits(1), range(LABELS), 2.0) > 1e-3).all()


def test_the_distillation_of_a_multi_label_task_is_no_softmax_over_labels():
    """One label's logit has no say in another's; a softmax over labels would give it one."""
    teacher, student = random_logits(), random_logits(1)
    before = MultiLabel().distillation(teacher, student, [1], 1.0)
    assert torch.equal(MultiLabel().distillation(teacher, one_louder(student, 0), [1], 1.0), before)
    assert not torch.allclose(
        SingleLabel().distillation(teacher, one_louder(student, 0), [1], 1.0),
        SingleLabel().distillation(teacher, student, [1], 1.0),
    )


@by_name
def test_curvature_roots_make_the_second_derivative_of_the_loss(task):
    """Sum of r r' against the Hessian of the loss by the logits, of every image and whatever its
    target."""
    logits, targets = random_logits(images=5), random_targets(task, images=5)
    for one, target in zip(logits, targets, strict=True):

        def loss(values, target=target):
            return task.terms(values.unsqueeze(0), target.unsqueeze(0)).sum()

        roots = torch.func.jacrev(
            lambda values: task.curvature_roots(values.unsqueeze(0)).squeeze(0)
        )(one)
        torch.testing.assert_close(roots.T @ roots, torch.func.hessian(loss)(one))


@by_name
def test_what_is_said_of_an_image_does_not_depend_on_the_others_of_its_batch(task):
    """There are as many images as labels, so that neither axis can be taken for the other one
    unnoticed."""
    logits, reference, targets = (
        random_logits(0, LABELS),
        random_logits(1, LABELS),
        random_targets(task, 0, LABELS),
    )
    known, columns = random_known(0, LABELS), [0, 2]
    rates = torch.tensor([0.2, 0.5, 0.7, 0.9], dtype=torch.float64)

    def said(rows):
        z, other, y, seen = logits[rows], reference[rows], targets[rows], known[rows]
        scope = task.scope(y, seen, columns)
        return {
            "terms": task.terms(z, y),
            "scope": scope,
            "rows": task.rows(scope, LABELS),
            "probs": task.probs(z),
            "soft_targets": task.soft_targets(z, columns),
            "predictions": task.predictions(z),
            "entropy": task.entropy(z, columns),
            "divergence": task.divergence(z, other, columns),
            "log_odds": task.log_odds(z),
            "confidences": task.confidences(z, y),
            "modified_entropy": task.modified_entropy(z, y),
            "distillation": task.distillation(z, other, columns, 2.0),
            "ignorant": task.ignorant(z, columns, rates),
            "curvature_roots": task.curvature_roots(z),
            "label_loss": task.label_loss(z, y, columns),
            "image_loss": task.image_loss(z, y, seen, columns),
        }

    alone = [said([row]) for row in range(LABELS)]
    for name, together in said(slice(None)).items():
        one_by_one = torch.cat([one[name] for one in alone])
        torch.testing.assert_close(
            together, one_by_one, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
        )


@by_name
def test_an_ignorant_teacher_says_nothing_of_the_columns_and_the_same_of_others(task):
    logits, rates = random_logits(), torch.tensor([0.2, 0.5, 0.7, 0.9], dtype=torch.float64)
    said = task.ignorant(logits, [1], rates)
    others = [0, 2, 3]
    if task.name == "multilabel":
        torch.testing.assert_close(task.probs(said)[:, 1], rates[1].expand(len(logits)))
        assert torch.equal(said[:, others], logits[:, others])
    else:
        assert (task.probs(said)[:, 1] == 0).all()
        torch.testing.assert_close(task.probs(said)[:, others], logits[:, others].softmax(1))


def split_of(task):
    targets = random_targets(task).float()
    return Split(
        np.zeros((20, 3, 4, 4), np.uint8), np.arange(20), targets, random_known(), np.arange(20)
    )


def test_without_and_only_divide_the_targets_of_a_multi_label_task():
    split, task = split_of(MultiLabel()), MultiLabel()
    rest, part = task.without(split, [1, 3]), task.only(split, [1, 3])
    assert len(rest) == len(part) == 20
    assert not rest.known[:, [1, 3]].any()
    assert not part.known[:, [0, 2]].any()
    assert torch.equal(rest.known | part.known, split.known)
    assert not (rest.targets * part.targets).any()


def test_without_and_only_divide_the_images_of_a_single_label_task():
    split, task = split_of(SingleLabel()), SingleLabel()
    rest, part = task.without(split, [1, 3]), task.only(split, [1, 3])
    assert sorted([*rest.rows, *part.rows]) == list(range(20))
    assert set(part.targets.argmax(1).tolist()) <= {1, 3}
    assert set(rest.targets.argmax(1).tolist()) <= {0, 2}


def test_ignorance_is_the_loss_of_the_constant_base_rate():
    targets = random_targets(MultiLabel(), images=50)
    rates = targets.mean(0)
    constant = rates.logit().expand(50, -1)
    task = MultiLabel()
    scope = task.scope(targets, torch.ones_like(targets, dtype=torch.bool), [1, 2])
    assert task.ignorance(rates, [1, 2]) == pytest.approx(
        task.loss(constant, targets, scope).item()
    )
    task, targets = SingleLabel(), random_targets(SingleLabel(), images=50)
    rates = targets.mean(0)
    scope = task.scope(targets, torch.ones_like(targets, dtype=torch.bool), [1, 2])
    assert task.ignorance(rates, [1, 2]) == pytest.approx(
        task.loss(rates.log().expand(50, -1), targets, scope).item()
    )


@by_name
def test_a_scope_by_rows_has_one_entry_for_each_label(task):
    targets, known = random_targets(task), random_known()
    scope = task.scope(targets, known, [0, 2])
    rows = task.rows(scope, LABELS)
    assert rows.shape == (20, LABELS)
    assert torch.equal(rows.any(1), scope if scope.ndim == 1 else scope.any(1))


def song_and_mittal(probs, true):
    """Modified entropy of one distribution over classes, written out."""
    wrong = sum(p * math.log(1 - p) for k, p in enumerate(probs) if k != true)
    return -(1 - probs[true]) * math.log(probs[true]) - wrong


def distributions(task, logits, targets):
    """(Distribution over classes, true class) of each label, or of the class, for each image."""
    probs = task.probs(logits).tolist()
    if task.name == "singlelabel":
        return [[(row, true)] for row, true in zip(probs, targets.argmax(1).tolist(), strict=True)]
    return [
        [([1 - p, p], int(y)) for p, y in zip(row, true, strict=True)]
        for row, true in zip(probs, targets.tolist(), strict=True)
    ]


@by_name
@law
@given(SEEDS)
def test_confidences_and_modified_entropy_are_those_of_the_distributions_over_classes(task, seed):
    logits, targets = random_logits(seed), random_targets(task, seed)
    plain = distributions(task, logits, targets)
    odds = [[math.log(probs[true] / (1 - probs[true])) for probs, true in row] for row in plain]
    odds = torch.tensor(odds, dtype=torch.float64)
    torch.testing.assert_close(task.confidences(logits, targets), odds, rtol=1e-9, atol=1e-9)
    entropies = torch.tensor(
        [[song_and_mittal(*one) for one in row] for row in plain], dtype=torch.float64
    )
    torch.testing.assert_close(
        task.modified_entropy(logits, targets), entropies, rtol=1e-9, atol=1e-9
    )


def test_a_label_is_a_softmax_over_two_classes():
    logits, targets = random_logits()[:, :1], random_targets(MultiLabel())[:, :1]
    two, one_hot = (
        torch.cat([torch.zeros_like(logits), logits], 1),
        torch.cat([1 - targets, targets], 1),
    )
    for see in ("confidences", "modified_entropy"):
        ours, theirs = (
            getattr(MultiLabel(), see)(logits, targets),
            getattr(SingleLabel(), see)(two, one_hot),
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


@by_name
def test_modified_entropy_of_a_sure_output_is_nothing_or_its_loss(task):
    """Also of a class that is never said; of two classes either is wrong, of more but the two that
    changed places."""
    logits = torch.tensor([[1e4, -1e4]], dtype=torch.float64)
    right, wrong = (task.modified_entropy(logits, torch.eye(2).double()[[k]]) for k in (0, 1))
    assert (right == 0).all()
    size = 1e4 if task.name == "multilabel" else 2e4
    torch.testing.assert_close(wrong, torch.full_like(wrong, 2 * size))


@by_name
@pytest.mark.parametrize("columns", [(0, 1, 2, 3), (2,), (3, 1)])
def test_the_loss_of_an_image_is_the_mean_of_what_is_known_of_it(task, columns):
    logits, targets, known = random_logits(), random_targets(task), random_known()
    losses = task.image_loss(logits, targets, known, columns).tolist()
    for row, loss in enumerate(losses):
        try:
            one = slice(row, row + 1)
            plain = plain_loss(task, logits[one], targets[one], known[one], columns)
        except ZeroDivisionError:
            plain = math.nan
        assert loss == pytest.approx(plain, rel=1e-12, nan_ok=True)


def test_the_mean_of_an_images_terms_is_over_those_in_scope():
    terms, scope = (
        torch.tensor([[1.0, 2, 6], [3, 4, 5]]),
        torch.tensor([[True, False, True], [False] * 3]),
    )
    torch.testing.assert_close(
        mean_of_terms(terms, scope), torch.tensor([3.5, math.nan]), equal_nan=True
    )
    torch.testing.assert_close(
        mean_of_terms(terms[:, 0], scope[:, 0]), torch.tensor([1, math.nan]), equal_nan=True
    )


@by_name
@law
@given(SEEDS, COLUMNS)
def test_images_are_asked_of_labels_that_all_have_and_of_a_class_where_it_is_theirs(
    task, seed, columns
):
    targets, known = random_targets(task, seed), random_known(seed)
    asked = task.images_of(targets, known, columns).tolist()
    if task.name == "multilabel":
        assert all(asked)
    else:
        classes = targets.argmax(1).tolist()
        own = [known[row, k].item() and k in columns for row, k in enumerate(classes)]
        assert asked == own


@by_name
@law
@given(SEEDS, COLUMNS)
def test_the_scope_of_images_holds_all_that_is_known_of_those_that_are_asked(task, seed, columns):
    targets, known = random_targets(task, seed), random_known(seed)
    asked = task.images_of(targets, known, columns).unsqueeze(1)
    everything = task.rows(task.scope(targets, known, range(LABELS)), LABELS)
    found = task.rows(task.scope_of_images(targets, known, columns), LABELS)
    assert torch.equal(found, asked & everything)


@by_name
@law
@given(SEEDS, COLUMNS)
def test_known_confidences_are_those_of_the_columns_where_something_is_known(task, seed, columns):
    logits, targets, known = random_logits(seed), random_targets(task, seed), random_known(seed)
    found = task.known_confidences(logits, targets, known, columns)
    plain = task.confidences(logits, targets)
    if task.name == "singlelabel":
        torch.testing.assert_close(found, plain, rtol=0, atol=0)
        return
    assert found.shape == (20, len(columns))
    assert torch.equal(found.isnan(), ~known[:, columns])
    seen = known[:, columns]
    torch.testing.assert_close(found[seen], plain[:, columns][seen], rtol=0, atol=0)


@by_name
def test_sureness_is_far_from_one_half_of_a_label_and_the_probability_of_a_class(task):
    odds = math.log(4)
    logits = torch.tensor([[0.0, 0, 0], [-50, 50, 0], [odds, odds, 0]], dtype=torch.float64)
    sure = task.sureness(logits, [0, 1]).tolist()
    expected = [0, 0.5, 0.3] if task.name == "multilabel" else [1 / 3, 0.5, 4 / 9]
    assert sure == pytest.approx(expected, abs=1e-12)
    # Control: a label that is surely absent counts as much as one that is there, a class does not.
    absent = task.sureness(torch.tensor([[-50.0, 50]]).double(), [0]).item()
    assert absent == pytest.approx(0.5 if task.name == "multilabel" else 0, abs=1e-12)


@by_name
@law
@given(SEEDS, COLUMNS)
def test_columns_compete_with_those_whose_probabilities_move_with_theirs(task, seed, columns):
    before = random_logits(seed)
    after = before.clone()
    after[:, columns] += torch.linspace(3, 5, len(columns)).double()
    moved = (task.probs(after) != task.probs(before)).any(0).nonzero().squeeze(1)
    competing = task.competing(columns, LABELS)
    if len(columns) < LABELS:
        assert sorted(competing) == moved.tolist()
    assert set(columns) <= set(competing)


@by_name
def test_one_class_is_the_one_that_is_true_and_labels_have_none(task):
    classes = task.one_class(torch.eye(LABELS)[[2, 0, 3]])
    if task.name == "multilabel":
        assert classes is None
    else:
        assert classes.tolist() == [2, 0, 3]


@by_name
def test_other_labels_are_true_false_or_halfway_and_other_classes_tell_nothing(task):
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    known = torch.tensor([[True, True, False], [True, True, True]])
    told = task.other_labels(targets, known, (0, 2))
    if task.name == "multilabel":
        assert told.tolist() == [[1, 0.5], [0, 0]]
    else:
        assert told.shape == (2, 0)


@by_name
@law
@given(SEEDS, COLUMNS)
def test_right_answers_are_counted_by_label_or_by_image(task, seed, columns):
    logits, targets, known = random_logits(seed), random_targets(task, seed), random_known(seed)
    right, seen = task.right_answers(logits, targets, known, columns)
    for row in range(len(logits)):
        if task.name == "multilabel":
            answers = [
                (logits[row, k] > 0).item() == (targets[row, k] == 1).item() for k in columns
            ]
            assert right[row].tolist() == answers
            assert seen[row].tolist() == known[row, columns].tolist()
        else:
            assert right[row].tolist() == [logits[row].argmax().item() == targets[row].argmax()]
            assert seen[row].tolist() == [all(known[row].tolist())]


@by_name
def test_a_grouped_loss_weighs_groups_of_labels_alike_and_classes_by_their_images(task):
    logits, targets, known = random_logits(), random_targets(task), random_known()
    groups = [(0,), (1, 2, 3)]
    found = task.grouped_loss(logits, targets, known, groups).item()
    means = [plain_loss(task, logits, targets, known, columns) for columns in groups]
    own = nn.functional.cross_entropy(logits[known.any(1)], targets[known.any(1)]).item()
    assert found == pytest.approx(sum(means) if task.name == "multilabel" else own, rel=1e-12)
    # Control: neither is the mean over all terms.
    assert found != pytest.approx(plain_loss(task, logits, targets, known, range(LABELS)), rel=1e-3)


@by_name
def test_the_loss_of_some_columns_does_not_look_at_other_labels(task):
    logits, targets, columns = random_logits(), random_targets(task), [0, 2]
    known = torch.ones_like(targets, dtype=torch.bool)
    every = columns if task.name == "multilabel" else range(LABELS)
    found = task.column_loss(logits, targets, columns).item()
    assert found == pytest.approx(plain_loss(task, logits, targets, known, every), rel=1e-12)
    louder = task.column_loss(one_louder(logits, 1), targets, columns).item()
    assert (found == louder) is (task.name == "multilabel")


@by_name
def test_an_ignorant_teacher_is_asked_only_where_its_word_counts(task):
    student, teacher = random_logits(0).requires_grad_(), random_logits(1)
    rates, columns, asked = torch.tensor([0.2, 0.5, 0.7, 0.9]).double(), [1, 3], []

    def ask():
        asked.append(True)
        return teacher

    found = task.ignorant_teacher(student, ask, columns, rates)
    assert len(asked) == (task.name == "singlelabel")
    assert not found.requires_grad
    expected = task.ignorant(teacher, columns, rates)
    student = student.detach()
    divergence = task.distillation(found, student, columns, 1.0)
    torch.testing.assert_close(divergence, task.distillation(expected, student, columns, 1.0))
    # Control: a teacher that speaks of the columns is another one.
    assert not torch.allclose(divergence, task.distillation(teacher, student, columns, 1.0))


@by_name
@law
@given(SEEDS)
def test_parts_are_what_speaks_of_each_group(task, seed):
    split = split_of(task)
    groups = {"forgotten": (1,), "retained": (0, 2, 3)}
    found = {}
    for part, columns in task.parts(split, groups):
        for name, chosen in columns.items():
            found[name] = (part, chosen)
    assert {name: chosen for name, (_, chosen) in found.items()} == groups
    for part, chosen in found.values():
        scope = task.scope(split.targets, torch.ones_like(split.known), chosen)
        speaking = task.rows(scope, LABELS).any(1)
        assert list(part.rows) == split.rows[speaking.numpy()].tolist()


def test_labels_share_one_pass_over_all_images():
    split, groups = split_of(MultiLabel()), {"one": (0,), "other": (1, 2)}
    assert MultiLabel().parts(split, groups) == [(split, groups)]


def drawn_shares(task, targets, rule, columns=(1, 3)):
    """Mean of the new targets, by label."""
    rates = torch.tensor([0.1, 0.2, 0.3, 0.4])
    generator = torch.Generator().manual_seed(0)
    return task.redrawn_targets(targets, columns, rates, rule, generator).double().mean(0)


@pytest.mark.parametrize("rule", ["prior", "uniform", "flip"])
def test_redrawn_labels_have_the_share_that_the_rule_gives_them(rule):
    targets = random_targets(MultiLabel(), images=4000)
    before = targets.clone()
    shares = drawn_shares(MultiLabel(), targets, rule)
    wanted = {"prior": [0.2, 0.4], "uniform": [0.5, 0.5]}
    wanted = wanted.get(rule, (1 - before[:, [1, 3]].mean(0)).tolist())
    # A share of 4,000 draws is within four standard errors.
    assert shares[[1, 3]].tolist() == pytest.approx(wanted, abs=4 * 0.5 / 4000**0.5)
    torch.testing.assert_close(shares[[0, 2]], before[:, [0, 2]].mean(0), rtol=0, atol=0)
    assert torch.equal(targets, before)


@pytest.mark.parametrize("rule", ["prior", "uniform", "flip"])
def test_redrawn_classes_have_the_share_that_the_rule_gives_them(rule):
    targets = torch.eye(LABELS).double()[torch.arange(8000) % 2]
    shares = drawn_shares(SingleLabel(), targets, rule)
    # Half of the images keep class 0; the others, of class 1, are shared out.
    chances = {
        "prior": [1 / 4, 0, 3 / 4, 0],
        "uniform": [1 / 4] * 4,
        "flip": [1 / 3, 0, 1 / 3, 1 / 3],
    }
    wanted = [0.5 * (k == 0) + 0.5 * chance for k, chance in enumerate(chances[rule])]
    assert shares.tolist() == pytest.approx(wanted, abs=4 * 0.5 / 8000**0.5)


def test_without_images_of_the_classes_nothing_is_redrawn():
    targets = torch.eye(LABELS)[[0, 2, 0]]
    found = SingleLabel().redrawn_targets(
        targets, (1, 3), torch.full((LABELS,), 0.25), "prior", torch.Generator()
    )
    assert torch.equal(found, targets)


def test_invented_labels_are_there_for_half_of_the_images_each():
    generator = torch.Generator().manual_seed(0)
    targets = MultiLabel().invented_targets(101, LABELS, (1, 3), generator)
    assert targets.sum(0).tolist() == [0, 50, 0, 50]
    assert not torch.equal(targets[:, 1], targets[:, 3])


def test_invented_classes_take_turns():
    targets = SingleLabel().invented_targets(5, LABELS, (1, 3), torch.Generator())
    assert targets.argmax(1).tolist() == [1, 3, 1, 3, 1]
    assert (targets.sum(1) == 1).all()


@by_name
def test_aurocs_are_scikit_learns_of_labels_that_occur_both_ways(task):
    logits, targets, known = random_logits(), random_targets(task), random_known()
    known[:, 2] &= targets[:, 2] > 0
    odds = torch.logit(task.probs(logits))
    expected = [roc_auc_score(targets[known[:, k], k], odds[known[:, k], k]) for k in (0, 3)]
    found = task.aurocs(logits, targets, known, (0, 2, 3))
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_label_leaks_where_its_auroc_is_furthest_from_one_half():
    task, split = MultiLabel(), split_of(MultiLabel())
    known = replace(split, known=torch.ones_like(split.known))
    said = 5 * (2 * split.targets - 1)
    said[:, 1] *= -1
    said[:, 2] = 0
    for columns, leak in (((0, 2), 1), ((1, 2), 0), ((2,), 0.5)):
        assert task.leak_and_goal(lambda _: said, known, known, columns) == (leak, 0.5)
    positives = known.subset((known.targets[:, 0] > 0).nonzero().squeeze(1))
    assert task.leak_and_goal(lambda part: part.targets, known, positives, (0,)) == (0.5, 0.5)


def test_a_class_leaks_by_its_error_and_shall_err_as_on_images_never_seen():
    task, split = SingleLabel(), split_of(SingleLabel())
    learnt = task.only(split, (1,))

    def half_wrong(part):
        said = part.targets.clone()
        said[::2] = said[::2].roll(1, 1)
        return said

    wrong = math.ceil(len(learnt) / 2) / len(learnt)
    assert task.leak_and_goal(lambda part: part.targets, learnt, split, (1,)) == (0, 0)
    found = task.leak_and_goal(half_wrong, learnt, split, (1,))
    assert found == pytest.approx((wrong, wrong))
    # Unseen images of other classes do not count, and none at all err in nothing.
    assert task.leak_and_goal(half_wrong, learnt, task.without(split, (1,)), (1,))[1] == 0
