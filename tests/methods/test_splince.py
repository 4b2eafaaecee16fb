import copy
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

from benchmarks import plain
from mlu.methods.leace import eraser
from mlu.methods.splince import Splince, kept_covariance, sparing_eraser, unshared
from mlu.models.outputs import respond
from mlu.models.tasks import ForgetRequest
from mlu.system.errors import UserError
from mlu.unlearning.unlearner import edited
from tests.support.learnt import learnt_problem
from tests.support.readings import auroc

TOLERANCE = 1e-4
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
by_labels = pytest.mark.parametrize(("forgotten", "retained"), [(1, 1), (1, 3), (2, 4)])


def method(**changes) -> Splince:
    return Splince(**{"name": "splince", "fold": False, "tolerance": TOLERANCE} | changes)


def sample(forgotten=1, retained=3, images=300, width=12, seed=0):
    """Correlated features, on which labels with noise depend, also on each other's."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=draw)

    features = 3 + normal(images, width) @ normal(width, width)
    labels = forgotten + retained
    told = (features - 3) @ normal(width, labels) + 4 * normal(images, labels)
    targets = (told + told.mean(1, keepdim=True) > 0).double()
    return features, targets[:, :forgotten], targets[:, forgotten:]


def covariances(features, targets):
    return (features - features.mean(0)).T @ (targets - targets.mean(0)) / len(features)


def found_for(features, targets, others, tolerance=TOLERANCE):
    return sparing_eraser(features, targets, covariances(features, others), tolerance)


def erased(features, matrix, offset):
    return features @ matrix.T + offset


def assert_erased_and_kept(features, targets, others, found):
    """No covariance with what is forgotten, and the same with what is retained: P Sigma_xz = 0 and
    P Sigma_xy = Sigma_xy."""
    after = erased(features, *found)
    scale = covariances(features, torch.cat([targets, others], 1)).abs().max()
    left = covariances(after, targets).abs().max() / scale
    lost = (covariances(after, others) - covariances(features, others)).abs().max() / scale
    assert left < 1e-10, f"{left:.2g} of the covariance is left"
    assert lost < 1e-10, f"{lost:.2g} of the covariance is lost"


def leaces(features, targets, others, tolerance=TOLERANCE):
    return eraser(features, targets, tolerance)


def of_another_label(features, targets, others, tolerance=TOLERANCE):
    return found_for(features, targets.roll(1, 0), others)


def keeping_another_label(features, targets, others, tolerance=TOLERANCE):
    return found_for(features, targets, others.roll(1, 0))


def leaving_all(features, targets, others, tolerance=TOLERANCE):
    width = features.shape[1]
    return torch.eye(width).to(features), torch.zeros(width).to(features)


@by_labels
def test_the_forgotten_labels_are_erased_and_the_retained_ones_kept(forgotten, retained):
    data = sample(forgotten, retained)
    assert_erased_and_kept(*data, found_for(*data))


@pytest.mark.parametrize("wrong", [of_another_label, leaving_all])
def test_what_is_not_erased_is_caught(wrong):
    data = sample()
    with pytest.raises(AssertionError, match="is left"):
        assert_erased_and_kept(*data, wrong(*data))


@pytest.mark.parametrize("wrong", [leaces, keeping_another_label])
def test_what_is_not_kept_is_caught(wrong):
    data = sample()
    with pytest.raises(AssertionError, match="is lost"):
        assert_erased_and_kept(*data, wrong(*data))


@by_labels
def test_it_is_the_projection_that_its_authors_print(forgotten, retained):
    """By bases of range and kernel, and a pseudo-inverse, in numpy."""
    features, targets, others = sample(forgotten, retained)
    matrix, offset = found_for(features, targets, others, 1e-12)
    kept = covariances(features, others).numpy()
    printed = plain.slanted(features.numpy(), targets.numpy(), kept, 1e-12)
    np.testing.assert_allclose(matrix, printed, rtol=1e-8, atol=1e-9)
    mean = features.mean(0).numpy()
    np.testing.assert_allclose(offset, mean - printed @ mean, rtol=1e-8, atol=1e-8)


@by_labels
def test_it_is_a_projection_along_what_is_erased_that_leaves_the_mean(forgotten, retained):
    features, targets, others = sample(forgotten, retained)
    matrix, offset = found_for(features, targets, others)
    torch.testing.assert_close(matrix @ matrix, matrix)
    torch.testing.assert_close(erased(features.mean(0), matrix, offset), features.mean(0))
    kernel = scipy.linalg.null_space(matrix.numpy(), rcond=1e-9)
    along = scipy.linalg.orth(covariances(features, targets).numpy())
    np.testing.assert_allclose(scipy.linalg.subspace_angles(kernel, along), 0, atol=1e-6)
    assert kernel.shape[1] == forgotten


def change(features, found, metric=None):
    """Mean squared distance that features move, in the metric x' M x; of white ones without M."""
    moved = erased(features, *found) - features
    metric = torch.linalg.inv(torch.cov(features.T)) if metric is None else metric
    return (moved @ metric * moved).sum(1).mean()


