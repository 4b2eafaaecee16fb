"""Two processes give what one gives."""

import copy
import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import pytest
import torch
from torch import nn

from mlu.models import batch_norm
from mlu.models.batch_norm import Pooled2d, pool_norms, separate_norms
from mlu.models.outputs import respond_by_stage
from mlu.pipeline.context import context_of
from mlu.pipeline.trained import from_scratch_without, original_model
from mlu.pipeline.unlearned import unlearn_in_turn
from mlu.scores.curvature import diagonal
from mlu.scores.gradients import all_weights, sensitivity
from mlu.system.collectives import (
    Place,
    Together,
    add_up,
    all_gather_in_order,
    own_part,
    place,
    pooling,
    put_together,
    shared,
    total,
)
from mlu.system.errors import UserError
from mlu.system.seeding import generator
from mlu.training.team import Team, team_of
from tests.conftest import BRIEF, METHODS, TINY
from tests.methods.test_contract import OURS, brief, data_of
from tests.support.command_line import launch

CPU = torch.device("cpu")
ROUNDING = {"rtol": 1e-6, "atol": 1e-9}
"""Of a few steps in float64, whose sums are taken in another order."""


@pytest.fixture(scope="module")
def team(quick_processes):
    with team_of(2, CPU) as both:
        yield both


@dataclass(frozen=True)
class Bare:
    """The least that a team wants of a context."""

    team: Team | None = None
    logger: None = None


def where(context):
    here = place()
    values = torch.tensor([here.rank, 10.0 * here.rank])
    add_up([values])
    return (
        here,
        values,
        all_gather_in_order({number: number**2 for number, mine in shared(range(5)) if mine}),
    )


def test_all_processes_carry_out_the_same_and_share_its_work(team):
    here, values, squares = team.run(where, Bare())
    assert here == Place(0, 2)
    assert values.tolist() == [1, 10]
    assert squares == [0, 1, 4, 9, 16]
    assert place() is None


def test_a_process_alone_does_everything_itself():
    values = torch.ones(3)
    add_up([values])
    with pooling():
        assert put_together(values) is values
        assert total(values) is values
    assert values.tolist() == [1, 1, 1]
    assert [mine for _, mine in shared("abc")] == [True] * 3
    assert own_part(7, None) == slice(None)


@pytest.mark.parametrize(("rows", "size"), [(7, 2), (8, 3), (2, 3), (0, 2)])
def test_the_parts_of_a_batch_are_all_of_it_in_order(rows, size):
    parts = [list(range(rows))[own_part(rows, Place(rank, size))] for rank in range(size)]
    assert list(chain.from_iterable(parts)) == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


ROWS = 7


def layers():
    """In float64: what follows is exact but for the order of sums."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9, 3)
    )
    return net.double(), torch.randn(ROWS, 2, 5, 5, dtype=torch.float64)


def not_linear_in_rows(said):
    """A loss that no mean of the parts' losses gives."""
    return (said.T @ said).square().sum().sqrt() + said.logsumexp(0).sum()


def slopes_of_own_part(context, fault):
    """Gradients as DDP leaves them, and running statistics, of this process's rows."""
    net, images = layers()
    pool_norms(net)
    if fault == "separate norms":
        separate_norms(net)
    with pooling():
        own = images[own_part(ROWS, place())]
        said = net(own) if fault == "separate losses" else put_together(net(own))
        not_linear_in_rows(said).backward()
    slopes = [parameter.grad for parameter in net.parameters()]
    add_up(slopes)
    return [slope / place().size for slope in slopes], [net[1].running_mean, net[1].running_var]


def test_gradients_and_statistics_are_those_of_the_whole_batch(team):
    net, images = layers()
    not_linear_in_rows(net(images)).backward()
    slopes, statistics = team.run(slopes_of_own_part, Bare(), None)
    torch.testing.assert_close(
        slopes, [parameter.grad for parameter in net.parameters()], **ROUNDING
    )
    torch.testing.assert_close(statistics, [net[1].running_mean, net[1].running_var], **ROUNDING)


@pytest.mark.parametrize("fault", ["separate norms", "separate losses"])
def test_what_is_not_pooled_gives_other_gradients(fault, team):
    net, images = layers()
    not_linear_in_rows(net(images)).backward()
    slopes, _ = team.run(slopes_of_own_part, Bare(), fault)
    right = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
    wrong = torch.cat([slope.flatten() for slope in slopes])
    assert (wrong - right).norm() > 0.01 * right.norm()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("training", [True, False])
def test_a_pooled_norm_alone_is_torchs(training, momentum):
    ours, theirs = (nn.BatchNorm2d(3, momentum=momentum).train(training) for _ in range(2))
    pool_norms(ours_in := nn.Sequential(ours))
    assert type(ours) is Pooled2d
    for seed in range(3):
        images = torch.randn(4, 3, 5, 5, generator=generator(seed))
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)
    separate_norms(ours_in)
    assert type(ours) is nn.BatchNorm2d


def test_a_norm_that_cannot_be_pooled_is_refused():
    class Another(nn.BatchNorm2d):
        pass

    with pytest.raises(UserError, match="1 is a Another, which several devices cannot share"):
        pool_norms(nn.Sequential(nn.Identity(), Another(3)))


