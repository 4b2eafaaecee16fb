from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.func import functional_call

from mlu.models.network import Network
from mlu.training.meter import apart, measure, phase


@pytest.fixture
def net():
    torch.manual_seed(0)
    stages = OrderedDict(
        conv=nn.Conv2d(3, 2, 3), pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    return Network(stages, 2, 3)


def images(number):
    return torch.rand(number, 3, 5, 5)


def test_images_are_counted_forward_and_backward(net):
    with measure() as meter:
        net(images(5)).sum().backward()
        net(images(3))
        net.features(images(2)).sum().backward()
    assert (meter.forward, meter.backward) == (10, 7)


def test_uint8_images_and_other_networks_count_too(net):
    other = Network(OrderedDict(flat=nn.Flatten()), 75, 1)
    with measure() as meter:
        net(torch.zeros(4, 3, 5, 5, dtype=torch.uint8))
        other(images(6))
    assert (meter.forward, meter.backward) == (10, 0)


def test_a_functional_call_counts(net):
    weights = {name: value.detach().requires_grad_() for name, value in net.named_parameters()}
    net.requires_grad_(False)
    with measure() as meter:
        loss = functional_call(net, weights, images(5)).sum()
        torch.autograd.grad(loss, list(weights.values()))
    assert (meter.forward, meter.backward) == (5, 5)


def test_two_backwards_through_one_graph_count_twice(net):
    with measure() as meter:
        logits = net(images(4))
        logits[:, 0].sum().backward(retain_graph=True)
        logits[:, 1].sum().backward()
    assert (meter.forward, meter.backward) == (4, 8)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_only_forward_counts(net, mode):
    with measure() as meter, mode():
        net(images(4))
    assert (meter.forward, meter.backward) == (4, 0)


def test_a_gradient_that_stops_at_the_head_is_no_backward_of_the_body(net):
    net.body.requires_grad_(False)
    with measure() as meter:
        net(images(4)).sum().backward()
    assert (meter.forward, meter.backward) == (4, 0)


def test_nothing_is_counted_afterwards(net):
    with measure() as meter:
        net(images(2)).sum().backward()
    seconds = dict(meter.seconds)
    net(images(3)).sum().backward()
    with phase("later"):
        pass
    assert (meter.forward, meter.backward, dict(meter.seconds)) == (2, 2, seconds)
    with measure() as second:
        net(images(1))
    assert (second.forward, meter.forward) == (1, 2)


def test_an_exception_leaves_nothing_behind(net):
    def fail():
        with measure() as meter:
            seen.append(meter)
            with phase("score"):
                net(images(2))
                raise ArithmeticError

    hooks, seen = len(nn.modules.module._global_forward_hooks), []
    with pytest.raises(ArithmeticError):
        fail()
    (meter,) = seen
    assert len(nn.modules.module._global_forward_hooks) == hooks
    assert set(meter.seconds) == {"score", "total"}
    net(images(3))
    with phase("later"):
        pass
    assert (meter.forward, set(meter.seconds)) == (2, {"score", "total"})


def test_an_inner_measurement_is_part_of_the_outer_one(net):
    with measure() as outer:
        net(images(1))
        with measure() as inner, phase("within"):
            net(images(2))
        with phase("after"):
            net(images(4))
    assert (inner.forward, outer.forward) == (2, 7)
    assert set(inner.seconds) == {"within", "total"}
    assert set(outer.seconds) == {"after", "total"}


def test_phases_add_up(monkeypatch):
    ticks = iter(range(0, 1000, 1))
    monkeypatch.setattr("mlu.training.meter.clock", lambda device: float(next(ticks)))
    with measure() as meter:  # starts at 0
        with phase("score"), phase("forward"):  # 1 to 4 and 2 to 3
            pass
        with phase("edit"):  # 5 to 6
            pass
        with phase("score"):  # 7 to 8
            pass
    assert dict(meter.seconds) == {"forward": 1, "score": 3 + 1, "edit": 1, "total": 9}


def test_a_phase_outside_a_measurement_is_just_run():
    ran = []
    with phase("score"):
        ran.append(True)
    assert ran


def test_what_is_apart_counts_under_its_own_name_alone(net, monkeypatch):
    ticks = iter(range(0, 1000, 1))
    monkeypatch.setattr("mlu.training.meter.clock", lambda device: float(next(ticks)))
    with measure() as meter:  # starts at 0
        with phase("finetune"):  # 1 (2) to 7
            net(images(2))
            with apart("watch"):  # 3 to 6, and within it 4 to 5
                net(images(3))
        so_far = meter.so_far()["seconds"]  # at 8
    assert dict(meter.seconds) == {"finetune": 5 - 3, "watch": 1, "total": 8 - 3}
    assert so_far == 8 - 3
    assert meter.forward == 2


def test_what_is_apart_outside_a_measurement_is_just_run():
    with apart("watch"):
        pass