@by_labels
def test_no_other_map_that_erases_and_keeps_changes_features_less(forgotten, retained):
    features, targets, others = sample(forgotten, retained)
    found = found_for(features, targets, others, 1e-12)
    fixed = covariances(features, torch.cat([targets, others], 1))
    free = torch.eye(12).to(fixed) - fixed @ torch.linalg.pinv(fixed)
    draw = torch.Generator().manual_seed(7)

    def normal():
        return torch.randn(12, 12, dtype=torch.float64, generator=draw)

    root = normal()
    for size in (1e-3, 1e-2, 0.1, 1.0):
        other = found[0] + size * normal() @ free
        rival = (other, features.mean(0) - other @ features.mean(0))
        assert_erased_and_kept(features, targets, others, rival)
        for metric in (None, root @ root.T):
            assert change(features, found, metric) < change(features, rival, metric)
    # LEACE changes less still, and keeps less.
    assert change(features, leaces(features, targets, others, 1e-12)) < change(features, found)


def test_without_anything_to_keep_it_is_leace():
    features, targets, others = sample()
    none = covariances(features, others[:, :0])
    ours = sparing_eraser(features, targets, none, TOLERANCE)
    torch.testing.assert_close(ours, eraser(features, targets, TOLERANCE))
    nothing = torch.zeros(12, 2, dtype=torch.float64)
    torch.testing.assert_close(sparing_eraser(features, targets, nothing, TOLERANCE), ours)


def test_where_nothing_is_told_nothing_is_erased():
    features, targets, others = sample()
    matrix, offset = found_for(features, torch.zeros_like(targets), others)
    assert torch.equal(matrix, torch.eye(12, dtype=torch.float64))
    assert not offset.any()


def test_a_retained_label_that_repeats_the_forgotten_one_is_erased_with_it():
    """What cannot be both is erased, and of the rest that is kept which is at right angles."""
    features, targets, others = sample()
    with_copy = torch.cat([1 - targets, others], 1)
    found = found_for(features, targets, with_copy)
    torch.testing.assert_close(found, eraser(features, targets, TOLERANCE))


def test_more_retained_labels_than_features_leave_what_leace_leaves():
    features, targets, others = sample(retained=20)
    torch.testing.assert_close(
        found_for(features, targets, others), eraser(features, targets, TOLERANCE)
    )


def test_fewer_images_than_features_are_erased_all_the_same():
    features, targets, others = sample(images=20, width=40)
    assert_erased_and_kept(features, targets, others, found_for(features, targets, others))


def test_shared_directions_are_taken_off_what_is_spared_and_no_others():
    base = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    near = base[:, 0] + 1e-5 * base[:, 4]
    spared = torch.linalg.qr(torch.stack([near, base[:, 1], base[:, 2]], 1))[0]
    left = unshared(spared, base[:, [0, 5]])
    assert left.shape == (6, 2)
    torch.testing.assert_close(left @ left.T, base[:, 1:3] @ base[:, 1:3].T)
    assert torch.equal(unshared(spared, base[:, :0]), spared)
    apart = torch.linalg.qr(torch.stack([base[:, 0] + base[:, 4], base[:, 1]], 1))[0]
    assert unshared(apart, base[:, [0]]).shape == (6, 2)


def reads(features, targets):
    """Least-squares reading of targets from features, its share of their variance."""
    return LinearRegression().fit(features, targets).score(features, targets)


def steepest(features, targets):
    """Largest coefficient of a logistic regression on standardised features."""
    inputs = (features - features.mean(0)) / features.std(0).clamp(min=1e-12)
    reader = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(inputs, targets[:, 0])
    return np.abs(reader.coef_).max()


def test_linear_readers_find_nothing_of_the_forgotten_label():
    features, targets, others = sample()
    after = erased(features, *found_for(features, targets, others))
    assert reads(after, targets) < 1e-9 < 0.1 < reads(features, targets)
    assert steepest(after, targets) < 1e-6 < 0.1 < steepest(features, targets)


