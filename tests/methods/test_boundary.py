import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from benchmarks import plain
from mlu.data.divided import ImageData
from mlu.data.split import Batch
from mlu.methods import boundary
from mlu.methods.boundary import BoundaryShrink, nearest
from mlu.methods.finetune import FineTuning
from mlu.models.tasks import ForgetRequest
from mlu.pipeline.context import request_of
from mlu.system.errors import UserError
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit
from mlu.unlearning.unlearner import edited
from tests.support.learnt import learnt_problem, unlearnt
from tests.support.readings import recall

TUNING = Tuning(epochs=8, lr=0.05, batch_size=32)
STEP = 0.1


def shrink(step=STEP, tuning=TUNING, batch_norms="frozen") -> BoundaryShrink:
    return BoundaryShrink(
        name="boundary", step=step, given_back=False, batch_norms=batch_norms, tuning=tuning
    )


def problem_of(norm=False):
    return learnt_problem("singlelabel", norm)


def forgotten_images(problem, count=24) -> Batch:
    return problem.forget[torch.arange(count)]


def seen_by_the_original(problem, batch, step):
    """What goes through the original while the nearest class is sought: the images, and the
    attacked ones."""
    original, seen = copy.deepcopy(problem.original), []
    original.register_forward_pre_hook(lambda _, images: seen.append(images[0].detach().clone()))
    nearest(replace(problem, original=original), batch, step)
    return seen


@pytest.mark.parametrize("step", [0.01, 0.1, 0.5])
def test_the_attack_stays_within_its_step_and_within_images(step):
    batch = forgotten_images(problem_of())
    plain, attacked = seen_by_the_original(problem_of(), batch, step)
    assert torch.equal(plain, batch.images.float() / 255)
    assert (attacked - plain).abs().max() <= step + torch.finfo(plain.dtype).eps
    assert ((attacked >= 0) & (attacked <= 1)).all()
    # All of the budget is used wherever a pixel matters and there is room for it.
    inside = (attacked > 0) & (attacked < 1) & (attacked != plain)
    torch.testing.assert_close(
        (attacked - plain)[inside].abs(), torch.full((int(inside.sum()),), step)
    )
    assert inside.float().mean() > 0.5


def slopes_by_differences(problem, batch):
    """Slope of each image's loss by each pixel, from its values at either side."""
    net, width, size = problem.original, 1e-6, batch.images[0].numel()
    moves = width * torch.eye(size, dtype=torch.float64).view(size, *batch.images.shape[1:])
    slopes = []
    for image, target in zip((batch.images.float() / 255).double(), batch.targets, strict=True):
        label = target.argmax().expand(size)
        up, down = (
            F.cross_entropy(net(image + sign * moves), label, reduction="none") for sign in (1, -1)
        )
        slopes.append(((up - down) / (2 * width)).view_as(image))
    return torch.stack(slopes)


def fast_gradient_sign(problem, batch, step, sign=1, excluded=True):
    """The nearest class by the letter: one step of the attack, then the largest logit of those that
    may be given."""
    slopes = slopes_by_differences(problem, batch)
    # Differences of nothing are rounding.
    slopes = slopes * (slopes.abs() > 1e-9)
    moved = (batch.images.float() / 255 + sign * step * slopes.sign().float()).clamp(0, 1)
    logits = problem.original(moved)
    if excluded:
        logits[:, list(problem.request.forgotten)] = -torch.inf
    return F.one_hot(logits.argmax(1), logits.shape[1]).float()


@pytest.mark.parametrize("forgotten", [(0,), (0, 2)])
@pytest.mark.parametrize("step", [0.02, STEP, 0.3])
def test_the_nearest_class_is_that_of_an_attack_by_finite_differences(step, forgotten):
    problem = replace(
        problem_of(), request=ForgetRequest(forgotten, tuple({0, 1, 2, 3} - set(forgotten)))
    )
    batch = forgotten_images(problem)
    assert torch.equal(nearest(problem, batch, step), fast_gradient_sign(problem, batch, step))


def test_the_original_is_attacked_and_not_what_an_earlier_round_left():
    problem = problem_of()
    other = copy.deepcopy(problem.net)
    torch.nn.init.normal_(other.head.weight, generator=torch.Generator().manual_seed(0))
    batch = forgotten_images(problem)
    classes = nearest(problem, batch, STEP)
    assert torch.equal(nearest(replace(problem, net=other), batch, STEP), classes)
    assert not torch.equal(nearest(replace(problem, original=other), batch, STEP), classes)


def test_an_attack_down_the_loss_would_find_other_classes():
    problem = problem_of()
    batch = forgotten_images(problem)
    assert not torch.equal(
        nearest(problem, batch, STEP), fast_gradient_sign(problem, batch, STEP, sign=-1)
    )


def test_the_attack_makes_the_loss_of_the_true_class_larger():
    problem = problem_of()
    batch = forgotten_images(problem)
    before, after = (
        F.cross_entropy(problem.original(images), batch.targets, reduction="none")
        for images in seen_by_the_original(problem, batch, STEP)
    )
    assert (after > before).all()


def assert_none_is_given_back(classes, problem):
    """One class for each image, and never a forgotten one."""
    assert (classes.sum(1) == 1).all()
    assert not classes[:, list(problem.request.forgotten)].any()


@pytest.mark.parametrize("step", [0.0, STEP])
def test_no_image_is_given_to_a_forgotten_class_even_where_the_attack_fails(step):
    problem = problem_of()
    assert_none_is_given_back(nearest(problem, forgotten_images(problem), step), problem)


