import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mlu.methods.parts.refit import RIDGE, refit_head
from mlu.models.outputs import respond
from mlu.models.tasks import ForgetRequest, SingleLabel
from tests.support.planted import entangled_problem


def refitted(problem, images=64):
    return refit_head(problem, copy.deepcopy(problem.net), images)


def features_of(problem):
    return respond(problem.net, problem.train)[1].double().numpy()


def changed(problem, column, values):
    targets = problem.train.targets.clone()
    targets[:, column] = values
    return replace(problem, train=replace(problem.train, targets=targets))


def test_retained_rows_are_those_of_a_regularised_logistic_regression():
    problem = entangled_problem()
    net, scaler = refitted(problem), StandardScaler()
    inputs = scaler.fit_transform(features_of(problem))

    for column in problem.request.retained:
        model = LogisticRegression(C=1 / (2 * RIDGE * 64), tol=1e-10, max_iter=10_000)
        model.fit(inputs, problem.train.targets[:, column].numpy())
        weight = model.coef_[0] / scaler.scale_
        bias = model.intercept_[0] - weight @ scaler.mean_
        np.testing.assert_allclose(net.head.weight[column].detach(), weight, rtol=2e-2, atol=2e-2)
        np.testing.assert_allclose(net.head.bias[column].detach(), bias, rtol=2e-2, atol=2e-2)


def test_classes_are_fitted_together_like_a_multinomial_regression():
    """On the retained ones: an image of the forgotten class is not looked at."""
    problem = entangled_problem()
    classes = torch.arange(64) % 3
    targets = torch.nn.functional.one_hot(classes, 3).float()
    problem = replace(problem, task=SingleLabel(), train=replace(problem.train, targets=targets))
    problem.task.silence(problem.net.head, (0,), torch.tensor([1 / 3] * 3))
    net, retained = refitted(problem), classes > 0

    scaler = StandardScaler()
    inputs = scaler.fit_transform(features_of(problem)[retained])
    # Of two classes it is the regression on their difference d: d/2 and -d/2, a penalty of d²/4.
    count = int(retained.sum())
    model = LogisticRegression(C=2 / (RIDGE * count), tol=1e-10, max_iter=10_000)
    model.fit(inputs, classes[retained].numpy())
    slope = (net.head.weight[2] - net.head.weight[1]).detach().numpy() * scaler.scale_
    np.testing.assert_allclose(slope, model.coef_[0], rtol=1e-2, atol=1e-2)


def test_the_forgotten_output_stays_and_its_targets_are_not_read():
    problem = entangled_problem()
    one, other = refitted(problem), refitted(changed(problem, 0, 1.0))
    for net in (one, other):
        assert torch.equal(net.head.weight[0], problem.net.head.weight[0])
        assert torch.equal(net.head.bias[0], problem.net.head.bias[0])
    assert torch.equal(one.head.weight, other.head.weight)
    # Control: retained ones are.
    assert not torch.equal(refitted(changed(problem, 1, 1.0)).head.weight, one.head.weight)


def test_an_image_whose_target_is_unknown_is_as_if_it_were_not_there():
    problem = entangled_problem()
    problem = replace(problem, request=ForgetRequest((0, 1), (2,)))
    known = problem.train.known.clone()
    known[::3, 2] = False
    flipped = changed(problem, 2, torch.where(known[:, 2], problem.train.targets[:, 2], 1.0))
    zeroed = changed(problem, 2, torch.where(known[:, 2], problem.train.targets[:, 2], 0.0))
    found = [
        refitted(replace(one, train=replace(one.train, known=known))).head.weight
        for one in (flipped, zeroed)
    ]
    assert torch.equal(*found)
    assert not torch.equal(found[0], refitted(zeroed).head.weight)


@pytest.mark.parametrize("images", [0, 1])
def test_without_images_nothing_is_fitted(images):
    problem = entangled_problem()
    for name, value in refitted(problem, images).state_dict().items():
        assert torch.equal(value, problem.net.state_dict()[name])


def test_it_draws_by_the_seed_and_body_and_original_stay():
    problem = entangled_problem()
    before = copy.deepcopy(problem.net.state_dict())
    one = refitted(problem, 20)
    assert torch.equal(one.head.weight, refitted(problem, 20).head.weight)
    assert not torch.equal(one.head.weight, refitted(replace(problem, seed=1), 20).head.weight)
    for name, value in one.body.state_dict().items():
        assert torch.equal(value, before[f"body.{name}"])
    assert all(torch.equal(value, before[name]) for name, value in problem.net.state_dict().items())


def test_a_feature_that_does_not_vary_gets_no_infinite_weight():
    problem = entangled_problem()
    with torch.no_grad():
        problem.net.body.conv.weight[1] = 0
        problem.net.body.conv.bias[1] = -1
    net = refitted(problem)
    assert net.head.weight.isfinite().all()
    assert net.head.bias.isfinite().all()
