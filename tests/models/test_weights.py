"""Weights from files."""

import pickle
from pathlib import Path

import pytest
import torch
import torchvision

from mlu.models.backbones import ResNet, Tiny
from mlu.models.weight_files import read_weights
from mlu.models.weights import load_trained
from mlu.system.errors import UserError
from tests.support.made_nets import LABELS, assert_equal, one_line, save, tiny


def in_lightning(state):
    return {"state_dict": {f"net.{name}": value for name, value in state.items()}, "epoch": 3}


def parallel(state):
    return {f"module.{name}": value for name, value in state.items()}


def without_counts(state):
    return {
        name: value for name, value in state.items() if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("form", ["tiny.pt", "tiny.safetensors"])
def test_our_own_names_are_loaded(tmp_path, form):
    trained, net = tiny(1), tiny(2)
    load_trained(net, save(trained.state_dict(), tmp_path / form))
    assert_equal(net, trained)


@pytest.mark.parametrize(
    "change", [in_lightning, parallel, without_counts], ids=lambda change: change.__name__
)
def test_other_forms_of_a_state_dict_are_loaded(tmp_path, change):
    trained, net = tiny(1), tiny(2)
    load_trained(net, save(change(trained.state_dict()), tmp_path / "tiny.pt"))
    assert_equal(net, trained)


class Harmful:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["bad.pt", "bad.pkl", "bad.ckpt"])
def test_code_in_a_pickle_is_not_run(tmp_path, form):
    mark, path = tmp_path / "harm", tmp_path / form
    content = {"state_dict": tiny().state_dict(), "callback": Harmful(mark)}
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(UserError) as error:
        load_trained(tiny(), path)
    one_line(error, str(path))
    assert not mark.exists()
    # Control: it would have done harm.
    torch.load(path, weights_only=False) if path.suffix != ".pkl" else pickle.loads(
        path.read_bytes()
    )
    assert mark.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: state | {"head.weight": torch.zeros(7, 160)},
            ["(7, 160)", "(5, 160)", "'head.weight'"],
        ),
        (
            lambda state: {k: v for k, v in state.items() if k != "head.bias"},
            ["no weight 'head.bias'"],
        ),
        (
            lambda state: {k.replace("conv", "konv"): v for k, v in state.items()},
            ["body.block1.conv.weight", "konv"],
        ),
        (lambda state: {}, ["no weight"]),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, says):
    path, net = tmp_path / "wrong.pt", tiny(2)
    torch.save(change(tiny(1).state_dict()), path)
    with pytest.raises(UserError) as error:
        load_trained(net, path)
    one_line(error, str(path), *says)
    assert_equal(net, tiny(2))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("junk.safetensors", b"junk"),
        ("junk.pt", b"junk"),
        ("empty.safetensors", b""),
        pytest.param("empty.pt", b""),
        ("list.pt", [torch.zeros(2)]),
        ("numbers.pt", {"epoch": 3}),
        ("nested.pt", {"state_dict": {"a": {"b": torch.zeros(1)}}}),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UserError) as error:
        read_weights(path)
    one_line(error, str(path))


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(UserError) as error:
        load_trained(tiny(), tmp_path / name)
    one_line(error, "there are no weights at", str(tmp_path / name))
    with pytest.raises(UserError):
        Tiny(name="tiny", weights=str(tmp_path / name)).build(LABELS)


def test_weights_of_a_deeper_resnet_are_refused(tmp_path):
    path = save(
        torchvision.models.resnet34(num_classes=LABELS).state_dict(), tmp_path / "resnet34.pt"
    )
    with pytest.raises(UserError):
        load_trained(ResNet(name="resnet18").build(LABELS), path)
