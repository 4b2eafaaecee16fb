"""Names of weights, whatever module stood around the network."""

import pytest
import torch
import torchvision

from mlu.models.backbones import ResNet, Tiny
from mlu.models.weight_names import our_names
from mlu.models.weights import load_trained
from mlu.system.errors import UserError
from tests.support.made_nets import LABELS, assert_equal, save, tiny

EXTRA = torch.zeros(3)


def below(prefix):
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


def compiled_within(state):
    return {name.replace("body.", "body._orig_mod.", 1): value for name, value in state.items()}


FORMS = {
    "compiled": below("_orig_mod."),
    "compiled stages": compiled_within,
    "parallel": below("module."),
    "both": below("module._orig_mod.module."),
    "model": below("model."),
    "backbone": below("backbone."),
    "net": below("net."),
    "encoder": below("encoder."),
    "any name": below("student."),
    "nested": below("module._orig_mod.model.net."),
    "with a loss": lambda state: below("model.")(state) | {"criterion.pos_weight": EXTRA},
    "averaged": lambda state: below("module.")(state) | {"n_averaged": torch.tensor(3)},
    "head beside": lambda state: {
        name if name.startswith("head.") else f"net.{name}": value for name, value in state.items()
    },
    "in half precision": lambda state: {name: value.half() for name, value in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_stands_around_a_network_is_taken_off(form, tmp_path):
    trained, net = tiny(1), tiny(2)
    load_trained(net, save(FORMS[form](trained.state_dict()), tmp_path / "tiny.pt"))
    if form == "in half precision":
        trained = trained.half().float()
    assert_equal(net, trained)


@pytest.mark.parametrize("prefix", ["", "model.", "module._orig_mod.backbone."])
def test_names_of_torchvision_are_found_behind_a_prefix(prefix, tmp_path):
    source = torchvision.models.resnet18(num_classes=LABELS)
    path = save(below(prefix)(source.state_dict()), tmp_path / "resnet18.pt")
    started = ResNet(name="resnet18", weights=str(path)).build(LABELS)
    torch.testing.assert_close(started.head.weight, source.fc.weight, rtol=0, atol=0)


def test_training_starts_from_weights_behind_a_prefix(tmp_path):
    trained = tiny(1)
    path = save(below("module.model.")(trained.state_dict()), tmp_path / "tiny.pt")
    assert_equal(tiny(2, weights=str(path)), trained)


def test_a_name_of_the_network_itself_is_no_prefix():
    own = ["body.whole.model.a", "body.whole.model.b", "head.weight"]
    renames = ((r"^(?!body|head)", "body.whole."),)
    state = {"model.a": EXTRA, "model.b": EXTRA, "head.weight": EXTRA}
    assert set(our_names(state, renames, own)) == set(own)
    assert set(our_names(below("model.")(state), renames, own)) == set(own)


def test_two_networks_in_one_file_are_refused_by_their_names():
    net = Tiny(name="tiny").build(LABELS)
    state = net.state_dict()
    two = below("student.")(state) | below("teacher.")({k: v + 1 for k, v in state.items()})
    with pytest.raises(UserError, match=r"below 'student\.' and below 'teacher\.'"):
        our_names(two, net.renames, state)


def test_names_that_nobody_knows_stay(tmp_path):
    net = Tiny(name="tiny").build(LABELS)
    with pytest.raises(UserError, match=r"'conv1\.weight' that this backbone lacks"):
        load_trained(net, save({"module.conv1.weight": EXTRA}, tmp_path / "other.pt"))
