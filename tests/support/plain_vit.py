"""A vision transformer so small that tests can afford it, and what it computes, written out."""

import math

import torch
import torch.nn.functional as F
from torchvision.models import list_models
from torchvision.models import vision_transformer as theirs
from torchvision.models._api import register_model

from mlu.models.backbones import VisionTransformer

PATCH, HEADS, WIDTH, BLOCKS = 8, 2, 8, 4
STAGES = ("patches", *(f"block{number}" for number in range(1, BLOCKS + 1)), "pool")


def vit_tiny_8(*, weights=None, progress=True, **settings):
    """For `backbone=vit_b_16 backbone.name=vit_tiny_8`."""
    sizes = {"num_layers": BLOCKS, "num_heads": HEADS, "hidden_dim": WIDTH, "mlp_dim": 12}
    return theirs.VisionTransformer(patch_size=PATCH, **sizes, **({"image_size": 224} | settings))


if "vit_tiny_8" not in list_models():
    register_model()(vit_tiny_8)


def tiny_vit(labels=3, size=16, seed=0, weights=None):
    """In float64, with weights none of which is zero or alike."""
    torch.manual_seed(seed)
    net = VisionTransformer(name="vit_tiny_8", image_size=size, weights=weights).build(labels)
    if weights is None:
        stir(net)
    return net.double().eval()


def stir(module):
    """Give every weight a value that matters: a fresh class token is zero, a fresh norm does
    nothing."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.normal_(1.0 if "ln" in name and name.endswith("weight") else 0.0, 0.4)
    return module


def plain_stages(state, images, pooled="class token", positions=True):
    """What each stage gives of normalised images, by torchvision's names of weights: tokens, and
    last the features."""
    tokens = (
        F.conv2d(images, state["conv_proj.weight"], state["conv_proj.bias"], stride=PATCH)
        .flatten(2)
        .mT
    )
    tokens = torch.cat([state["class_token"].expand(len(images), -1, -1), tokens], 1)
    tokens = tokens + state["encoder.pos_embedding"] * positions
    found = [tokens]
    for number in range(BLOCKS):
        block = {
            name.removeprefix(f"encoder.layers.encoder_layer_{number}."): value
            for name, value in state.items()
            if name.startswith(f"encoder.layers.encoder_layer_{number}.")
        }
        tokens = tokens + attention(block, normed(tokens, block, "ln_1"))
        hidden = F.gelu(linear(normed(tokens, block, "ln_2"), block, "mlp.0"))
        tokens = tokens + linear(hidden, block, "mlp.3")
        found.append(tokens)
    tokens = normed(tokens, state, "encoder.ln")
    return [*found, tokens[:, 0] if pooled == "class token" else tokens.mean(1)]


def attention(block, tokens):
    joint = (
        tokens @ block["self_attention.in_proj_weight"].mT + block["self_attention.in_proj_bias"]
    )
    query, key, value = (
        part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in joint.chunk(3, -1)
    )
    weights = (query @ key.mT / math.sqrt(WIDTH / HEADS)).softmax(-1)
    return linear((weights @ value).transpose(1, 2).flatten(2), block, "self_attention.out_proj")


def linear(tokens, state, name):
    return tokens @ state[f"{name}.weight"].mT + state[f"{name}.bias"]


def normed(tokens, state, name):
    centred = tokens - tokens.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def plain_logits(net, weights, images, **changes):
    """Of the network, with some of its weights in place of its own, for images in [0, 1]."""
    state = dict(net.state_dict()) | dict(weights)
    whole = {name.removeprefix("body.whole."): value for name, value in state.items()}
    features = plain_stages(whole, (images - net.mean) / net.std, **changes)[-1]
    return features @ state["head.weight"].mT + state["head.bias"]
