import pytest
import torch

from mlu.methods.parts.anew import new_start
from mlu.system.seeding import generator


def test_weights_start_as_torch_s_kaiming_normal_ones():
    old = torch.full((64, 32, 3, 3), 7.0)
    found = new_start("conv.weight", old, generator(0))
    assert found.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.02)
    assert found.mean().abs() < 1e-3
    assert torch.equal(found, new_start("conv.weight", old, generator(0)))
    assert not torch.equal(found, new_start("conv.weight", old, generator(1)))


def test_norms_biases_and_tokens_start_neutral_or_as_spread_as_they_were():
    assert torch.equal(new_start("bn.weight", torch.randn(5), generator(0)), torch.ones(5))
    assert torch.equal(new_start("head.bias", torch.randn(5), generator(0)), torch.zeros(5))
    old = 3 + 0.1 * torch.randn(1, 500, 8, generator=generator(1))
    found = new_start("positions", old, generator(0))
    assert found.mean().item() == pytest.approx(3, abs=0.02)
    assert found.std().item() == pytest.approx(0.1, abs=0.01)
