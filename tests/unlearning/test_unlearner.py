import copy
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from mlu.data.augment import augmented
from mlu.data.divided import ShuffledBatches
from mlu.methods.parts.losses import loss_of_retained
from mlu.models.network import Network
from mlu.system.errors import UserError
from mlu.system.seeding import generator
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass
from mlu.unlearning.unlearner import Unlearner, calibration_images, carry_out, edited, is_frozen
from tests.support.planted import planted_problem


@dataclass(frozen=True, kw_only=True)
class Probe(Method):
    """A method whose edit and passes the test gives."""

    reads_forgotten: ClassVar[bool] = True
    tuning: Tuning
    start: Edit = field(default_factory=Edit)
    todo: tuple[Any, ...] = ()
    name: str = "probe"

    def edit(self, problem):
        return self.start

    def passes(self, problem):
        return self.todo


def batches(split, size, seed):
    """A loader as the divided data make one."""
    order = ShuffledBatches(len(split), size, seed)
    return torch.utils.data.DataLoader(split, batch_size=None, sampler=order)


def fit(problem, method):
    passes = method.passes(problem)
    module = Unlearner(method, problem, method.edit(problem), passes, batches)
    trainer = L.Trainer(
        max_epochs=len(passes),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(module)

    return module


def normed_problem():
    """The planted problem with a batch norm in its network."""
    problem = planted_problem()
    torch.manual_seed(0)
    stages = OrderedDict(
        conv=nn.Conv2d(3, 4, 3),
        bn=nn.BatchNorm2d(4),
        pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    net = Network(stages, features=4, labels=3).eval().requires_grad_(False)
    return replace(problem, net=net, original=net)


def test_passes_go_through_their_own_images_with_their_own_rates_and_sizes():
    """Against a plain loop of SGD with momentum."""
    problem = planted_problem()
    loss = partial(loss_of_retained, problem)
    small = problem.train.subset(torch.arange(20))
    todo = (
        Pass(images=problem.train, loss=loss, lr=0.3),
        Pass(images=small, loss=lambda net, batch: -loss(net, batch), batch_size=10),
        Pass(images=small, loss=loss, lr=0.05, fresh=True),
    )
    method = Probe(
        tuning=Tuning(epochs=3, batch_size=16, lr=0.1, momentum=0.9, weight_decay=0.01), todo=todo
    )
    found = fit(problem, method).net
    net = copy.deepcopy(problem.net).requires_grad_(True)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    step = 0
    for number, (one, lr, size) in enumerate(
        zip(todo, (0.3, 0.1, 0.05), (16, 10, 16), strict=True)
    ):
        order = ShuffledBatches(len(one.images), size, problem.seed)
        order.set_epoch(number)
        optimiser.param_groups[0]["lr"] = lr
        if one.fresh:
            optimiser.state.clear()

        for rows in order:
            batch = one.images[rows]
            optimiser.zero_grad()
            one.loss(net, augmented(batch, generator(problem.seed, step))).backward()
            optimiser.step()
            step += 1

    for name, value in net.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), value, rtol=1e-5, atol=1e-7)

    kept = replace(todo[2], fresh=False)
    assert any(
        not torch.equal(value, found.get_parameter(name))
        for name, value in fit(
            problem, replace(method, todo=(*todo[:2], kept))
        ).net.named_parameters()
    )


def seen_beside(images, beside, size, epochs=1, beside_size=None):
    """The row numbers that a loss is given, batch by batch: of its images, and of the others."""
    problem, seen = planted_problem(), []

    def numbered(rows):
        pixels = np.zeros((len(rows), 3, 8, 8), np.uint8)
        pixels[:, :, :] = np.array(rows)[:, None, None, None]
        return replace(
            problem.train.subset(torch.arange(len(rows))), images=pixels, rows=np.arange(len(rows))
        )

    def loss(net, batch, other):
        seen.append([(each.images[:, 0, 0, 0]).tolist() for each in (batch, other)])
        return net(batch.images).sum() + net(other.images).sum()

    sides = {"images": numbered(images), "beside": numbered(beside)}
    one = Pass(**sides, beside_size=beside_size, loss=loss)
    tuning = Tuning(batch_size=size, lr=1e-9, augment="none")
    fit(problem, Probe(tuning=tuning, todo=(one,) * epochs))

    return seen


