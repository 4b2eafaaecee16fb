import copy
from dataclasses import dataclass, replace

import pytest
import torch

from benchmarks import plain
from mlu.methods.jit import JustInTime, perturbed
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.training.optimise import Tuning
from tests.support.learnt import brief_problem, learnt_problem, one_thread, unlearnt

TUNING = Tuning(epochs=2, lr=0.01, momentum=0.0, batch_size=32, statistics="kept", augment="none")
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def jit(kind=JustInTime, **changes) -> JustInTime:
    return kind(**{"name": "jit", "sigma": 0.5, "samples": 3, "tuning": TUNING} | changes)


def draw():
    return torch.Generator().manual_seed(0)


def by_hand(problem, net, images, sigma, samples):
    """Sum over images of the mean of |f(x) - f(x')| / |x - x'|, one image and draw at a time."""
    generator = draw()
    noises = [torch.randn(images.shape, generator=generator) for _ in range(samples)]
    columns = [0] if problem.task.name == "multilabel" else list(range(4))
    total = 0.0
    for row, image in enumerate(images.double() / 255):
        for noise in noises:
            noisy = (image + sigma * noise[row] * net.std).clamp(0, 1)
            apart = (net(image[None]) - net(noisy[None]).detach())[0, columns]
            way = ((noisy - image) / net.std).square().sum().sqrt()
            total = total + apart.square().sum().sqrt() / way / samples
    return total


def slopes(loss, net):
    return torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)


@by_task
def test_the_loss_is_the_sum_of_local_lipschitz_constants_and_has_no_slope_through_the_noise(task):
    problem = learnt_problem(task, norm=True)
    batch = problem.forget[torch.arange(6)]
    net = copy.deepcopy(problem.net).requires_grad_(True)
    ours = jit().loss(problem, draw(), net, batch)
    theirs = by_hand(problem, net, batch.images, 0.5, 3)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    for one, other in zip(slopes(ours, net), slopes(theirs, net), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)


@by_task
def test_other_noise_or_other_outputs_give_another_loss(task):
    """The negative control of the test above."""
    problem = learnt_problem(task, norm=True)
    batch = problem.forget[torch.arange(6)]
    expected = by_hand(problem, problem.net, batch.images, 0.5, 3)
    louder = jit(sigma=1.0).loss(problem, draw(), problem.net, batch)
    assert not torch.allclose(louder, expected, rtol=1e-3)
    whole = replace(problem, request=replace(problem.request, forgotten=(0, 1), retained=(2,)))
    if task == "multilabel":
        other = jit().loss(whole, draw(), problem.net, batch)
        assert not torch.allclose(other, expected, rtol=1e-3)


@by_task
@pytest.mark.parametrize("augment", ["none", "paper"])
def test_it_is_the_plain_loop_of_its_authors(augment, task):
    problem = brief_problem(task)
    method = jit(tuning=replace(TUNING, augment=augment, momentum=0.5, weight_decay=0.01))
    ours, theirs = unlearnt(method, problem), plain.jit(method, problem)
    # Images that are augmented are float32.
    rounding = {"rtol": 1e-9, "atol": 1e-12} if augment == "none" else {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), **rounding)
    before = problem.net.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_noisy_pixels_stay_pixels_and_the_way_is_that_of_normalised_images():
    net = learnt_problem().net
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=draw())
    noise = torch.randn(4, 3, 8, 8, generator=draw())
    noisy, way = perturbed(net, images, noise)
    assert noisy.min() == 0
    assert noisy.max() == 1
    plain_images = images.double() / 255
    normalised = [(some - net.mean) / net.std for some in (noisy, plain_images)]
    torch.testing.assert_close(way, normalised[0] - normalised[1])
    inside = (noisy > 0) & (noisy < 1)
    torch.testing.assert_close(way[inside], noise.double()[inside])
    assert inside.float().mean() > 0.3


def test_images_that_are_no_pixels_are_moved_as_they_are():
    net = learnt_problem().net
    bare = Network.around(net.body, net.head)
    images, noise = torch.randn(2, 3, 8, 8, generator=draw()), torch.full((2, 3, 8, 8), 5.0)
    noisy, way = perturbed(bare, images, noise)
    torch.testing.assert_close(noisy, images + 5)
    assert torch.equal(way, noise)


@dataclass(frozen=True, kw_only=True)
class Repels(JustInTime):
    """With the sign turned."""

    def loss(self, problem, generator, net, batch):
        return -super().loss(problem, generator, net, batch)


def gap(net, problem):
    """How much higher the forgotten log-odds are of images that have it, on the average."""
    odds = problem.task.log_odds(respond(net, problem.validation)[0])[:, 0]
    positive = problem.validation.targets[:, 0] > 0
    return (odds[positive].mean() - odds[~positive].mean()).item()


def assert_says_less(net, problem):
    assert gap(net, problem) < 0.95 * gap(problem.net, problem), "it says as much"


LONGER = replace(TUNING, epochs=10, lr=0.003)


@by_task
def test_the_forgotten_output_says_less_of_its_label(task):
    problem = learnt_problem(task)
    assert_says_less(unlearnt(jit(tuning=LONGER), problem), problem)


@by_task
@pytest.mark.parametrize("kind", [None, Repels], ids=["original", "sign turned"])
def test_a_network_that_says_as_much_is_caught(kind, task):
    problem = learnt_problem(task)
    net = problem.net if kind is None else unlearnt(jit(kind, tuning=LONGER), problem)
    with pytest.raises(AssertionError, match="it says as much"):
        assert_says_less(net, problem)


def test_of_several_labels_no_target_is_read_and_the_other_rows_of_the_head_stay():
    problem = brief_problem()
    train = problem.train
    other = replace(train, targets=1 - train.targets, known=~train.known)
    ours, theirs = (
        unlearnt(jit(), replace(problem, train=split)).state_dict() for split in (train, other)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert torch.equal(ours["head.weight"][1:], problem.net.head.weight[1:])
    assert not torch.equal(ours["head.weight"][0], problem.net.head.weight[0])


def test_of_classes_only_images_of_forgotten_ones_are_seen():
    problem = brief_problem("singlelabel")
    (one, *_) = jit().passes(problem)
    assert (one.images.targets[:, 0] > 0).all()
    assert len(one.images) == 24
    assert one.beside is None


@by_task
def test_it_is_repeatable_and_leaves_the_original_alone(task):
    problem = brief_problem(task)
    before = copy.deepcopy(problem.net.state_dict())
    first, again = (unlearnt(jit(), problem).state_dict() for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
