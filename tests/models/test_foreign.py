import copy

import pytest
import torch
from torch import nn

from mlu.models.foreign import as_module, as_network, head_of, with_bias
from mlu.system.errors import UserError


class Own(nn.Module):
    """A user's network, with a head that is not its last part by name."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.stem = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))

    def forward(self, images):
        return self.head(self.stem(images))


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Own().train()
    model.stem[1].eval()
    model.stem[0].weight.requires_grad_(False)
    return model


@pytest.fixture
def images():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def modes(model):
    parts = {name: part.training for name, part in model.named_modules()}
    return parts, {name: one.requires_grad for name, one in model.named_parameters()}


def test_a_network_says_what_the_model_says_and_the_model_stays_as_it_is(model, images):
    before, state = modes(model), copy.deepcopy(model.state_dict())
    net = as_network(model, "head", images)
    torch.testing.assert_close(net(images), copy.deepcopy(model).eval()(images))
    net.head.weight.zero_()
    assert modes(model) == before
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_back_it_is_of_the_models_class_in_its_modes_and_says_the_same(model, images):
    net = as_network(model, "head", images)
    net.get_parameter("body.whole.stem.0.weight").mul_(2)
    said = net(images)
    module = as_module(net, model, "head")
    assert type(module) is Own
    assert modes(module) == modes(model)
    torch.testing.assert_close(module.eval()(images), said)
    assert torch.equal(module.stem[0].weight, 2 * model.stem[0].weight)


def test_an_eraser_stands_before_the_head_and_is_frozen_as_that_is(model, images):
    net = as_network(model, "head", images)
    net.erase(torch.zeros(6, 6), torch.ones(6))
    model.head.requires_grad_(False)
    module = as_module(net, model, "head")
    assert [name for name, _ in module.head.named_children()] == ["erase", "head"]
    assert not any(one.requires_grad for one in module.head.parameters())
    ones = model.head(torch.ones(5, 6))
    torch.testing.assert_close(module.eval()(images), ones)


def test_a_head_without_a_bias_gets_one_of_zero(images):
    linear = nn.Linear(4, 3, bias=False)
    expected = linear(images)
    assert with_bias(linear) is linear
    assert torch.equal(linear.bias, torch.zeros(3))
    torch.testing.assert_close(linear(images), expected)


def test_a_head_with_another_number_of_outputs_is_told_apart_from_none(model):
    assert head_of(model, 3) == "head"
    with pytest.raises(UserError, match=r"with 5 outputs, .* it has head: 3, stem"):
        head_of(model, 5)
    with pytest.raises(UserError, match=r"it has none$"):
        head_of(nn.Flatten(), 5)


def test_a_model_that_cannot_be_copied_is_the_users_fault(model, images):
    model.kept = model.head(torch.ones(6))  # a tensor with a graph, which torch does not copy
    with pytest.raises(UserError, match=r"^the model cannot be copied: "):
        as_network(model, "head", images)
