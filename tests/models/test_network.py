from collections import OrderedDict

import pytest
import torch
from torch import nn

from mlu.models.backbones import Tiny
from mlu.models.network import MEAN, STD, Network, Stage, channel_means, matrices, stage_ends


def test_a_stage_ends_with_itself_but_for_the_last_one_which_is_pooled():
    assert stage_ends(["one", "two", "pool"]) == {"one": Stage("one"), "two": Stage("pool")}
    assert stage_ends(["one", "pool", "erase"]) == {"one": Stage("pool"), "erase": Stage("erase")}


@pytest.mark.parametrize(
    ("shape", "axis", "over"),
    [((2, 5, 3, 4), 1, (2, 3)), ((2, 3, 4, 5), -1, (1, 2)), ((2, 7, 5), -1, (1,)), ((2, 5), 1, ())],
    ids=["maps", "maps of rows of channels", "tokens", "features"],
)
def test_means_of_channels_are_over_all_else_but_images(shape, axis, over):
    output = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = output.mean(over) if over else output
    found = channel_means(output, axis)
    assert found.shape == (2, 5)
    torch.testing.assert_close(found, expected)


def test_pixels_are_normalised_and_normalised_images_come_back_as_they_were():
    net = Network(OrderedDict(pool=nn.Flatten()), 3, 2)
    pixels = torch.tensor([[0, 128, 255]], dtype=torch.uint8).view(1, 3, 1, 1)
    normal = (pixels.flatten() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(net.features(pixels), normal[None])
    torch.testing.assert_close(net.features(pixels / 255), normal[None])
    torch.testing.assert_close(net.denormalised(normal.view(1, 3, 1, 1)), pixels / 255)


def test_constants_of_the_architecture_are_no_state():
    net = Network(OrderedDict(pool=nn.Flatten()), 3, 2)
    assert set(net.state_dict()) == {"head.weight", "head.bias"}


def test_a_network_that_was_made_elsewhere_gets_its_images_as_they_are():
    body, head = nn.Flatten(), nn.Linear(3, 2)
    net = Network.around(body, head)
    images = torch.tensor([[300.0, -2.0, 0.5]]).view(1, 3, 1, 1)
    assert torch.equal(net.features(images), images.flatten(1))
    assert torch.equal(net.denormalised(images), images)
    assert net.head is head


def test_layers_that_hold_their_weights_themselves_name_them():
    kinds = {
        nn.Conv2d(3, 4, 1): ["weight"],
        nn.Linear(2, 2): ["weight"],
        nn.MultiheadAttention(4, 1): ["in_proj_weight"],
        nn.MultiheadAttention(4, 1, kdim=3, vdim=2): [
            "q_proj_weight",
            "k_proj_weight",
            "v_proj_weight",
        ],
        nn.LayerNorm(3): [],
        nn.BatchNorm2d(3): [],
        nn.Sequential(nn.Linear(2, 2)): [],
    }
    assert [matrices(module) for module in kinds] == list(kinds.values())


def test_a_second_eraser_joins_the_first():
    torch.manual_seed(0)
    net = Tiny(name="tiny").build(3).eval()
    images = torch.rand(4, 3, 32, 32)
    features = net.features(images)
    width = features.shape[1]
    maps = [(torch.randn(width, width) / width, torch.randn(width)) for _ in range(2)]
    for matrix, offset in maps:
        net.erase(matrix, offset)
        features = features @ matrix.T + offset
    torch.testing.assert_close(net.features(images), features, rtol=1e-4, atol=1e-5)