# Networks


@by_task
def test_a_network_gets_the_layer_that_is_printed_and_its_silent_output(task):
    problem = learnt_problem(task, norm=True)
    ours, theirs = edited(problem.net, method().edit(problem)), plain.splince(method(), problem)
    # Ours keeps features in float32.
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-5)


@by_task
def test_a_network_tells_no_line_of_its_label_and_as_much_as_before_of_the_others(task):
    problem = learnt_problem(task, norm=True)
    net = edited(problem.net, method().edit(problem))
    before, after = (respond(one, problem.train)[1].double() for one in (problem.net, net))
    targets = problem.train.targets.double()
    asked = targets[:, 0] >= 0 if task == "multilabel" else targets[:, 0] == 0
    scale = covariances(before, targets).abs().max()
    assert covariances(after, targets[:, :1]).abs().max() < 1e-5 * scale
    kept, was = (covariances(one[asked], targets[asked][:, 1:]) for one in (after, before))
    assert (kept - was).abs().max() < 1e-5 * scale
    assert auroc(net, problem) == 0.5
    # LEACE keeps it not, on the same data.
    theirs = erased(before, *eraser(before, targets[:, :1], TOLERANCE))
    lost = covariances(theirs[asked], targets[asked][:, 1:]) - was
    assert lost.abs().max() > 1e-3 * scale


@by_task
def test_folded_into_the_head_it_gives_the_layers_logits(task):
    problem = learnt_problem(task, norm=True)
    layered, folded = (
        edited(problem.net, method(fold=fold).edit(problem)) for fold in (False, True)
    )
    images = problem.validation[torch.arange(64)].images
    torch.testing.assert_close(folded(images), layered(images))
    assert folded.state_dict().keys() == problem.net.state_dict().keys()


def test_a_retained_target_counts_where_it_is_known():
    problem = learnt_problem()
    known, targets = problem.train.known.clone(), problem.train.targets.clone()
    known[::3, 1], targets[::3, 1] = False, 1 - targets[::3, 1]
    known[:, 2] = False
    train = replace(problem.train, known=known, targets=targets)
    _, features = respond(problem.net, train)
    found = kept_covariance(replace(problem, train=train), features.double())
    rows = known[:, 1]
    expected = covariances(features[rows].double(), targets[rows][:, [1]].double())
    torch.testing.assert_close(found, expected)


def test_of_classes_the_images_of_retained_ones_count():
    problem = learnt_problem("singlelabel")
    _, features = respond(problem.net, problem.train)
    found = kept_covariance(problem, features.double())
    rows = problem.train.targets[:, 0] == 0
    expected = covariances(features[rows].double(), problem.train.targets[rows][:, 1:].double())
    torch.testing.assert_close(found, expected)
    # Over all images the forgotten class is what the others leave, and nothing could be erased.
    everywhere = covariances(features.double(), problem.train.targets.double())
    assert np.linalg.matrix_rank(everywhere, tol=1e-9) == 3
    assert np.linalg.matrix_rank(np.hstack([everywhere[:, :1], found]), tol=1e-9) == 3


def test_several_labels_are_erased_together():
    problem = replace(learnt_problem(), request=ForgetRequest((0, 2), (1,)))
    net = edited(problem.net, method().edit(problem))
    _, features = respond(net, problem.train)
    targets = problem.train.targets.double()
    left = covariances(features.double(), targets).abs().amax(0)
    assert (left[[0, 2]] < 1e-5 * left[1]).all()


def test_all_labels_at_once_leave_nothing_to_keep():
    problem = replace(learnt_problem(), request=ForgetRequest((0, 1, 2), ()))
    found = method().edit(problem).eraser
    _, features = respond(problem.net, problem.train)
    expected = eraser(features.double(), problem.train.targets.double(), TOLERANCE)
    torch.testing.assert_close(found, expected)


def test_targets_that_no_image_has_are_refused():
    problem = learnt_problem()
    with pytest.raises(UserError, match=r"^splince: no training image has all forgotten targets"):
        method().edit(replace(problem, train=problem.train.withhold((0,))))


@by_task
def test_the_original_is_untouched_and_nothing_is_trained(task):
    problem = learnt_problem(task)
    before = copy.deepcopy(problem.net.state_dict())
    for fold in (False, True):
        assert len(method(fold=fold).passes(problem)) == 0
        edited(problem.net, method(fold=fold).edit(problem))
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
