import copy

import pytest
import torch
import torchvision
import torchvision.models._api as registry

from mlu.models.backbones import ResNet, VisionTransformer
from mlu.models.weights import load_trained
from mlu.system.errors import UserError
from tests.support.made_nets import LABELS, assert_equal, images, lived_in, one_line, save, tiny
from tests.support.plain_vit import (
    BLOCKS,
    PATCH,
    STAGES,
    WIDTH,
    plain_logits,
    stir,
    tiny_vit,
    vit_tiny_8,
)


@pytest.fixture(scope="module")
def source():
    """torchvision's own network."""
    return resnet_of_torchvision("resnet18")


def resnet_of_torchvision(name):
    torch.manual_seed(1)
    return lived_in(torchvision.models.get_model(name, num_classes=LABELS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def test_tiny_has_about_a_third_of_a_million_weights():
    net = tiny()
    assert 250_000 <= sum(parameter.numel() for parameter in net.parameters()) <= 350_000
    assert [name for name, _ in net.body.named_children()] == [f"block{n}" for n in range(1, 6)] + [
        "pool"
    ]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_tiny_takes_images_of_any_size_and_normalises_them(size):
    net = tiny()
    assert net.features(images(size)).shape == (2, net.head.in_features)
    torch.testing.assert_close(
        net(images(size)), net(images(size).float() / 255), rtol=1e-5, atol=1e-6
    )
    logits = net(images(size))
    assert logits.shape == (2, LABELS)
    normal = (
        images(size) / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    ) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(logits, net.head(net.body(normal)), rtol=1e-5, atol=1e-6)


def test_weights_are_random_but_by_the_seed():
    assert_equal(tiny(3), tiny(3))
    assert not torch.equal(tiny(3).head.weight, tiny(4).head.weight)


@pytest.mark.parametrize(
    ("name", "form"),
    [("resnet18", "resnet.pt"), ("resnet18", "resnet.safetensors"), ("resnet50", "resnet50.pt")],
)
def test_a_resnet_is_torchvisions(name, form, folder):
    theirs, net = resnet_of_torchvision(name), ResNet(name=name).build(LABELS)
    load_trained(net, save(theirs.state_dict(), folder / form))
    assert_torchvisions(net, theirs)


def assert_torchvisions(net, theirs, size=64):
    """The same logits, in float64, of images that matter."""
    net, theirs = net.double().eval(), copy.deepcopy(theirs).double().eval()
    normal = torchvision.transforms.functional.normalize(
        images(size).double() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        expected = theirs(normal)
        assert (expected.std(0) > 1e-3).all()
        torch.testing.assert_close(net(images(size)), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            net(images(size)), net(images(size).double() / 255), rtol=1e-10, atol=1e-10
        )


def test_resnet_can_start_from_a_file_with_another_head(source, folder, caplog):
    path = save(source.state_dict(), folder / "start.pt")
    torch.manual_seed(0)
    net = ResNet(name="resnet18", weights=str(path)).build(2)
    assert net.head.weight.shape == (2, 512)
    assert torch.equal(net.get_parameter("body.stem.conv1.weight"), source.conv1.weight)
    assert torch.equal(
        net.get_buffer("body.layer4.1.bn2.running_var"), source.layer4[1].bn2.running_var
    )
    same = ResNet(name="resnet18", weights=str(path)).build(LABELS)
    assert torch.equal(same.head.weight, source.fc.weight)


def test_tiny_can_start_from_a_file(tmp_path):
    trained = tiny(1)
    path = save(trained.state_dict(), tmp_path / "tiny.safetensors")
    assert_equal(tiny(2, weights=str(path)), trained)
    other = tiny(2, labels=2, weights=str(path))
    torch.testing.assert_close(other.body.state_dict(), trained.body.state_dict(), rtol=0, atol=0)
    assert other.head.weight.shape[0] == 2


def test_a_start_that_lacks_weights_of_the_body_is_refused(tmp_path):
    state = tiny().state_dict()
    del state["body.block2.conv.weight"]
    with pytest.raises(UserError) as error:
        tiny(weights=str(save(state, tmp_path / "part.pt")))
    one_line(error, "lacks 1 weights", "body.block2.conv.weight")


@pytest.mark.parametrize("weights", ["none.pt", "IMAGENET1K_V9"])
def test_weights_that_are_neither_a_file_nor_torchvisions_are_the_users_fault(weights):
    with pytest.raises(UserError) as error:
        ResNet(name="resnet18", weights=weights).build(LABELS)
    one_line(error, weights, "IMAGENET1K_V1")


@pytest.fixture
def served(monkeypatch, source):
    """What torchvision would download; the fault of a server that is not there."""
    answers = {}

    def download(url, **settings):
        if url not in answers:
            raise OSError(f"cannot reach\n{url}")
        return answers[url]

    monkeypatch.setattr(registry, "load_state_dict_from_url", download)
    return answers


def test_a_resnet_can_start_from_weights_that_torchvision_has(served, source):
    served[torchvision.models.ResNet18_Weights.DEFAULT.url] = source.state_dict()
    for weights in ("DEFAULT", "IMAGENET1K_V1"):
        net = ResNet(name="resnet18", weights=weights).build(2)
        assert torch.equal(
            net.get_parameter("body.layer4.1.conv2.weight"), source.layer4[1].conv2.weight
        )
    served.clear()
    with pytest.raises(UserError) as error:
        ResNet(name="resnet18", weights="DEFAULT").build(2)
    one_line(error, "backbone.weights=DEFAULT cannot be downloaded: cannot reach")


def vit_of_torchvision(size=32, labels=LABELS):
    torch.manual_seed(1)
    return stir(vit_tiny_8(image_size=size, num_classes=labels))


def older(state):
    """As torchvision's own files have it."""
    names = {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}
    for new, old in names.items():
        state = {name.replace(new, old): value for name, value in state.items()}
    assert sum("linear_1" in name for name in state) == 2 * BLOCKS
    return state


@pytest.mark.parametrize("form", [dict, older], ids=lambda form: form.__name__)
def test_a_vision_transformer_is_torchvisions(form, tmp_path):
    theirs, net = (
        vit_of_torchvision(),
        VisionTransformer(name="vit_tiny_8", image_size=32).build(LABELS),
    )
    load_trained(net, save(form(theirs.state_dict()), tmp_path / "vit.pt"))
    assert_torchvisions(net, theirs, size=32)


def test_a_vision_transformer_is_what_it_is_written_out():
    net, random = tiny_vit(labels=LABELS), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    expected = plain_logits(net, {}, random)
    for asked in (net, net.train().requires_grad_(True), net.eval().requires_grad_(False)):
        torch.testing.assert_close(asked(random), expected)


@pytest.mark.parametrize("change", [{"pooled": "mean"}, {"positions": False}], ids=str)
def test_other_pooling_and_forgotten_positions_would_be_noticed(change):
    net, random = tiny_vit(), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(net(random), plain_logits(net, {}, random, **change))


@pytest.mark.parametrize(
    ("name", "weights", "stages"),
    [("vit_b_16", 85_798_656, (3, 6, 9, 12)), ("vit_l_32", 305_510_400, (6, 12, 18, 24))],
)
def test_torchvision_s_own_vision_transformers_are_built(name, weights, stages):
    """Without memory for their weights. Sizes: torchvision's, of 224 x 224 images, without its
    head."""
    with torch.device("meta"):
        net = VisionTransformer(name=name, image_size=224).build(LABELS)
    assert sum(parameter.numel() for parameter in net.body.parameters()) == weights
    assert list(net.stages) == ["patches", *(f"block{number}" for number in stages), "pool"]


def test_a_vision_transformer_has_a_stage_for_each_group_of_blocks():
    assert tuple(tiny_vit().stages) == STAGES


@pytest.mark.parametrize(("size", "near"), [(70, "use 64 or 72"), (7, "use 8")])
def test_images_that_are_no_whole_number_of_patches_are_refused(size, near):
    with pytest.raises(UserError) as error:
        VisionTransformer(name="vit_tiny_8", image_size=size)
    one_line(error, "patches of 8 x 8 pixels", f"dataset.image_size={size}", near)
    VisionTransformer(name="vit_tiny_8", image_size=64)


@pytest.mark.parametrize(
    ("kind", "wrong", "near"),
    [(ResNet, "resnet19", "resnet1"), (VisionTransformer, "vit_b16", "vit_b_16")],
)
def test_an_unknown_architecture_is_refused_with_the_nearest_name(kind, wrong, near):
    with pytest.raises(UserError) as error:
        kind(name=wrong, **({} if kind is ResNet else {"image_size": 64}))
    one_line(error, f"backbone.name={wrong} is no", f"did you mean '{near}")


def test_weights_for_other_images_get_other_positions(tmp_path):
    """The class token and the grid's corners keep theirs."""
    theirs = vit_of_torchvision(size=4 * PATCH)
    path = str(save(theirs.state_dict(), tmp_path / "vit.safetensors"))
    small, same, large = (tiny_vit(LABELS, size * PATCH, weights=path) for size in (2, 4, 7))
    old, positions = theirs.encoder.pos_embedding.double(), "body.whole.encoder.pos_embedding"
    assert torch.equal(same.get_parameter(positions), old)
    assert torch.equal(same.head.weight, theirs.heads.head.weight.double())
    for net, side in ((small, 2), (large, 7)):
        new = net.get_parameter(positions)
        assert new.shape == (1, side**2 + 1, WIDTH)
        grids = new[0, 1:].view(side, side, WIDTH), old[0, 1:].view(4, 4, WIDTH)
        assert torch.equal(new[0, 0], old[0, 0])
        corners = [grid[[0, 0, -1, -1], [0, -1, 0, -1]] for grid in grids]
        torch.testing.assert_close(*corners, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            net.get_parameter("body.whole.conv_proj.weight"), theirs.conv_proj.weight.double()
        )
        assert torch.equal(net.head.weight, same.head.weight)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: {
                name: value for name, value in state.items() if "layer_2.ln_1" not in name
            },
            "lacks 2 weights",
        ),
        (
            lambda state: state | {"conv_proj.weight": torch.zeros(WIDTH, 3, 4, 4)},
            "conv_proj.weight",
        ),
        (
            lambda state: state | {"encoder.pos_embedding": torch.zeros(1, 7, WIDTH)},
            "not a perfect square",
        ),
        (
            lambda state: {name: value for name, value in state.items() if "pos" not in name},
            "pos_embedding",
        ),
    ],
)
def test_a_start_from_another_transformer_is_refused(change, says, tmp_path):
    path = save(change(vit_of_torchvision().state_dict()), tmp_path / "other.pt")
    with pytest.raises(UserError) as error:
        VisionTransformer(name="vit_tiny_8", image_size=16, weights=str(path)).build(LABELS)
    one_line(error, "backbone.weights", says)


def test_a_vision_transformer_can_start_from_weights_of_ours(tmp_path):
    trained = tiny_vit(LABELS, size=32, seed=1).float()
    path = str(save(trained.state_dict(), tmp_path / "ours.safetensors"))
    assert_equal(tiny_vit(LABELS, size=32, seed=2, weights=path).float(), trained)
