import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from benchmarks import plain
from mlu.methods import leace
from mlu.methods.leace import Leace, eraser
from mlu.models.backbones import Tiny
from mlu.models.outputs import respond
from mlu.models.tasks import ForgetRequest
from mlu.models.weights import load_trained
from mlu.system.errors import UserError
from mlu.unlearning.unlearner import edited
from tests.support.learnt import learnt_problem, small_net
from tests.support.readings import auroc

TOLERANCE = 1e-4
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])


def method(**changes) -> Leace:
    return Leace(**{"name": "leace", "fold": False, "tolerance": TOLERANCE} | changes)


def sample(images=200, width=12, labels=1, seed=0):
    """Correlated features, on which labels with noise depend linearly, in float64."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, dtype=torch.float64, generator=draw)
    features = 3 + torch.randn(images, width, dtype=torch.float64, generator=draw) @ mixing
    noise = 2 * torch.randn(images, labels, dtype=torch.float64, generator=draw)
    return features, (features[:, :labels] - 3 + noise > 0).double()


def cross_covariance(features, targets):
    return (features - features.mean(0)).T @ (targets - targets.mean(0)) / len(features)


def erased(features, matrix, offset):
    return features @ matrix.T + offset


def assert_uncorrelated(features, targets, found):
    """No covariance of any erased feature with any target, to rounding of the features as they
    were."""
    after = cross_covariance(erased(features, *found), targets).abs().max()
    assert after <= 1e-13 * features.abs().max() * len(features), (
        f"covariance of {after:.2g} is left"
    )


def change(features, found, metric=None):
    """Mean squared distance that features move, in the metric x' M x."""
    moved = erased(features, *found) - features
    return (
        (moved @ (torch.eye(features.shape[1]).to(moved) if metric is None else metric) * moved)
        .sum(1)
        .mean()
    )


def oblique(features, targets, metric=None):
    """The closed form, in the metric x' M x; M the inverse covariance where none is given."""
    metric = np.linalg.inv(np.cov(features.T)) if metric is None else metric.numpy()
    return tuple(map(torch.from_numpy, plain.oblique(features.numpy(), targets.numpy(), metric)))


def orthogonal(features, targets, tolerance):
    return oblique(features, targets, torch.eye(features.shape[1]).to(features))


def leaving_out(features, targets, tolerance):
    """The closed form on the directions of large variance alone; others stay as they are."""
    values, vectors = torch.linalg.eigh(torch.cov(features.T))
    large = vectors[:, values > tolerance * values.max()]
    matrix, offset = oblique(features @ large, targets)
    matrix = (
        torch.eye(features.shape[1]).to(large)
        + large @ (matrix - torch.eye(len(matrix)).to(large)) @ large.T
    )
    return matrix, large @ offset


def of_another_label(features, targets, tolerance):
    return eraser(features, targets.roll(1, 0), tolerance)


def leaving_all(features, targets, tolerance):
    width = features.shape[1]
    return torch.eye(width).to(features), torch.zeros(width).to(features)


@pytest.mark.parametrize("labels", [1, 3])
def test_erased_features_are_uncorrelated_with_every_label(labels):
    features, targets = sample(labels=labels)
    assert_uncorrelated(features, targets, eraser(features, targets, TOLERANCE))


@pytest.mark.parametrize("wrong", [of_another_label, leaving_all])
def test_features_that_were_erased_for_another_label_or_not_at_all_are_correlated(wrong):
    features, targets = sample()
    with pytest.raises(AssertionError, match="is left"):
        assert_uncorrelated(features, targets, wrong(features, targets, TOLERANCE))


@pytest.mark.parametrize("labels", [1, 3])
def test_it_is_the_oblique_projection_of_the_closed_form(labels):
    features, targets = sample(labels=labels)
    torch.testing.assert_close(
        eraser(features, targets, 1e-12), oblique(features, targets), rtol=1e-8, atol=1e-10
    )


@by_task
def test_a_network_gets_the_layer_of_the_closed_form_and_its_silent_output(task):
    problem = learnt_problem(task, norm=True)
    ours, theirs = edited(problem.net, method().edit(problem)), plain.leace(method(), problem)
    # Ours keeps features in float32.
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-6)


def assert_least(features, targets, found):
    """No other affine map that removes the covariance moves the features less, in whichever metric
    one measures."""
    cross, width = cross_covariance(features, targets), features.shape[1]
    keeping = torch.eye(width).to(cross) - cross @ torch.linalg.pinv(cross)
    draw = torch.Generator().manual_seed(7)
    candidates = [orthogonal(features, targets, TOLERANCE)]
    for size in (1e-3, 1e-2, 0.1, 1.0):
        # Whatever is multiplied by a matrix without C in its range does not bring C back.
        other = (
            found[0]
            + size * torch.randn(width, width, dtype=torch.float64, generator=draw) @ keeping
        )
        candidates.append((other, features.mean(0) - other @ features.mean(0)))
        candidates.append((found[0], found[1] + size))
    root = torch.randn(width, width, dtype=torch.float64, generator=draw)
    for metric in (None, root @ root.T):
        for candidate in candidates:
            assert_uncorrelated(features, targets, candidate)
            assert change(features, found, metric) < change(features, candidate, metric) * (
                1 + 1e-12
            )


