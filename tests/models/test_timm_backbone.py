"""Models of timm, none of which is downloaded."""

import sys

import pytest
import timm
import torch

from mlu.models.batch_norm import batch_norms
from mlu.models.network import WHOLE
from mlu.models.outputs import trace
from mlu.models.timm_backbone import Timm, channel_axis
from mlu.models.weights import load_trained
from mlu.scores.gradients import all_weights
from mlu.system.errors import UserError
from tests.support.made_nets import assert_equal, images, lived_in, one_line, save

LABELS, SIZE = 5, 64
STAGED = {
    "test_resnet": ["act1", "layer1", "layer2", "layer3", "layer4"],
    "test_efficientnet": [f"blocks.{number}" for number in range(5)] + ["pool"],
    "test_convnext": [f"stages.{number}" for number in range(4)] + ["pool"],
    "test_vit": [f"blocks.{number}" for number in range(6)] + ["pool"],
    "test_vit2": [f"blocks.{number}" for number in (1, 3, 5, 7)] + ["pool"],
    "test_vit3": [f"blocks.{number}" for number in (0, 2, 4, 6, 8)] + ["pool"],
    "test_mambaout": [f"stages.{number}" for number in range(4)] + ["pool"],
}
"""Maps, tokens with and without a class token, and rows of channels (mambaout).

The stages of each.
"""
by_name = pytest.mark.parametrize("name", STAGED)


def built(name, labels=LABELS, seed=0, size=SIZE, weights=None):
    torch.manual_seed(seed)
    return Timm(name=name, image_size=size, weights=weights).build(labels).eval()


def theirs(name, labels=LABELS, size=SIZE, seed=1):
    """timm's own model, with weights and statistics that matter."""
    torch.manual_seed(seed)
    fixed = {"img_size": size} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    model = lived_in(timm.create_model(name, num_classes=labels, **fixed))
    with torch.no_grad():
        for value in model.parameters():
            value += 0.05 * torch.randn_like(value)
    return model


def normalised(name, pixels):
    about = timm.get_pretrained_cfg(name)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (about.mean, about.std))
    return (pixels / 255 - mean) / std


@by_name
def test_it_is_timm_s_model_with_timm_s_normalisation(name, tmp_path):
    """Its logits, and the features that timm says its classifier reads."""
    source, net = theirs(name), built(name)
    load_trained(net, save(source.state_dict(), tmp_path / "model.safetensors"))
    normal = normalised(name, images(SIZE))
    with torch.no_grad():
        expected = source(normal)
        assert (expected.std(0) > 1e-3).all()
        torch.testing.assert_close(net(images(SIZE)), expected, rtol=1e-4, atol=1e-4)
        features = source.forward_head(source.forward_features(normal), pre_logits=True)
        torch.testing.assert_close(net.features(images(SIZE)), features, rtol=1e-4, atol=1e-4)


def test_another_normalisation_would_be_noticed():
    """The test above would: these models want different ones."""
    assert built("test_resnet").mean.flatten().tolist() == [0.5] * 3
    assert built("test_mambaout").mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert built("test_mambaout").std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


