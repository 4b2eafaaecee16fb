import copy
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
from scipy.stats import chi2
from torch.nn import functional as F

from benchmarks import plain
from mlu.methods import unsir as source
from mlu.methods.parts.losses import loss_of_retained
from mlu.methods.unsir import Unsir, noise_loss, noise_targets
from mlu.models.tasks import ForgetRequest
from mlu.system.errors import UserError
from mlu.training.optimise import Tuning
from tests.support.learnt import brief_problem, learnt_problem, one_thread, unlearnt
from tests.support.readings import accuracy, auroc_interval

TUNING = Tuning(epochs=5, lr=0.02, optimiser="adam", batch_size=32)
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def unsir(kind=Unsir, **changes) -> Unsir:
    defaults = {
        "name": "unsir",
        "noise_images": 64,
        "noise_steps": 40,
        "noise_lr": 0.1,
        "penalty": 0.01,
        "shown": None,
        "share": 1.0,
        "per_class": None,
        "repair_lr": 0.01,
        "tuning": TUNING,
    }
    return kind(**defaults | changes)


class Descends(Unsir):
    """Noise that the network is most right about."""

    def learn_noise(self, problem, targets, generator):
        with mock.patch.object(source, "noise_loss", lambda *given: -noise_loss(*given)):
            return super().learn_noise(problem, targets, generator)


class IgnoresNoise(Unsir):
    def impairing_loss(self, problem, noise, targets, generator, net, batch):
        return loss_of_retained(problem, net, batch)


def learnt_noise(method, problem):
    """Noise images in normalised pixels, and what they stand for."""
    generator = problem.generator()
    targets = noise_targets(problem, method.noise_images, generator)
    images = method.learn_noise(problem, targets, generator)
    return (images - problem.net.mean) / problem.net.std, targets


def plain_noise_loss(net, noise, targets, task):
    logits = net(net.denormalised(noise))
    if task == "multilabel":
        return F.binary_cross_entropy_with_logits(logits[:, 0], targets[:, 0].double())
    return -logits.log_softmax(1)[:, 0].mean()


def assert_climbs(method, problem):
    """The network is ever more wrong about the noise, the longer it is learnt."""
    losses = []
    for steps in (0, 5, 10, 20, 40):
        noise, targets = learnt_noise(replace(method, noise_steps=steps), problem)
        losses.append(plain_noise_loss(problem.net, noise, targets, problem.task.name).item())
    assert losses == sorted(set(losses))


@by_task
def test_learning_noise_climbs_the_forgotten_loss(task):
    assert_climbs(unsir(penalty=0.0), learnt_problem(task))
    assert_climbs(unsir(penalty=0.001), learnt_problem(task))


@by_task
def test_noise_that_descends_is_caught(task):
    with pytest.raises(AssertionError):
        assert_climbs(unsir(Descends, penalty=0.0), learnt_problem(task))


@by_task
@pytest.mark.parametrize("penalty", [0.01, 0.1])
def test_the_penalty_bounds_the_noise(task, penalty):
    """Noise that is worth its norm has |noise|^2 penalty <= its loss - that of none; so does it
    after enough steps."""
    problem = learnt_problem(task)
    noise, targets = learnt_noise(unsir(penalty=penalty, noise_steps=100), problem)
    gained = [
        plain_noise_loss(problem.net, images, targets, task)
        for images in (noise, torch.zeros_like(noise))
    ]
    scaled = penalty * 3 * 32 * 32 / (3 * 8 * 8)
    assert scaled * noise.square().sum((1, 2, 3)).mean() <= gained[0] - gained[1]
    free, _ = learnt_noise(unsir(penalty=0.0, noise_steps=100), problem)
    assert noise.square().sum() < free.square().sum()


def test_noise_starts_as_standard_normal_draws_in_normalised_pixels():
    noise, _ = learnt_noise(unsir(noise_steps=0), learnt_problem())
    for channel in noise.transpose(0, 1).double():
        low, high = chi2.interval(0.999, channel.numel())
        assert low < channel.square().sum() < high


@by_task
def test_learning_noise_leaves_the_network_and_its_statistics_alone(task):
    problem = learnt_problem(task, norm=True)
    before = copy.deepcopy(problem.net.state_dict())
    unsir().passes(problem)
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in problem.net.parameters())


def test_a_network_in_training_mode_would_drift_while_noise_is_learnt():
    """As it does in the authors' notebook: why a problem's network is in evaluation mode."""
    problem = learnt_problem(norm=True)
    problem = replace(problem, net=copy.deepcopy(problem.net).train())
    unsir().passes(problem)
    assert (
        problem.net.body.bn.running_mean != learnt_problem(norm=True).net.body.bn.running_mean
    ).all()


def test_of_each_forgotten_label_half_of_the_noise_is_positive_and_retained_ones_have_no_target():
    problem = learnt_problem()
    problem = replace(problem, request=ForgetRequest(forgotten=(0, 2), retained=(1,)))
    targets = noise_targets(problem, 64, problem.generator())
    assert targets.sum(0).tolist() == [32, 0, 32]
    assert not torch.equal(targets[:, 0], targets[:, 2])
    assert noise_targets(problem, 7, problem.generator())[:, 0].sum() == 3