@pytest.mark.parametrize("labels", [1, 3])
def test_no_other_eraser_changes_less(labels):
    features, targets = sample(labels=labels)
    assert_least(features, targets, eraser(features, targets, 1e-12))


def test_a_projection_without_whitening_erases_as_well_but_changes_more():
    features, targets = sample()
    found = orthogonal(features, targets, TOLERANCE)
    assert_uncorrelated(features, targets, found)
    with pytest.raises(AssertionError):
        assert_least(features, targets, found)


@pytest.mark.parametrize("labels", [1, 3])
def test_erasing_twice_is_erasing_once_and_the_mean_stays(labels):
    features, targets = sample(labels=labels)
    found = eraser(features, targets, TOLERANCE)
    once = erased(features, *found)
    torch.testing.assert_close(erased(once, *found), once)
    torch.testing.assert_close(once.mean(0), features.mean(0))
    assert torch.linalg.matrix_rank(torch.eye(features.shape[1]) - found[0]) == labels


def test_fewer_images_than_features_are_erased_all_the_same():
    features, targets = sample(images=20, width=40)
    found = eraser(features, targets, TOLERANCE)
    assert torch.linalg.matrix_rank(torch.cov(features.T)) < 20
    assert_uncorrelated(features, targets, found)
    torch.testing.assert_close(found[0] @ found[0], found[0])


def test_features_that_repeat_each_other_are_erased_all_the_same():
    features, targets = sample()
    features = torch.cat([features, features, torch.ones(len(features), 1)], 1)
    found = eraser(features, targets, TOLERANCE)
    assert_uncorrelated(features, targets, found)
    # The copies stay copies, and a constant stays the constant.
    torch.testing.assert_close(erased(features, *found)[:, :12], erased(features, *found)[:, 12:24])
    torch.testing.assert_close(erased(features, *found)[:, 24], features[:, 24])


def quiet_feature():
    """A label that one feature tells, whose variance is 10^-8 of the others'."""
    features, targets = sample(width=6)
    draw = torch.Generator().manual_seed(1)
    told = targets + 0.3 * torch.randn(len(targets), 1, dtype=torch.float64, generator=draw)
    return torch.cat([features, 1e-4 * told], 1), targets


def correlation(features, targets):
    """Largest absolute one of any feature with any target: what a feature tells once it is
    standardised."""
    pairs = np.corrcoef(features.numpy(), targets.numpy(), rowvar=False)
    return np.abs(pairs[: features.shape[1], features.shape[1] :]).max()


def test_a_label_told_along_a_direction_of_next_to_no_variance_is_erased_too():
    """Whoever standardises features reads it there as anywhere; leaving such directions out would
    leave it."""
    features, targets = quiet_feature()
    assert correlation(erased(features, *eraser(features, targets, TOLERANCE)), targets) < 1e-8
    assert correlation(erased(features, *leaving_out(features, targets, TOLERANCE)), targets) > 0.5


def test_a_label_that_repeats_another_one_changes_nothing():
    features, targets = sample()
    both = torch.cat([targets, 1 - targets], 1)
    torch.testing.assert_close(
        eraser(features, both, TOLERANCE), eraser(features, targets, TOLERANCE)
    )


@pytest.mark.parametrize("constant", ["targets", "features"])
def test_where_nothing_varies_nothing_is_erased(constant):
    features, targets = sample()
    if constant == "targets":
        targets = torch.zeros_like(targets)
    else:
        features = torch.full_like(features, 2.5)
    matrix, offset = eraser(features, targets, TOLERANCE)
    assert torch.equal(matrix, torch.eye(12, dtype=torch.float64))
    assert not offset.any()


def slopes_of(features, targets, strength):
    """Largest coefficient of a logistic regression on standardised features."""
    inputs = (features - features.mean(0)) / features.std(0).clamp(min=1e-12)
    reader = LogisticRegression(C=strength, tol=1e-10, max_iter=1000).fit(inputs, targets[:, 0])
    return np.abs(reader.coef_).max()


def test_a_logistic_regression_finds_nothing_in_erased_features_and_much_in_the_original_ones():
    features, targets = sample()
    assert (
        slopes_of(erased(features, *eraser(features, targets, TOLERANCE)), targets, strength=1e6)
        < 1e-6
    )
    assert slopes_of(features, targets, strength=1e6) > 1


