"""Figures of a model before and after forgetting."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mlu.data.split import Split
from mlu.measured import Change, Measurement, measurement_of, validation_attack
from mlu.models.network import Network
from mlu.models.tasks import ForgetRequest, MultiLabel
from mlu.runs.results import Figure

REQUEST = ForgetRequest((0,), (1,))


class Flat(nn.Module):
    """Features are the images."""

    def forward(self, images):
        return images


def network(weight):
    net = Network.around(Flat(), nn.Linear(2, 2))
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor(weight))
        net.head.bias.zero_()
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def held():
    """Images of two numbers, each of which tells one of two labels."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (200, 2), generator=generator).float()
    images = 4 * targets - 2 + torch.randn(200, 2, generator=generator)
    rows = np.arange(200)
    return Split(images.numpy(), rows, targets, torch.ones(200, 2, dtype=torch.bool), rows)


def measured(nets, held):
    return measurement_of(nets, MultiLabel(), ["a", "b"], REQUEST, held, 0)


@pytest.fixture(scope="module")
def found(held):
    net = network([[1.0, 0.0], [0.0, 1.0]])
    return measured((net, network([[0.0, 0.0], [0.0, -1.0]])), held)


def test_retained_accuracy_is_that_of_the_other_outputs(found, held):
    right = (torch.from_numpy(held.images)[:, 1] > 0) == (held.targets[:, 1] > 0)
    assert found.retained.before.value == pytest.approx(right.float().mean().item(), abs=1e-6)
    assert found.retained.after.value == pytest.approx(1 - right.float().mean().item(), abs=1e-6)
    assert found.retained.floor is None


def test_features_that_still_tell_the_label_are_read(found):
    change = found.strongest["a"]
    assert change.before.low > 0.9
    assert change.after.low > 0.9
    assert change.floor.value < 0.62  # the other label tells nothing


def test_features_that_tell_nothing_are_not_read(held):
    """The negative control: targets that are drawn anew."""
    generator = torch.Generator().manual_seed(9)
    anew = replace(held, targets=torch.randint(0, 2, (200, 2), generator=generator).float())
    net = network([[1.0, 0.0], [0.0, 1.0]])
    change = measured((net, net), anew).strongest["a"]
    assert change.before == change.after
    assert change.before.low < 0.5 < change.before.high


def test_too_few_images_give_a_reason_and_no_figure(held):
    few = held.subset(torch.arange(12))
    net = network([[1.0, 0.0], [0.0, 1.0]])
    change = measured((net, net), few).strongest["a"]
    assert change.before.value is None
    assert "fewer than 10" in change.before.reason
    assert "none: fewer than 10" in str(measured((net, net), few))


def test_readers_are_judged_on_people_whom_they_did_not_learn_from():
    attack = validation_attack()
    assert (attack.judged, attack.panel) == ("validation", "standard")


def test_it_is_shown_as_a_table():
    half, whole = Figure(0.5, 0.4, 0.6), Figure(1.0, 0.9, 1.0)
    shown = str(Measurement(Change(whole, half), {"Male": Change(whole, half, Figure(0.75))}))
    assert shown.splitlines() == [
        "                        before                after                 floor",
        "retained                1.000 [0.900, 1.000]  0.500 [0.400, 0.600]",
        "Male, strongest reader  1.000 [0.900, 1.000]  0.500 [0.400, 0.600]  0.750",
    ]
