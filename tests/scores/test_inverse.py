import pytest
import torch
from scipy.stats import norm

from mlu.models.network import Network
from mlu.models.tasks import MultiLabel, SingleLabel
from mlu.scores import inverse
from mlu.scores.gradients import all_weights
from mlu.scores.influence import quiet_libraries
from mlu.scores.inverse import DRAWS, LabelOdds, damped_inverse, mean_curvature
from tests.support.label_slopes import COLUMN, IMAGES, pixels, points_of, slopes_of, smooth_net

assert IMAGES <= DRAWS, "so that the mean curvature, and with it the damping, is no estimate"

by_task = pytest.mark.parametrize("task", [MultiLabel(), SingleLabel()], ids=lambda task: task.name)


@pytest.fixture
def net() -> Network:
    return smooth_net()


def solved(net, task, damping):
    """What conjugate gradients make of a right side; the side; the matrix without its damping, and
    with it."""
    images = pixels(points_of(task))
    parameters = [net.get_parameter(name).requires_grad_() for name in all_weights(net)]
    data = [(part, torch.zeros(len(part), 1).double()) for part in images.split(10)]
    generator = torch.Generator().manual_seed(0)
    vector = [torch.randn(one.shape, generator=generator).double() for one in parameters]
    with quiet_libraries():
        solve = damped_inverse("cg", LabelOdds(net, task, COLUMN), parameters, data, damping, 0)
        found = torch.cat([part.flatten() for part in solve(vector)]).detach()

    matrix = slopes_of(net, task, images).curvature().detach()
    damped = matrix + damping * matrix.diagonal().mean() * torch.eye(len(matrix)).double()

    return found, torch.cat([part.flatten() for part in vector]), matrix, damped


@by_task
@pytest.mark.parametrize("damping", [0.1, 10.0])
def test_the_inverse_times_the_damped_matrix_is_the_identity(net, task, damping, monkeypatch):
    monkeypatch.setattr(inverse, "TOLERANCE", 1e-10)
    monkeypatch.setattr(inverse, "ITERATIONS", 500)
    found, side, matrix, damped = solved(net, task, damping)
    torch.testing.assert_close(damped @ found, side, rtol=1e-6, atol=1e-6)
    # Control: without the damping it is another system.
    assert not torch.allclose(matrix @ found, side, rtol=1e-2)


# A single step is too few, and the library says so.
@pytest.mark.filterwarnings("ignore:CG terminated")
@by_task
def test_a_thousandth_of_the_right_side_is_left_and_more_after_a_single_step(
    net, task, monkeypatch
):
    def left():
        found, side, _, damped = solved(net, task, 0.1)
        return float((damped @ found - side).norm() / side.norm())

    assert left() <= 1e-3
    monkeypatch.setattr(inverse, "ITERATIONS", 1)
    assert left() > 1e-2


def test_label_odds_are_those_of_one_label_against_the_rest(net):
    images = pixels(points_of(SingleLabel()))
    probs = SingleLabel().probs(net(images))[:, [COLUMN]]
    odds = LabelOdds(net, SingleLabel(), COLUMN)(images)
    torch.testing.assert_close(odds, torch.logit(probs), rtol=1e-9, atol=1e-9)


@by_task
def test_the_mean_curvature_is_unbiased(net, task, monkeypatch):
    monkeypatch.setattr(inverse, "DRAWS", 6)
    points, draws = points_of(task), 60
    images = pixels(points)
    model, parameters = (
        LabelOdds(net, task, COLUMN),
        [net.get_parameter(name) for name in all_weights(net)],
    )

    def estimate(seed):
        return mean_curvature(model, parameters, list(images.split(10)), seed)

    # In chunks of 4, 4, 2: Var |sum s g|^2 = 2 sum of (g_a . g_b)^2 over pairs a != b of a chunk.
    chunks = [slopes_of(net, task, chunk) for part in images.split(10) for chunk in part.split(4)]
    total, variance = 0, 0
    for jacobian, prob in chunks:
        rows = (prob * (1 - prob)).sqrt().unsqueeze(1) * jacobian
        gram = rows @ rows.T
        total += gram.trace()
        variance += 2 * (gram.square().sum() - gram.diagonal().square().sum())
    per_weight = 1 / (IMAGES * rows.shape[1])
    allowed = norm.isf(1e-3 / 2) * (variance / draws).sqrt() * per_weight
    mean = sum(estimate(seed) for seed in range(draws)) / draws
    assert abs(mean - total * per_weight) <= allowed
    monkeypatch.setattr(inverse, "random_signs", lambda like, _: torch.ones_like(like))
    assert abs(estimate(0) - total * per_weight) > allowed


def test_the_mean_curvature_is_decided_by_its_seed_alone(net, monkeypatch):
    monkeypatch.setattr(inverse, "DRAWS", 2)
    task = MultiLabel()
    parameters = [net.get_parameter(name) for name in all_weights(net)]

    def estimate(seed, before):
        torch.manual_seed(before)
        images = [pixels(points_of(task))]
        return mean_curvature(LabelOdds(net, task, COLUMN), parameters, images, seed)

    assert estimate(0, before=1) == estimate(0, before=2)
    assert estimate(0, before=1) != estimate(1, before=1)


@by_task
def test_the_mean_curvature_of_a_few_images_is_no_estimate(net, task):
    points = points_of(task)
    images = pixels(points)
    model, parameters = (
        LabelOdds(net, task, COLUMN),
        [net.get_parameter(name) for name in all_weights(net)],
    )
    found = mean_curvature(model, parameters, [images], seed=0)
    assert found == pytest.approx(
        slopes_of(net, task, images).curvature().diagonal().mean().item(), rel=1e-10
    )