def test_a_whole_batch_stands_beside_each_as_often_as_that_takes():
    """In an order of its own, which is another one in every round and every epoch."""
    seen = seen_beside(range(40), range(100, 110), size=5, epochs=2)
    assert [(len(own), len(other)) for own, other in seen] == [(5, 5)] * 16
    for epoch in (seen[:8], seen[8:]):
        assert sorted(row for own, _ in epoch for row in own) == list(range(40))
        rounds = [epoch[start][1] + epoch[start + 1][1] for start in range(0, 8, 2)]
        assert all(sorted(one) == list(range(100, 110)) for one in rounds)
        assert len({tuple(one) for one in rounds}) == 4
    assert [other for _, other in seen[:8]] != [other for _, other in seen[8:]]


def test_what_stands_beside_may_be_more_than_is_needed():
    seen = seen_beside(range(10), range(100, 140), size=5)
    assert len({row for _, other in seen for row in other}) == 10
    seen = seen_beside(range(10), range(100, 140), size=5, beside_size=20)
    assert sorted(seen[0][1] + seen[1][1]) == list(range(100, 140))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("statistics", ["free", "batch", "kept"])
def test_batch_norms_normalise_by_a_batch_or_by_what_they_have_kept(statistics, frozen):
    problem, seen = normed_problem(), []

    def loss(net, batch):
        seen.append(net(batch.images).detach().clone())
        return net(batch.images).sum()

    one = Pass(images=problem.train.subset(torch.arange(8)), loss=loss)
    tuning = Tuning(batch_size=8, lr=1e-3, augment="none", statistics=statistics, recalibrate=8)
    held = {f"body.bn.{name}": torch.zeros(()) for name in ("weight", "bias")} if frozen else {}
    net = fit(problem, Probe(tuning=tuning, start=Edit(radius=held), todo=(one,))).net
    before, after = problem.net.body.bn, net.body.bn
    keeps = statistics == "kept" or (statistics == "free" and frozen)
    assert torch.equal(after.running_mean, before.running_mean) == keeps
    assert torch.equal(after.bias, before.bias) == frozen

    (images,) = [each.images for each in one.images.batches(8)]
    plain = problem.net(images)
    unmoved = torch.allclose(seen[0].sort(0).values, plain.sort(0).values, rtol=1e-5, atol=1e-6)
    assert unmoved == keeps


def test_images_are_augmented_unless_a_method_wants_them_plain():
    problem, seen = planted_problem(), []

    def loss(net, batch):
        seen.append(batch.images)
        return net(batch.images).sum()

    one = Pass(images=problem.train.subset(torch.arange(8)), loss=loss)
    for augment in ("paper", "none"):
        fit(problem, Probe(tuning=Tuning(batch_size=8, lr=1e-9, augment=augment), todo=(one,)))
    assert seen[0].dtype == torch.float32
    assert seen[1].dtype == torch.uint8
    plain = {image.numpy().tobytes() for image in one.images[torch.arange(8)].images}
    assert {image.numpy().tobytes() for image in seen[1]} == plain


def test_the_candidate_is_kept_whose_figure_is_nearest_to_what_the_last_one_wants():
    problem = planted_problem()
    loss, seen = partial(loss_of_retained, problem), []
    figures = iter([(0.9, 7.0), (0.2, 7.0), (0.6, 0.3)])

    def judge(net):
        assert not net.training
        assert not torch.is_grad_enabled()
        seen.append(copy.deepcopy(net.state_dict()))
        return next(figures)

    plain, judged = (
        Pass(images=problem.train, loss=loss),
        Pass(images=problem.train, loss=loss, judge=judge),
    )
    todo = (plain, judged, judged, plain, judged)
    module = fit(problem, Probe(tuning=Tuning(epochs=5, lr=0.1), todo=todo))
    assert len(seen) == 3
    for name, value in module.net.state_dict().items():
        assert torch.equal(value, seen[1][name])

    assert any(
        not torch.equal(value, seen[2][name]) for name, value in module.net.state_dict().items()
    )


