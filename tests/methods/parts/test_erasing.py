from dataclasses import replace

import numpy as np
import pytest
import torch

from mlu.methods.parts.erasing import (
    basis_of,
    cross_covariance,
    erasing_edit,
    labelled_features,
    whitening_of,
)
from mlu.models.outputs import respond
from mlu.system.errors import UserError
from mlu.unlearning.unlearner import edited
from tests.support.learnt import learnt_problem


def sample(images=60, width=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, dtype=torch.float64, generator=draw)
    return 3 + torch.randn(images, width, dtype=torch.float64, generator=draw) @ mixing


def test_whitened_features_have_unit_covariance_and_come_back():
    features = sample()
    white = whitening_of(features, 1e-12)
    after = (features - white.mean) @ white.inverse
    identity = np.eye(5)
    np.testing.assert_allclose(np.cov(after.numpy().T, bias=True), identity, atol=1e-10)
    torch.testing.assert_close(after @ white.root + white.mean, features)
    torch.testing.assert_close(white.root @ white.inverse, torch.from_numpy(identity))


def test_little_variance_is_raised_and_nothing_is_left_out():
    features = torch.cat([sample(), torch.full((60, 1), 2.0, dtype=torch.float64)], 1)
    white = whitening_of(features, 1e-4)
    values = torch.linalg.eigvalsh(white.root).square()
    torch.testing.assert_close(values.min(), 1e-4 * values.max())
    torch.testing.assert_close(white.root @ white.inverse, torch.eye(6, dtype=torch.float64))


def test_cross_covariances_are_numpys():
    features, targets = sample(), (sample(seed=1) > 3)[:, :2].double()
    both = np.cov(torch.cat([features, targets], 1).numpy().T, bias=True)
    np.testing.assert_allclose(cross_covariance(features, targets), both[:5, 5:], atol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_basis_spans_its_columns_and_no_more(rank):
    columns = sample()[:6, :3].T[:3].clone()
    columns[rank:] = 0
    wide = columns.T @ torch.randn(3, 7, dtype=torch.float64)
    basis = basis_of(wide, images=60)
    assert basis.shape == (6, np.linalg.matrix_rank(wide)) == (6, rank)
    torch.testing.assert_close(basis.T @ basis, torch.eye(rank, dtype=torch.float64))
    torch.testing.assert_close(basis @ (basis.T @ wide), wide)


def test_of_no_columns_the_basis_is_empty():
    assert basis_of(torch.zeros(4, 0), images=9).shape == (4, 0)


def test_features_are_those_of_all_images_and_unknown_targets_are_told():
    problem = learnt_problem()
    known = problem.train.known.clone()
    known[::3, 0], known[1::3, 1] = False, False
    features, told = labelled_features(
        replace(problem, train=replace(problem.train, known=known)), "mine"
    )
    assert features.dtype == torch.float64
    assert torch.equal(features, respond(problem.net, problem.train)[1].double())
    assert torch.equal(told, known[:, 0])


def test_where_no_target_is_known_the_method_is_named():
    problem = learnt_problem()
    withheld = replace(problem, train=problem.train.withhold((0,)))
    with pytest.raises(UserError, match=r"^mine: no training image has all forgotten targets"):
        labelled_features(withheld, "mine")


@pytest.mark.parametrize("fold", [False, True])
def test_a_map_comes_before_a_silent_head_or_into_it(fold):
    problem = learnt_problem()
    matrix = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    offset = matrix[0]
    net = edited(problem.net, erasing_edit(problem, (matrix, offset), fold))
    images = problem.train[torch.arange(16)].images
    said, features = net(images), problem.net.features(images)
    moved = features @ matrix.T + offset
    torch.testing.assert_close(said[:, 1:], problem.net.head(moved)[:, 1:])
    assert said[:, 0].unique().numel() == 1
    assert torch.equal(net.features(images), features) == fold