@pytest.fixture
def contexts(experiment, team):
    """The same run for one process and for two."""

    def of(*overrides, dataset="faces"):
        one = context_of(experiment(*overrides, dataset=dataset))
        return one, replace(one, team=team)

    return of


@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def trained(context):
    with float64():
        return from_scratch_without(context, "retrain")


def forgot(context, source):
    with float64():
        net, _ = unlearn_in_turn(context, context.experiment.method, source)
        return net.state_dict()


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_training_gives_the_same_weights_and_counts_the_same_work(dataset, contexts, team):
    one, two = contexts("training.epochs=1", dataset=dataset)
    (alone, cost), (both, shared_cost) = (each.team.run(trained, each) for each in (one, two))
    torch.testing.assert_close(dict(both.state_dict()), dict(alone.state_dict()), **ROUNDING)
    assert (shared_cost.forward, shared_cost.backward) == (cost.forward, cost.backward)
    assert all(type(module) is not Pooled2d for module in both.modules())


def without_pooling(context):
    """Training with a fault: each process normalises by its own rows."""
    whole = batch_norm.total
    batch_norm.total = lambda values: values * place().size
    try:
        return trained(context)
    finally:
        batch_norm.total = whole


def without_counting(context):
    """Training with a fault: the mean over processes makes each row's gradient too small."""
    whole = Together.backward
    Together.backward = staticmethod(lambda ctx, slope: (slope[ctx.rows], None))
    try:
        return trained(context)
    finally:
        Together.backward = whole


@pytest.mark.parametrize("fault", [without_pooling, without_counting])
def test_training_with_a_fault_gives_other_weights(fault, contexts):
    one, two = contexts("training.epochs=1", "dataset.images=320")
    (alone, _), (both, _) = trained(one), two.team.run(fault, two)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        torch.testing.assert_close(dict(both.state_dict()), dict(alone.state_dict()), **ROUNDING)


UNLEARNERS = [name for name in METHODS if name not in ("retrain", "original")]
READINGS = [f"{name} method.reading={reading}" for name in OURS for reading in ("above", "printed")]


@pytest.mark.parametrize(
    "method", [*UNLEARNERS, *READINGS, "wf method.adaptive=true", "wp method.curvature=hutchinson"]
)
def test_every_method_gives_the_same_weights(method, contexts):
    name, *choice = method.split()
    one, two = contexts(*brief(name), *choice, dataset=data_of(name))
    source = copy.deepcopy(original_model(one).net).double()
    alone, both = forgot(one, source), two.team.run(forgot, two, source)
    torch.testing.assert_close(dict(both), dict(alone), **ROUNDING)
    before = source.state_dict()
    assert any(
        key not in before or not torch.allclose(both[key], before[key], **ROUNDING) for key in both
    )


def scores_of(context, net):
    """Score maps of each label, by several batches."""
    train, columns = context.data.splits["train"], {str(label): (label,) for label in range(3)}

    def batches():
        return train.subset(torch.arange(100)).batches(16)

    weights, random = all_weights(net), generator(5)
    maps = [sensitivity(net, context.task, batches(), columns, weights)]
    for estimator in ("fisher", "ggn", "hutchinson"):
        maps.append(diagonal(estimator, net, context.task, batches(), columns, weights, random))
    return maps


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_scores_are_the_same(dataset, contexts):
    one, two = contexts(dataset=dataset)
    net = original_model(one).net
    alone, both = (each.team.run(scores_of, each, net) for each in (one, two))
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-6)


def answers(context, net):
    return respond_by_stage(net, context.data.splits["train"], torch.arange(0, 200, 3))


def test_answers_are_the_same_bit_by_bit(contexts, monkeypatch):
    one, two = contexts()
    net = original_model(one).net
    alone, both = (each.team.run(answers, each, net) for each in (one, two))
    torch.testing.assert_close(both, alone, rtol=0, atol=0)


def launched(folder, *overrides):
    done = launch(folder, "-m", *TINY["faces"], *BRIEF, *overrides)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sweep_makes_one_folder_for_each_job_and_the_figures_of_one_process(tmp_path):
    """What two processes trained is found by one, and so the figures must be the same to the last
    digit."""
    found = {}
    for trainer in ("ddp", "default"):
        launched(
            tmp_path,
            "method=head,leace",
            "training.epochs=1",
            f"trainer={trainer}",
            f"hydra.sweep.dir={tmp_path / trainer}",
        )
        assert sorted(path.name for path in (tmp_path / trainer).iterdir()) == [
            "0",
            "1",
            "multirun.yaml",
        ]
        found[trainer] = [
            json.loads((tmp_path / trainer / job / "results.json").read_text())
            for job in ("0", "1")
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "ddp", "default"]
    for one, two in zip(found["default"], found["ddp"], strict=True):
        assert two["measured"]["original"]["device"].startswith("2 x ")
        assert one["measured"]["original"]["device"] == two["measured"]["original"]["device"]
        assert two["work"] == one["work"]
        assert two["metrics"] == one["metrics"]