# What Lightning warns of is what is asked for.
@pytest.mark.filterwarnings("ignore:Found 1 module.s. in eval mode")
def test_a_batch_norm_that_may_not_move_keeps_its_statistics():
    problem = normed_problem()
    zero = torch.zeros(())
    whole, half = (
        {f"body.bn.{kind}": zero for kind in kinds} for kinds in (("weight", "bias"), ("weight",))
    )

    assert is_frozen("body.bn", Edit(radius=whole))
    assert not is_frozen("body.bn", Edit(radius=half))
    one = Pass(images=problem.train, loss=partial(loss_of_retained, problem))
    for radius, frozen in ((whole, True), (half, False)):
        tuning = Tuning(epochs=1, lr=0.1, recalibrate=32)
        module = fit(problem, Probe(tuning=tuning, start=Edit(radius=radius), todo=(one,)))
        module.renew_statistics()
        before, after = problem.net.state_dict(), module.net.state_dict()
        assert torch.equal(before["body.bn.running_mean"], after["body.bn.running_mean"]) == frozen
        assert torch.equal(before["body.bn.weight"], after["body.bn.weight"])
        assert not torch.equal(before["body.conv.weight"], after["body.conv.weight"])


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_frozen_weight_has_no_momentum_that_presses_on(optimiser):
    problem = planted_problem()
    before = problem.net.body.conv.weight
    free = torch.zeros(len(before), 1, 1, 1)
    free[0] = torch.inf
    one = Pass(images=problem.train, loss=partial(loss_of_retained, problem))
    tuning = Tuning(epochs=2, lr=0.1, optimiser=optimiser, weight_decay=0.5)
    module = fit(
        problem,
        Probe(tuning=tuning, start=Edit(radius={"body.conv.weight": free}), todo=(one, one)),
    )
    after = module.net.body.conv.weight
    momentum = module.optimizers(use_pl_optimizer=False).state[after][
        "momentum_buffer" if optimiser == "sgd" else "exp_avg"
    ]

    assert torch.equal(after[1:], before[1:])
    assert not momentum[1:].any()
    assert (after[0] != before[0]).all()
    assert momentum[0].all()


def test_what_is_frozen_as_a_whole_has_no_gradient():
    problem = planted_problem()
    one = Pass(images=problem.train, loss=partial(loss_of_retained, problem))
    tuning = Tuning(epochs=1, lr=0.1, weight_decay=0.5)
    module = fit(
        problem,
        Probe(tuning=tuning, start=Edit(radius={"body.conv.weight": torch.zeros(())}), todo=(one,)),
    )

    assert module.net.body.conv.weight.grad is None
    assert torch.equal(module.net.body.conv.weight, problem.net.body.conv.weight)
    assert not torch.equal(module.net.head.weight, problem.net.head.weight)
    # Then there is nothing to fine-tune.
    nothing = Edit(radius={name: torch.zeros(()) for name, _ in problem.net.named_parameters()})
    method = Probe(tuning=replace(tuning, recalibrate=0), start=nothing, todo=(one,))
    net = carry_out(method, problem, lambda *given: pytest.fail("trained"), None)
    for name, value in problem.net.state_dict().items():
        assert torch.equal(value, net.state_dict()[name])


def test_an_eraser_becomes_the_last_stage_of_a_copy():
    problem = planted_problem()
    matrix, offset = (
        torch.randn(4, 4, generator=torch.Generator().manual_seed(0)),
        torch.arange(4.0),
    )
    net = edited(problem.net, Edit(eraser=(matrix, offset)))
    images = problem.train[torch.arange(8)].images
    torch.testing.assert_close(
        net.features(images), problem.net.features(images) @ matrix.T + offset
    )

    assert not hasattr(problem.net.body, "erase")


def test_a_cycle_of_rates_and_rates_of_passes_exclude_each_other():
    problem = planted_problem()
    one = Pass(images=problem.train, loss=partial(loss_of_retained, problem), lr=0.2)
    method = Probe(tuning=Tuning(epochs=1, lr=0.1, schedule="one_cycle"), todo=(one,))
    with pytest.raises(UserError, match="sets the learning rate of each pass"):
        fit(problem, method)


def test_statistics_are_renewed_from_what_may_be_retained():
    problem = planted_problem()
    assert sum(len(images) for images in calibration_images(problem, 40)) == 40
    assert sum(len(images) for images in calibration_images(problem, 1000)) == len(problem.train)
    assert list(calibration_images(problem, 1)) == []