@by_name
def test_stages_are_timm_s(name):
    """Means of what timm calls intermediate features, prefix tokens included."""
    net = built(name)
    assert list(net.stages) == STAGED[name]
    assert len(net.stages) <= 6 + 1  # and the pooled features
    model, normal = net.body.get_submodule(WHOLE), normalised(name, images(SIZE))
    settings = {"intermediates_only": True} | (
        {"return_prefix_tokens": True} if "vit" in name else {}
    )
    with torch.no_grad():
        found = model.forward_intermediates(normal, **settings)
        features = net.features(images(SIZE))
    places = [info["module"] for info in getattr(model.feature_info, "info", model.feature_info)]
    stages = trace(net, split_of(images(SIZE)), list(net.stages)).stages
    for stage, means in stages.items():
        expected = features if stage == "pool" else joint_mean(found[places.index(stage)])
        torch.testing.assert_close(means, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(list(stages.values())[-1], features)


def joint_mean(output):
    """Of maps, or of maps and the tokens before them."""
    maps, *others = output if isinstance(output, tuple) else (output,)
    return torch.cat([maps.flatten(2).mT, *others], 1).mean(1)


def split_of(pixels):
    class Images:
        def __len__(self):
            return len(pixels)

        def __getitem__(self, rows):
            return type("Batch", (), {"images": pixels[rows]})

    return Images()


@by_name
def test_every_weight_that_is_scored_is_a_parameter_and_every_matrix_is_scored(name):
    net = built(name)
    own, scored = dict(net.named_parameters()), all_weights(net)
    assert all(torch.equal(own[place], value) for place, value in scored.items())
    layers = {place for place, value in own.items() if value.ndim > 1 and place.endswith("weight")}
    assert layers <= set(scored)


def test_batch_norms_of_timm_are_found():
    assert len(batch_norms(built("test_resnet"))) > 10


@by_name
def test_all_weights_start_from_a_file_and_the_head_where_it_fits(name, tmp_path):
    source = theirs(name)
    path = str(save(source.state_dict(), tmp_path / "model.pt"))
    trained = built(name)
    load_trained(trained, tmp_path / "model.pt")
    assert_equal(built(name, seed=2, weights=path), trained)
    other = built(name, labels=2, weights=path)
    torch.testing.assert_close(other.body.state_dict(), trained.body.state_dict(), rtol=0, atol=0)
    # And from ours.
    path = str(save(trained.state_dict(), tmp_path / "ours.safetensors"))
    assert_equal(built(name, seed=3, weights=path), trained)


def test_weights_for_other_images_are_fitted_as_timm_fits_them(tmp_path):
    source = theirs("test_vit", size=64)
    path = str(save(source.state_dict(), tmp_path / "model.pt"))
    net = built("test_vit", size=32, weights=path)
    source.set_input_size(img_size=32)
    normal = normalised("test_vit", images(32))
    with torch.no_grad():
        torch.testing.assert_close(net(images(32)), source(normal), rtol=1e-4, atol=1e-4)
        assert net.get_parameter(f"body.{WHOLE}.pos_embed").shape[1] == 5


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_pretrained_weights_are_timm_s(name, monkeypatch):
    """Where they come from is timm's business."""
    source = theirs(name, labels=1000, size=160)
    monkeypatch.setattr(
        "timm.models._builder.load_state_dict_from_hf", lambda *_, **__: source.state_dict()
    )
    net = built(name, size=160, weights="pretrained")
    with torch.no_grad():
        expected = source.forward_head(
            source.forward_features(normalised(name, images(160))), pre_logits=True
        )
        torch.testing.assert_close(net.features(images(160)), expected, rtol=1e-4, atol=1e-4)


def test_pretrained_weights_that_cannot_be_had_are_one_line(monkeypatch):
    def offline(*_, **__):
        raise OSError("cannot reach\nthe hub")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    for name, says in (
        ("test_vit", "cannot reach the hub"),
        ("test_convnext3", "backbone.weights=pretrained"),
    ):
        with pytest.raises(UserError) as error:
            built(name, weights="pretrained")
        one_line(error, f"timm cannot make {name}", "64 x 64", says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: {name: value for name, value in state.items() if "blocks.3" not in name},
            "blocks.3",
        ),
        (lambda state: state | {"blocks.9.norm1.weight": torch.ones(64)}, "blocks.9.norm1.weight"),
        (lambda state: state | {"norm.weight": torch.ones(3)}, "norm.weight"),
        (lambda state: {}, "no weights of a body"),
        (lambda state: {"head.weight": state["head.weight"]}, "no weights of a body"),
    ],
)
def test_a_start_from_another_model_is_refused(change, says, tmp_path):
    path = save(change(theirs("test_vit").state_dict()), tmp_path / "other.pt")
    with pytest.raises(UserError) as error:
        built("test_vit", weights=str(path))
    one_line(error, str(path), says)


@pytest.mark.parametrize(
    ("weights", "near"), [("pretraind", ", did you mean 'pretrained'?"), ("nowhere.pt", "")]
)
def test_a_start_from_nowhere_is_refused(weights, near):
    with pytest.raises(UserError) as error:
        built("test_vit", weights=weights)
    one_line(error, f"backbone.weights={weights} is neither a file nor 'pretrained'{near}")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("convnext_ato", "'convnext_atto'"),
        ("vit_tiny_patch16_224.augreg_in1k", "vit_tiny"),
        ("?", "all"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(wrong, near):
    with pytest.raises(UserError) as error:
        Timm(name=wrong, image_size=SIZE)
    one_line(error, f"backbone.name={wrong} is no model of timm", near)


def test_a_name_may_say_which_of_timm_s_weights_are_meant():
    """They differ in how pixels are normalised, though nothing is downloaded here."""
    plain, clip = (
        built(f"vit_tiny_patch16_224.{tag}").mean
        for tag in ("augreg_in21k", "augreg_in21k_ft_in1k")
    )
    assert torch.equal(plain, clip)


def test_without_timm_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError) as error:
        Timm(name="test_vit", image_size=SIZE)
    one_line(error, "pip install 'mlu[timm]'")


@pytest.mark.parametrize(
    ("name", "size", "own"), [("test_vit", 40, "160 x 160"), ("inception_v3", 32, "299 x 299")]
)
def test_images_that_a_model_does_not_take_are_refused(name, size, own):
    with pytest.raises(UserError) as error:
        built(name, size=size)
    one_line(error, name, f"{size} x {size} pixels", own, "dataset.image_size")


@pytest.mark.parametrize(
    ("shape", "rows", "axis"),
    [
        ((2, 6, 4, 4), False, 1),
        ((2, 4, 4, 6), False, -1),
        ((2, 6, 6, 6), False, 1),
        ((2, 6, 6, 6), True, -1),
        ((2, 6, 6), False, -1),
        ((2, 6), False, 1),
        ((2, 4, 4, 4), False, None),
    ],
)
def test_channels_lie_where_there_are_as_many_and_else_as_the_model_says(shape, rows, axis):
    assert channel_axis(torch.zeros(shape), 6, rows) == axis
    assert channel_axis((torch.zeros(shape),), 6, rows) is None


def test_looking_leaves_no_trace():
    one, other = (built("test_resnet", seed=4) for _ in range(2))
    assert_equal(one, other)
    assert not [module for module in one.modules() if module._forward_hooks]
    torch.manual_seed(4)
    assert all(
        module.training for module in Timm(name="test_resnet", image_size=SIZE).build(2).modules()
    )