def assert_forgotten(net, problem):
    """No line reads the label from features, and the output says the same of every image."""
    _, features = respond(net, problem.train)
    # float32, in which features are kept: a covariance of rounding is all that there is to read.
    assert correlation(features.double(), problem.train.targets[:, :1].double()) < 1e-5
    assert auroc(net, problem) == 0.5


@by_task
@pytest.mark.parametrize("norm", [False, True])
def test_a_network_with_the_layer_tells_no_line_of_its_label(task, norm):
    problem = learnt_problem(task, norm)
    assert_forgotten(edited(problem.net, method().edit(problem)), problem)


@by_task
def test_the_original_and_erasers_of_something_else_do_not_pass(task, monkeypatch):
    problem = learnt_problem(task)
    with pytest.raises(AssertionError):
        assert_forgotten(problem.net, problem)
    monkeypatch.setattr(leace, "eraser", of_another_label)
    with pytest.raises(AssertionError):
        assert_forgotten(edited(problem.net, method().edit(problem)), problem)


@by_task
def test_a_linear_attacker_reads_the_folded_features_and_not_those_behind_the_layer(task):
    problem = learnt_problem(task)
    layered, folded = (
        edited(problem.net, method(fold=fold).edit(problem)) for fold in (False, True)
    )
    known, read, left = (
        slopes_of(respond(net, problem.train)[1].double(), problem.train.targets, strength=1)
        for net in (problem.net, folded, layered)
    )
    assert read == known > 1
    # The penalty's pull is as strong as 256 images' covariance with the label, which is float32's
    # rounding.
    assert left < 1e-4


@by_task
def test_folded_into_the_head_it_gives_the_layers_logits(task):
    problem = learnt_problem(task, norm=True)
    layered, folded = (
        edited(problem.net, method(fold=fold).edit(problem)) for fold in (False, True)
    )
    images = problem.validation[torch.arange(64)].images
    torch.testing.assert_close(folded(images), layered(images))
    assert folded.state_dict().keys() == problem.net.state_dict().keys()
    assert torch.equal(folded.features(images), problem.net.features(images))
    assert (folded(images)[:, 1:] != problem.net(images)[:, 1:]).any()


def test_several_labels_are_erased_together():
    problem = replace(learnt_problem(), request=ForgetRequest((0, 2), (1,)))
    net = edited(problem.net, method().edit(problem))
    _, features = respond(net, problem.train)
    assert correlation(features.double(), problem.train.targets[:, [0, 2]].double()) < 1e-5
    assert correlation(features.double(), problem.train.targets[:, [1]].double()) > 0.5


def test_images_whose_target_is_unknown_do_not_count():
    problem = learnt_problem()
    train = problem.train
    known, targets = train.known.clone(), train.targets.clone()
    known[::3, 0], targets[::3, 0] = False, 1 - targets[::3, 0]
    masked = (
        method().edit(replace(problem, train=replace(train, known=known, targets=targets))).eraser
    )
    fewer = train.subset(known[:, 0].nonzero().squeeze(1))
    torch.testing.assert_close(masked, method().edit(replace(problem, train=fewer)).eraser)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(masked, method().edit(problem).eraser)


def test_targets_that_no_image_has_are_refused():
    problem = learnt_problem()
    with pytest.raises(UserError, match="no training image has all forgotten targets known"):
        method().edit(replace(problem, train=problem.train.withhold((0,))))


@by_task
def test_a_saved_network_comes_back_with_its_layer(task, tmp_path):
    problem = learnt_problem(task, norm=True)
    net = edited(problem.net, method().edit(problem))
    assert_comes_back(net, small_net(problem.train.targets.shape[1], norm=True).eval(), tmp_path)


def test_a_saved_backbone_comes_back_with_its_layer(tmp_path):
    torch.manual_seed(0)
    backbone, problem = Tiny(name="tiny", widths=(6, 8)), learnt_problem()
    net, bare = backbone.build(3).eval(), backbone.build(3).eval()
    assert_comes_back(
        edited(net, method().edit(replace(problem, net=net, original=net))), bare, tmp_path
    )


def assert_comes_back(net, bare, folder):
    images = torch.randint(
        0, 256, (16, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert (net(images) != bare(images)).any()
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    assert "body.erase.weight" in state
    save_file(state, folder / "weights.safetensors")
    load_trained(bare, folder / "weights.safetensors")
    assert torch.equal(bare(images), net(images))


@by_task
def test_the_original_is_untouched_and_nothing_is_trained(task):
    problem = learnt_problem(task)
    before = copy.deepcopy(problem.net.state_dict())
    for fold in (False, True):
        assert len(method(fold=fold).passes(problem)) == 0
        edited(problem.net, method(fold=fold).edit(problem))
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