def test_noise_stands_for_each_forgotten_class_in_turn():
    problem = learnt_problem("singlelabel")
    problem = replace(problem, request=ForgetRequest(forgotten=(1, 3), retained=(0, 2)))
    assert noise_targets(problem, 5, problem.generator()).argmax(1).tolist() == [1, 3, 1, 3, 1]


def assert_spares_retained_rows(loss):
    """Noise says nothing about retained labels."""
    problem = learnt_problem()
    net = copy.deepcopy(problem.net).requires_grad_(True)
    noise, targets = learnt_noise(unsir(), problem)
    loss(problem, net(net.denormalised(noise)), targets).backward()
    assert net.head.weight.grad[0].any()
    assert not net.head.weight.grad[1:].any()
    assert not net.head.bias.grad[1:].any()


def test_noise_has_no_slope_at_retained_rows_of_a_multilabel_head():
    assert_spares_retained_rows(noise_loss)


def test_noise_that_were_given_targets_for_retained_labels_would_have_one():
    with pytest.raises(AssertionError):
        assert_spares_retained_rows(
            lambda problem, logits, targets: problem.task.terms(logits, targets).mean()
        )


@by_task
def test_a_batch_is_half_noise_and_half_retained_images_passed_together(task):
    problem, seen = brief_problem(task, norm=False), []
    impair = unsir(tuning=replace(TUNING, epochs=1)).passes(problem)[0]
    noise, targets = impair.loss.args[1:3]

    def net(images):
        seen.append(images)
        return problem.net(images)

    (batch, *_) = plain.as_shown(problem, impair.images, 16, number=0, step=0)
    loss = impair.loss(net, batch)
    (images,) = seen
    assert len(images) == 32
    assert torch.equal(images[1::2], batch.images)
    rows = (images[::2, None] == noise.to(images)).all((2, 3, 4)).nonzero()
    assert rows[:, 0].tolist() == list(range(16))
    outputs = problem.net(images)
    false, true = outputs[::2], outputs[1::2]
    wrong = targets[rows[:, 1]]
    if task == "multilabel":
        parts = F.binary_cross_entropy_with_logits(false[:, 0], wrong[:, 0])
        parts = parts + F.binary_cross_entropy_with_logits(true[:, 1:], batch.targets[:, 1:])
    else:
        parts = F.cross_entropy(false, wrong.argmax(1)) + F.cross_entropy(
            true, batch.targets.argmax(1)
        )
    torch.testing.assert_close(loss, parts, rtol=1e-6, atol=0)


SHUFFLED = replace(TUNING, augment="none")


@by_task
def test_noise_may_be_shuffled_among_the_images(task):
    """Each noise image as often as any other, to within one, with what it stands for."""
    problem = learnt_problem(task)
    method = unsir(noise_images=16, shown=40, tuning=SHUFFLED)
    impair, repair = method.passes(problem)[0], method.passes(problem)[-1]
    assert len(impair.images) == len(problem.retain) + 40
    everything = impair.images[torch.arange(len(impair.images))]
    true, false = everything.images[:-40], everything.images[-40:]

    torch.testing.assert_close(true, problem.retain[torch.arange(len(problem.retain))].images / 255)
    normed, targets = learnt_noise(method, problem)
    noise = problem.net.denormalised(normed).float()
    number = (false[:, None] - noise).abs().amax((2, 3, 4)).argmin(1)
    torch.testing.assert_close(false, noise[number], rtol=1e-5, atol=1e-6)
    assert number.bincount(minlength=16).unique().tolist() == [2, 3]
    assert torch.equal(everything.targets[-40:], targets[number])
    assert everything.known[-40:].sum() == 40
    assert everything.known[-40:, 0].all()
    assert len(repair.images) == len(problem.retain)


@by_task
def test_a_batch_with_noise_in_it_is_learnt_as_one_with_targets_of_its_own(task):
    problem = learnt_problem(task)
    impair = unsir(shown=64, tuning=SHUFFLED).passes(problem)[0]
    batch = impair.images[torch.arange(len(impair.images))[-100:]]
    logits = problem.net(batch.images)
    if task == "singlelabel":
        expected = F.cross_entropy(logits, batch.targets.argmax(1))
    else:
        expected = F.binary_cross_entropy_with_logits(logits[:36, 1:], batch.targets[:36, 1:])
        noise = F.binary_cross_entropy_with_logits(logits[36:, 0], batch.targets[36:, 0])
        expected = expected + noise
    torch.testing.assert_close(impair.loss(problem.net, batch), expected, rtol=1e-6, atol=0)


def test_shuffled_noise_is_not_clipped_by_augmentation():
    with pytest.raises(UserError, match=r"method\.tuning\.augment=none"):
        unsir(shown=64)


