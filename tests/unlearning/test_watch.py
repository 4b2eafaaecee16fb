"""Looks at a network while it forgets, by a made-up audience."""

import copy
from functools import partial

import pytest
import torch

from mlu.metrics.trace import Told, TracePoint
from mlu.training.meter import measure
from mlu.unlearning.watch import WATCHING, Watch
from tests.support.planted import planted_net


def shown(read, net=None):
    return TracePoint(model="unlearned", retained=0.9, labels={"a": Told(0.5, read, read)})


def marked(value):
    """A network that can be told from others."""
    net = planted_net()
    torch.nn.init.constant_(net.head.bias, value)
    return net


def watched(reads, **settings):
    """A watch of two rounds, whose looks read in turn what is given, and what it heard."""
    coming, heard = iter(reads), []
    watch = Watch(show=lambda net: shown(next(coming)), told=heard.append, **settings)
    for number in range(len(reads) - 2):
        watch.look(partial(marked, number), number * watch.every)
    watch.end_round(partial(marked, 7.0), 9)
    watch.end_round(partial(marked, 8.0), 5)
    return watch, heard


def test_rounds_and_steps_are_counted_on_and_each_look_is_told_at_once():
    watch, heard = watched([0.9, 0.8, 0.7, 0.6], every=4, chooses=False, steps=100)
    seen = [(one.round, one.step) for one in watch.points]
    assert seen == [(1, 100), (1, 104), (1, 109), (2, 114)]
    assert heard == watch.points
    assert watch.steps == 114
    assert [step for step in range(9) if watch.is_due(step)] == [0, 4, 8]


@pytest.mark.parametrize(
    ("chooses", "kept", "bias"), [(False, 3, 9.0), (True, 1, 1.0)], ids=["last", "best"]
)
def test_the_last_network_is_handed_over_or_the_best_one(chooses, kept, bias):
    watch, _ = watched([0.9, 0.6, 0.7, 0.8], every=4, chooses=chooses)
    net = watch.result(marked(9.0))
    assert (net.head.bias == bias).all()
    assert [one.kept for one in watch.points] == [number == kept for number in range(4)]
    assert not any(parameter.requires_grad for parameter in net.parameters()) or not chooses


def test_no_more_networks_are_held_than_may_be_kept_yet():
    watch, _ = watched([0.9, 0.6, 0.7, 0.8, 0.75], every=1, chooses=True)
    assert set(watch._held) == {1, 4}  # the best so far, and the newest
    watch, _ = watched([0.9, 0.6, 0.7], every=1, chooses=False)
    assert watch._held == {}


def test_a_look_draws_no_random_number_that_others_would_draw():
    def careless(net):
        torch.rand(3)
        return shown(0.5)

    watch = Watch(every=1, chooses=False, show=careless, told=lambda point: None)
    torch.manual_seed(0)
    watch.look(planted_net, 0)
    seen = torch.rand(1)
    torch.manual_seed(0)
    assert seen == torch.rand(1)
    # The negative control: what is shown does draw.
    torch.manual_seed(0)
    careless(None)
    assert seen != torch.rand(1)


def test_what_looks_cost_is_counted_apart():
    net, images = planted_net(), torch.rand(5, 3, 8, 8)

    def show(watched_net):
        watched_net(images)
        return shown(0.5)

    watch = Watch(every=1, chooses=False, show=show, told=lambda point: None)
    with measure() as meter:
        net(images)
        watch.look(partial(copy.deepcopy, net), 0)
    assert meter.forward == 5
    assert meter.seconds[WATCHING] > 0
