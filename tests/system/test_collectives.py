from itertools import chain

import pytest
import torch
from torch import nn

from mlu.models.batch_norm import sync_norms, unsync_norms
from mlu.system.collectives import (
    ProcessGroup,
    all_gather,
    all_gather_batch,
    all_reduce,
    all_reduce_batch,
    current_group,
    current_rank,
    data_parallel,
    local_rows,
    mean_of_batch,
    round_robin,
    row_by_row,
    threads_per_process,
)
from tests.support.teams import ROUNDING, Bare, pair


@pytest.fixture(scope="module")
def team(quick_processes):
    with pair() as both:
        yield both


def where(context):
    group = current_group()
    values = torch.tensor([group.rank, 10.0 * group.rank])
    all_reduce([values])
    return (
        group,
        values,
        all_gather({number: number**2 for number, mine in round_robin(range(5)) if mine}),
    )


def test_all_processes_carry_out_the_same_and_share_its_work(team):
    group, values, squares = team.run(where, Bare())
    assert group == ProcessGroup(0, 2)
    assert values.tolist() == [1, 10]
    assert squares == [0, 1, 4, 9, 16]
    assert current_group() is None


def test_a_process_alone_does_everything_itself():
    values = torch.ones(3)
    all_reduce([values])
    with data_parallel():
        assert all_gather_batch(values) is values
        assert all_reduce_batch(values) is values
        assert mean_of_batch(values) is values
    assert values.tolist() == [1, 1, 1]
    assert [mine for _, mine in round_robin("abc")] == [True] * 3
    assert local_rows(7, None) == slice(None)
    assert current_rank() == 0


@pytest.mark.parametrize(("processes", "each"), [(1, 6), (2, 3), (4, 1), (9, 1)])
def test_processes_share_the_threads_of_this_one_and_each_has_one(processes, each, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert threads_per_process(processes) == each


@pytest.mark.parametrize(("rows", "world_size"), [(7, 2), (8, 3), (2, 3), (0, 2)])
def test_the_parts_of_a_batch_are_all_of_it_in_order(rows, world_size):
    groups = [ProcessGroup(rank, world_size) for rank in range(world_size)]
    parts = [list(range(rows))[local_rows(rows, group)] for group in groups]
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


def slopes_of_local_rows(context, fault):
    """Gradients as DDP leaves them, and running statistics, of this rank's rows."""
    net, images = layers()
    sync_norms(net)
    if fault == "plain norms":
        unsync_norms(net)
    with data_parallel():
        local = images[local_rows(ROWS, current_group())]
        said = net(local) if fault == "separate losses" else all_gather_batch(net(local))
        not_linear_in_rows(said).backward()
    slopes = [parameter.grad for parameter in net.parameters()]
    all_reduce(slopes)
    means = [slope / current_group().world_size for slope in slopes]
    return means, [net[1].running_mean, net[1].running_var]


def test_gradients_and_statistics_are_those_of_the_whole_batch(team):
    net, images = layers()
    not_linear_in_rows(net(images)).backward()
    slopes, statistics = team.run(slopes_of_local_rows, Bare(), None)
    torch.testing.assert_close(
        slopes, [parameter.grad for parameter in net.parameters()], **ROUNDING
    )
    torch.testing.assert_close(statistics, [net[1].running_mean, net[1].running_var], **ROUNDING)


def gathered_within(context):
    with data_parallel():
        own = torch.tensor([current_group().rank])
        with row_by_row():
            alone = all_gather_batch(own)
        return alone, all_gather_batch(own)


def test_row_by_row_nothing_is_gathered(team):
    alone, together = team.run(gathered_within, Bare())
    assert alone.tolist() == [0]
    assert together.tolist() == [0, 1]


def slopes_taken_within(context):
    """Gradients that a loss takes for itself, before there is a step."""
    net, images = layers()
    sync_norms(net)
    with data_parallel():
        said = all_gather_batch(net(images[local_rows(ROWS, current_group())]))
        own = torch.autograd.grad(not_linear_in_rows(said), list(net.parameters()))
        return own, [mean_of_batch(slope) for slope in own]


def test_gradients_that_a_loss_takes_for_itself_are_those_of_the_whole_batch(team):
    net, images = layers()
    expected = torch.autograd.grad(not_linear_in_rows(net(images)), list(net.parameters()))
    own, means = team.run(slopes_taken_within, Bare())
    torch.testing.assert_close(means, list(expected), **ROUNDING)
    # The negative control: those of a rank's own rows are others.
    right, wrong = (torch.cat([one.flatten() for one in some]) for some in (expected, own))
    assert (wrong - right).norm() > 0.01 * right.norm()


@pytest.mark.parametrize("fault", ["plain norms", "separate losses"])
def test_what_is_not_gathered_gives_other_gradients(fault, team):
    net, images = layers()
    not_linear_in_rows(net(images)).backward()
    slopes, _ = team.run(slopes_of_local_rows, Bare(), fault)
    right = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
    wrong = torch.cat([slope.flatten() for slope in slopes])
    assert (wrong - right).norm() > 0.01 * right.norm()
