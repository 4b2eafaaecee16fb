"""Small networks and files of weights."""

import torch
from safetensors.torch import save_file

from mlu.models.backbones import Tiny

LABELS = 5


def images(size=64):
    return torch.randint(
        0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def lived_in(net):
    """With batch-norm statistics that matter."""
    for name, value in net.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        if name.endswith("running_var"):
            value.uniform_(0.2, 0.8)
    return net.eval()


def tiny(seed=0, labels=LABELS, **fields):
    torch.manual_seed(seed)
    net = Tiny(name="tiny", **fields).build(labels)
    return net.eval() if fields.get("weights") else lived_in(net)


def save(state, path):
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def assert_equal(one, two):
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)


def one_line(error, *says):
    assert "\n" not in str(error.value)
    for part in says:
        assert part in str(error.value)