def test_an_image_may_be_given_back_where_that_is_asked_for():
    problem = problem_of()
    batch = forgotten_images(problem)
    found = nearest(problem, batch, 0.0, given_back=True)
    expected = fast_gradient_sign(problem, batch, 0.0, excluded=False)
    assert torch.equal(found, expected)
    assert found[:, list(problem.request.forgotten)].any()


def test_an_attack_that_may_give_an_image_back_would_be_noticed():
    problem = problem_of()
    with pytest.raises(AssertionError):
        assert_none_is_given_back(
            fast_gradient_sign(problem, forgotten_images(problem), 0.0, excluded=False), problem
        )


def test_only_images_of_the_forgotten_class_are_trained_on_and_each_with_its_nearest_class():
    problem = problem_of()
    passes = shrink().passes(problem)
    assert len(passes) == TUNING.epochs
    images = passes[0].images
    assert list(images.rows) == list(problem.forget.rows)
    assert_none_is_given_back(images.targets, problem)
    assert torch.equal(
        images.targets, nearest(problem, problem.forget[torch.arange(len(problem.forget))], STEP)
    )
    batch = images[torch.arange(8)]
    torch.testing.assert_close(
        passes[0].loss(problem.net, batch),
        F.cross_entropy(problem.net(batch.images), batch.targets.argmax(1)),
    )


def test_many_images_are_attacked_in_several_batches_as_in_one(monkeypatch):
    problem = problem_of()
    whole = shrink().passes(problem)[0].images.targets
    monkeypatch.setattr(boundary, "BATCH", 7)
    assert torch.equal(shrink().passes(problem)[0].images.targets, whole)


def test_without_images_of_the_class_there_is_nothing_to_train_on():
    problem = problem_of()
    assert shrink().passes(replace(problem, train=problem.retain)) == []


def frozen_norms(before, after):
    """Whether every number of every batch norm is the same, bit for bit."""
    ours, theirs = (
        {name: value for name, value in net.state_dict().items() if ".bn." in name}
        for net in (before, after)
    )
    assert ours
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_batch_norms_are_frozen_and_other_weights_are_not():
    """The negative control: plain fine-tuning moves them."""
    problem = problem_of(norm=True)
    harsh = replace(TUNING, weight_decay=0.1)
    net = unlearnt(shrink(tuning=harsh), problem)
    assert frozen_norms(problem.net, net)
    assert not frozen_norms(
        problem.net, unlearnt(FineTuning(name="finetune", tuning=harsh), problem)
    )
    for name in ("body.conv.weight", "head.weight"):
        assert not torch.equal(net.get_parameter(name), problem.net.get_parameter(name))
    assert shrink().edit(problem_of()) == Edit()


def test_batch_norms_may_learn_like_all_else():
    problem = problem_of(norm=True)
    assert shrink(batch_norms="learnt").edit(problem) == Edit()
    net = unlearnt(shrink(batch_norms="learnt"), problem)
    assert not torch.equal(net.body.bn.running_mean, problem.net.body.bn.running_mean)
    assert not torch.equal(net.body.bn.weight, problem.net.body.bn.weight)


@pytest.mark.parametrize("norm", [False, True])
def test_it_is_the_plain_loop_of_its_authors(norm):
    problem, method = problem_of(norm), shrink(tuning=replace(TUNING, weight_decay=0.01))
    ours, theirs = unlearnt(method, problem), plain.boundary(method, problem)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-12)


def test_the_original_is_untouched():
    problem = problem_of(norm=True)
    before = copy.deepcopy(problem.original.state_dict())
    unlearnt(shrink(), problem)
    torch.testing.assert_close(problem.original.state_dict(), before, rtol=0, atol=0)
    assert not problem.original.training
    assert not any(weight.requires_grad for weight in problem.original.parameters())


def assert_forgotten(net, problem):
    """The class is predicted less often than by the original, beyond doubt."""
    assert recall(net, problem)[1] < recall(problem.net, problem)[0]


@pytest.mark.parametrize("norm", [False, True])
def test_the_forgotten_class_is_predicted_less(norm):
    assert_forgotten(unlearnt(shrink(), problem_of(norm)), problem_of(norm))


def test_images_go_to_the_class_that_they_were_given():
    """Those that were trained on; the original gives them to their own class instead."""
    problem = problem_of()
    given = shrink().passes(problem)[0].images
    batch = given[torch.arange(len(given))]
    before, after = (
        net(batch.images).argmax(1) for net in (problem.net, unlearnt(shrink(), problem))
    )
    wanted = given.targets.argmax(1)
    assert (after == wanted).sum() > len(given) / 2 > (before == wanted).sum()


def test_neither_the_original_nor_classes_that_may_be_given_back_pass(monkeypatch):
    problem = problem_of()
    with pytest.raises(AssertionError):
        assert_forgotten(edited(problem.net, shrink().edit(problem)), problem)

    def given_back(problem, batch, *rule):
        return fast_gradient_sign(problem, batch, 0.0, excluded=False)

    monkeypatch.setattr(boundary, "nearest", given_back)
    with pytest.raises(AssertionError):
        assert_forgotten(unlearnt(shrink(), problem), problem)


def test_a_multilabel_task_is_refused(experiment):
    """Across a binary label's border lies its inversion."""
    setup = experiment("method=boundary", dataset="faces")
    data = ImageData(setup.dataset.load(), setup.seeds.split, setup.training.batch_size)
    with pytest.raises(UserError, match="method=boundary serves singlelabel data"):
        request_of(setup, data)