@pytest.mark.parametrize("most", [1, 10, 1000])
def test_of_each_class_so_many_images_are_seen(most):
    problem = learnt_problem("singlelabel")
    for one in unsir(per_class=most, tuning=replace(TUNING, epochs=1)).passes(problem):
        assert one.images.targets.sum(0).tolist() == [0] + [min(most, 64)] * 3
    labels = learnt_problem("multilabel")
    (impair, _) = unsir(per_class=most, tuning=replace(TUNING, epochs=1)).passes(labels)
    assert len(impair.images) == len(labels.retain)


@by_task
def test_with_shuffled_noise_it_is_known_less_as_well(task):
    problem = learnt_problem(task)
    net = unlearnt(unsir(shown=256, tuning=SHUFFLED), problem)
    assert auroc_interval(net, problem)[1] < auroc_interval(problem.net, problem)[0]


def test_impairing_comes_first_and_repairing_has_its_own_rate_and_optimiser():
    problem = learnt_problem()
    passes = unsir(share=0.5, tuning=replace(TUNING, epochs=2)).passes(problem)
    assert [one.loss.func.__name__ for one in passes] == ["impairing_loss"] * 2 + [
        "loss_of_retained"
    ] * 2
    assert [one.lr for one in passes] == [None, None, 0.01, 0.01]
    assert [one.fresh for one in passes] == [False, False, True, False]
    for one in passes:
        assert len(one.images) == 128
        assert not one.images.known[:, 0].any()


def test_without_epochs_there_is_nothing_to_do():
    assert unsir(tuning=replace(TUNING, epochs=0)).passes(learnt_problem()) == []


def plain_fine_tuning(problem, anew=True):
    """Adam on retained images at one rate, then at another; `anew` with an Adam of its own."""
    net = copy.deepcopy(problem.net).requires_grad_(True).train()
    optimiser, step = torch.optim.Adam(net.parameters(), lr=0.02), 0
    for number in range(4):
        if number == 2:
            optimiser = torch.optim.Adam(net.parameters()) if anew else optimiser
            optimiser.param_groups[0]["lr"] = 0.01
        for batch in plain.as_shown(problem, problem.retain, 32, number, step):
            logits = net(batch.images)
            if problem.task.name == "multilabel":
                loss = F.binary_cross_entropy_with_logits(logits[:, 1:], batch.targets[:, 1:])
            else:
                loss = F.cross_entropy(logits, batch.targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
    return net


@by_task
def test_without_the_loss_of_noise_it_is_plain_fine_tuning(task):
    problem, silent = (
        brief_problem(task, norm=False),
        lambda problem, logits, targets: 0 * logits.sum(),
    )
    with mock.patch.object(source, "noise_loss", silent):
        ours = unlearnt(unsir(tuning=replace(TUNING, epochs=2)), problem)
    assert_close = partial(torch.testing.assert_close, ours.state_dict(), rtol=1e-9, atol=1e-12)
    assert_close(plain_fine_tuning(problem).state_dict())
    with pytest.raises(AssertionError):
        assert_close(plain_fine_tuning(problem, anew=False).state_dict())


@by_task
def test_it_is_the_plain_loop_of_its_authors(task):
    problem = brief_problem(task)
    method = unsir(noise_steps=5, share=0.5, tuning=replace(TUNING, epochs=2, weight_decay=0.01))
    ours, theirs = unlearnt(method, problem), plain.unsir(method, problem)
    torch.testing.assert_close(
        ours.state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-7
    )  # noise is float32


def assert_forgets(net, problem):
    """The forgotten output ranks images worse than before, beyond their chance; the rest is known
    as before."""
    assert auroc_interval(net, problem)[1] < auroc_interval(problem.net, problem)[0], (
        "it is remembered"
    )
    assert accuracy(net, problem)[1] >= accuracy(problem.net, problem)[0], "the rest suffers"


@by_task
def test_what_is_forgotten_is_known_less(task):
    problem = learnt_problem(task)
    assert_forgets(unlearnt(unsir(), problem), problem)


@by_task
@pytest.mark.parametrize(
    "kind", [None, Descends, IgnoresNoise], ids=["original", "noise descends", "noise ignored"]
)
def test_a_network_that_has_not_forgotten_is_caught(kind, task):
    problem = learnt_problem(task)
    net = unlearnt(unsir(kind), problem) if kind else problem.net
    with pytest.raises(AssertionError, match="it is remembered"):
        assert_forgets(net, problem)


@by_task
def test_no_image_is_asked_for_its_forgotten_target(task):
    """A forgotten class's images take no part either."""
    problem = brief_problem(task, norm=False)
    train = problem.train
    if task == "multilabel":
        blind = replace(
            problem,
            train=replace(
                train, targets=torch.cat([1 - train.targets[:, :1], train.targets[:, 1:]], 1)
            ),
        )
    else:
        blind = replace(
            problem, train=train.subset((train.targets[:, 0] == 0).nonzero().squeeze(1))
        )
    ours, theirs = (
        unlearnt(unsir(tuning=replace(TUNING, epochs=1)), one).state_dict()
        for one in (problem, blind)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
