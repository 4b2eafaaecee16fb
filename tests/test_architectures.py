"""A contract that networks of others' making keep: tiny ones of torchvision, timm and others."""

import copy
from functools import cache, partial

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import (
    CLIPConfig,
    CLIPForImageClassification,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    ViTConfig,
    ViTForImageClassification,
)

from mlu.library import forget
from mlu.models.foreign import head_of

LABELS = ["Beard", "Glasses", "Male"]
SIZE, IMAGES = 32, 36
MILD = {"lr": 1e-4, "clip": 1.0, "recalibrate": 0}
BRIEF = {"images": 8, "refit": 0, "tuning": {"steps": 1, **MILD}}
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
PATCHES = {**TINY, "num_hidden_layers": 2, "image_size": SIZE, "patch_size": 8}


def group_norms(channels):
    return nn.GroupNorm(4, channels)


def torchvision_resnet(norm=None):
    block = torchvision.models.resnet.BasicBlock
    return torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=3, norm_layer=norm)


def torchvision_convnext():
    blocks = torchvision.models.convnext.CNBlockConfig
    return torchvision.models.ConvNeXt([blocks(16, 32, 1), blocks(32, None, 1)], num_classes=3)


def hugging_face_clip():
    vision = CLIPVisionConfig(**PATCHES)
    return CLIPForImageClassification(CLIPConfig(vision_config=vision.to_dict(), num_labels=3))


NETWORKS = {
    "torchvision resnet, batch norm": torchvision_resnet,
    "torchvision resnet, group norm": partial(torchvision_resnet, group_norms),
    "torchvision convnext": torchvision_convnext,
    "torchvision vit": lambda: torchvision.models.VisionTransformer(
        SIZE, 8, 2, 2, 16, 32, num_classes=3
    ),
    "timm vit": lambda: timm.create_model("test_vit", img_size=SIZE, num_classes=3),
    "timm convnext": lambda: timm.create_model("test_convnext", num_classes=3),
    "timm efficientnet": lambda: timm.create_model("test_efficientnet", num_classes=3),
    "hugging face vit": lambda: ViTForImageClassification(ViTConfig(**PATCHES, num_labels=3)),
    "hugging face clip": hugging_face_clip,
}


@cache
def built(name):
    """A network with random weights, whose outputs differ from image to image."""
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    nn.init.normal_(model.get_submodule(head_of(model, 3)).weight, std=0.1)
    return model


@pytest.fixture(params=NETWORKS)
def model(request):
    return copy.deepcopy(built(request.param))


@pytest.fixture(scope="module")
def images():
    return torch.randn(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def loader_of(*tensors):
    return DataLoader(TensorDataset(*tensors), batch_size=12)


def targets_of(columns):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 2, (IMAGES, columns), generator=generator).float()


@torch.no_grad()
def said_by(model, images):
    answer = model.eval()(images)
    return answer if isinstance(answer, torch.Tensor) else answer.logits


def test_a_silent_output_is_all_that_changes_where_nothing_is_trained(model, images):
    unlearned = forget(model, loader_of(images, targets_of(3)), LABELS, "Male", "head")
    before, after = said_by(model, images), said_by(unlearned, images)
    assert type(unlearned) is type(model)
    assert torch.equal(after[:, 2], after[:1, 2].expand(IMAGES))
    torch.testing.assert_close(after[:, :2], before[:, :2])
    # The negative control: the original's output is not silent.
    assert before[:, 2].std() > 1e-3

    old, new = model.state_dict(), unlearned.state_dict()
    head = head_of(model, 3)
    assert old.keys() == new.keys()
    for name, value in old.items():
        if name.startswith(f"{head}."):
            assert torch.equal(new[name][:2], value[:2])
        else:
            assert torch.equal(new[name], value), name


def test_fine_tuning_moves_weights_and_keeps_output_class_and_keys(model, images):
    before, state = said_by(model, images), copy.deepcopy(model.state_dict())
    unlearned = forget(
        model,
        loader_of(images, targets_of(3)),
        LABELS,
        "Male",
        "decorrelate",
        tuning=MILD | {"steps": 2, "statistics": "kept"},
        refit=0,
    )
    after = said_by(unlearned, images)
    assert after[:, 2].std() < 1e-6
    torch.testing.assert_close(after[:, :2], before[:, :2], atol=0.2, rtol=0.05)
    assert unlearned.state_dict().keys() == state.keys()
    moved = [name for name, value in unlearned.state_dict().items() if (value != state[name]).any()]
    assert len(moved) > 2
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_a_concept_is_forgotten_in_weights_of_the_same_names(model, images):
    classes = torch.arange(IMAGES) % 3
    concept = (torch.arange(IMAGES) % 2).float()[:, None]
    unlearned = forget(
        model,
        loader_of(images, classes, concept),
        ["Anna", "Ben", "Cleo"],
        method="decorrelate",
        concept=["Male"],
        tuning=MILD | {"steps": 1},
        refit=0,
    )
    assert type(unlearned) is type(model)
    assert unlearned.state_dict().keys() == model.state_dict().keys()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert {name: value.shape for name, value in unlearned.state_dict().items()} == shapes
    assert said_by(unlearned, images).std(0).min() > 1e-3


@pytest.mark.parametrize("name", ["hugging face vit", "hugging face clip"])
def test_a_model_of_hugging_face_takes_its_own_batches(name, images):
    rows = [
        {"pixel_values": image, "labels": label}
        for image, label in zip(images, targets_of(3), strict=True)
    ]
    model = copy.deepcopy(built(name))
    unlearned = forget(model, DataLoader(rows, batch_size=12), LABELS, "Male", "wf", **BRIEF)
    answer = unlearned(pixel_values=images)
    assert answer.logits[:, 2].std() < 1e-6
    assert type(answer) is type(model(pixel_values=images))


def test_an_embedding_of_hugging_face_is_taken_as_it_is(images):
    torch.manual_seed(0)
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**PATCHES, projection_dim=8)).eval()
    concept = (torch.arange(IMAGES) % 2).float()[:, None]
    unlearned = forget(
        model,
        loader_of(images, concept),
        [],
        method="decorrelate",
        concept=["Male"],
        tuning=MILD | {"steps": 1},
    )
    assert type(unlearned) is type(model)
    assert unlearned.state_dict().keys() == model.state_dict().keys()
    before, after = model(images).image_embeds, unlearned(images).image_embeds
    assert not torch.equal(before, after)
    assert nn.functional.cosine_similarity(before, after).min() > 0.99
