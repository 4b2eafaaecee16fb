import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from mlu.models.batch_norm import (
    Synced2d,
    batch_norms,
    recalibrate,
    sync_norms,
    unsync_norms,
)
from mlu.models.network import Network
from mlu.system.errors import UserError
from mlu.system.seeding import generator

EPS = 1e-5


@pytest.fixture
def net():
    torch.manual_seed(0)
    stages = OrderedDict(
        one=nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, EPS, momentum=0.3), nn.ReLU(inplace=True)
        ),
        two=nn.Sequential(
            nn.Dropout(0.5), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2, EPS), nn.Flatten()
        ),
    )
    net = Network(stages, 2 * 4 * 4, 3).double()
    for norm in (net.body.one[1], net.body.two[2]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.fill_(7)
        norm.running_var.fill_(9)
    return net


def batches():
    random = torch.Generator().manual_seed(1)
    return [torch.rand(size, 3, 8, 8, dtype=torch.float64, generator=random) for size in (6, 6, 3)]


def plain_statistics(net):
    """Averages over batches of mean and unbiased variance before each batch norm, written out."""
    first, second = net.body.one[1], net.body.two[2]
    ones, twos = [], []
    for images in batches():
        x = nn.functional.conv2d(
            (images - net.mean) / net.std, net.body.one[0].weight, net.body.one[0].bias
        )
        ones.append(moments(x))
        centred = x - x.mean((0, 2, 3), keepdim=True)
        x = centred / (centred.square().mean((0, 2, 3), keepdim=True) + EPS).sqrt()
        x = (x * first.weight.view(-1, 1, 1) + first.bias.view(-1, 1, 1)).clamp(min=0)
        twos.append(moments(nn.functional.conv2d(x, net.body.two[1].weight, net.body.two[1].bias)))
    return {first: torch.stack(ones).mean(0), second: torch.stack(twos).mean(0)}


def moments(x):
    channels = x.transpose(0, 1).flatten(1)
    mean = channels.sum(1) / channels.shape[1]
    return torch.stack(
        [mean, (channels - mean.unsqueeze(1)).square().sum(1) / (channels.shape[1] - 1)]
    )


@pytest.mark.parametrize("training", [True, False])
def test_statistics_are_plain_averages_over_batches(net, training):
    recalibrate(net.train(training), iter(batches()))
    for norm, (mean, variance) in plain_statistics(net).items():
        torch.testing.assert_close(norm.running_mean, mean.detach(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(norm.running_var, variance.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_else_changes(net, training):
    net.train(training)
    before, random = copy.deepcopy(dict(net.named_parameters())), torch.get_rng_state()
    recalibrate(net, batches())
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None
        assert parameter.requires_grad
    assert {module.training for module in net.modules()} == {training}
    assert (net.body.one[1].momentum, net.body.two[2].momentum) == (0.3, 0.1)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("training", [True, False])
def test_without_images_nothing_changes(net, training):
    net.train(training)
    before = copy.deepcopy(net.state_dict())
    recalibrate(net, iter(()))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert {module.training for module in net.modules()} == {training}


def test_recalibrating_again_changes_nothing_more(net):
    recalibrate(net, batches())
    before = copy.deepcopy(net.state_dict())
    recalibrate(net, batches())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_uint8_images_are_those_in_the_unit_interval(net):
    raw = torch.randint(
        0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    other = copy.deepcopy(net)
    recalibrate(net, [raw])
    recalibrate(other, [raw.double() / 255])
    torch.testing.assert_close(net.state_dict(), other.state_dict(), rtol=1e-12, atol=0)


def test_a_network_without_batch_norm_is_left_alone():
    net = Network(OrderedDict(flat=nn.Flatten()), 12, 2)
    before = copy.deepcopy(net.state_dict())
    recalibrate(net, [torch.rand(3, 3, 2, 2)])
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_a_batch_norm_that_is_kept_stays_as_it_was(net):
    assert list(batch_norms(net)) == ["body.one.1", "body.two.2"]
    before = copy.deepcopy(net.state_dict())
    recalibrate(net, batches(), kept=["body.one.1"])
    assert torch.equal(net.body.one[1].running_mean, before["body.one.1.running_mean"])
    assert not torch.equal(net.body.two[2].running_mean, before["body.two.2.running_mean"])


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("training", [True, False])
def test_a_synced_norm_alone_is_torchs(training, momentum):
    ours, theirs = (nn.BatchNorm2d(3, momentum=momentum).train(training) for _ in range(2))
    sync_norms(ours_in := nn.Sequential(ours))
    assert type(ours) is Synced2d
    for seed in range(3):
        images = torch.randn(4, 3, 5, 5, generator=generator(seed))
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)
    unsync_norms(ours_in)
    assert type(ours) is nn.BatchNorm2d


def test_a_norm_that_cannot_be_synced_is_refused():
    class Another(nn.BatchNorm2d):
        pass

    with pytest.raises(UserError, match="1 is a Another, which several devices cannot share"):
        sync_norms(nn.Sequential(nn.Identity(), Another(3)))
