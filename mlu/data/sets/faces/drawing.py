"""From traits to pixels: numbers for what to draw, then layers, then bytes."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlu.data.labels import PAPER
from mlu.data.sets.faces.traits import (
    CUES,
    FARTHEST,
    PALETTES,
    PERSON_TRAITS,
    SCENE_TRAITS,
    Looks,
)

Layer = tuple[Tensor, Tensor]
"""A layer of a picture.

How much of what lies behind is covered, in [0, 1], shape (images, size, size); and a colour, shape
(images, 3).
"""


def looks_of(
    labels: np.ndarray,
    cues: np.ndarray,
    persons: np.ndarray,
    scenes: np.ndarray,
    palettes: np.ndarray,
) -> Looks:
    """All traits and colours to draw, from a row per image of the arrays that `Cast` describes."""
    traits = {}
    for (trait, cue), normal in zip(CUES.items(), cues.T, strict=True):
        has = labels[:, PAPER.index(cue.label)]
        mean = np.where(has == 1, cue.with_, cue.without)
        traits[trait] = mean + cue.spread * normal.clip(-FARTHEST, FARTHEST)

    for table, normals in ((PERSON_TRAITS, persons), (SCENE_TRAITS, scenes)):
        for (trait, (middle, spread)), normal in zip(table.items(), normals.T, strict=True):
            traits[trait] = middle + spread * normal.clip(-FARTHEST, FARTHEST)

    tensors = {trait: torch.from_numpy(value).float() for trait, value in traits.items()}
    for number, name in enumerate(PALETTES):
        tensors[name] = torch.from_numpy(0.25 + 0.5 * palettes[:, number]).float()

    return tensors | colours(tensors)


def mix(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Colours between two, shape (images, 3).

    `share` is that of the other, cut to [0, 1], shape (images,).
    """
    return torch.lerp(one, other, share.clamp(0, 1)[:, None])


def desaturated(colour: Tensor, share: Tensor) -> Tensor:
    """Colours with `share` of their saturation gone."""
    return mix(colour, colour.mean(dim=1, keepdim=True).expand_as(colour), share)


def colours(traits: Mapping[str, Tensor]) -> Looks:
    """Colours of skin, lips, hair, brows and irises, each of shape (images, 3)."""
    age = traits["age"]
    skin = mix(torch.tensor([0.93, 0.76, 0.66]), torch.tensor([0.50, 0.34, 0.25]), traits["tone"])
    warm = skin + traits["warmth"][:, None] * torch.tensor([1.0, 0.0, -1.0])
    skin = desaturated(warm, 0.35 * age)
    lips = mix(0.8 * skin, torch.tensor([0.78, 0.10, 0.16]), traits["redness"])

    black = torch.tensor([0.07, 0.06, 0.07])
    blond = torch.tensor([0.88, 0.73, 0.42])
    silver = torch.tensor([0.66, 0.66, 0.69])
    fair = mix(black, blond, (traits["shade"] - 0.1) * 4)
    other = mix(fair, silver, (traits["shade"] - 1.1) * 4)
    hair = mix(other, torch.tensor([0.45, 0.24, 0.10]), traits["brownness"])
    hair = mix(hair, silver, 0.3 * age)

    brown, blue = torch.tensor([0.22, 0.13, 0.08]), torch.tensor([0.25, 0.45, 0.60])
    iris = mix(brown, blue, 2 * traits["iris"])

    return {"skin": skin, "lips": lips, "hair": hair, "brows": 0.62 * hair, "iris": iris}


def render(looks: Looks, size: int) -> Tensor:
    """Draw faces.

    Args:
        looks: As `looks_of` returns them.
        size: Height and width, in pixels.

    Returns:
        RGB, black 0 and white 1 but not cut to them, shape (images, 3, size, size).
    """
    traits = {name: value[:, None, None] for name, value in looks.items() if value.ndim == 1}
    colours = {name: value for name, value in looks.items() if value.ndim == 2}
    sheet = lay_out(traits, size)

    face = (draw_cap, draw_eyes, draw_brows, draw_mouth, draw_nose, draw_age)
    layers: list[Layer] = []
    for draw_part in (*face, draw_head, draw_body):  # front to back
        layers += draw_part(sheet, traits, colours)

    return composite(layers, colours["wall"], sheet, traits)


class Sheet(NamedTuple):
    """Where each pixel lies, shape (images, size, size) or broadcast to it.

    Attributes:
        x: From -1 at the left of the image to 1 at the right.
        y: From -1 at the top to 1 at the bottom.
        across: Half widths of the face from its middle; the head ends at 1.
        down: Half heights from its centre: the crown is at -1, the chin at 1.
        aside: Half widths from the bridge of the nose to either side, as the face turns.
        head: Below 1 inside the outline of the head, 1 on it.
        pixel: Height of a pixel, in half heights of the face.
    """

    x: Tensor
    y: Tensor
    across: Tensor
    down: Tensor
    aside: Tensor
    head: Tensor
    pixel: Tensor


def lay_out(traits: Looks, size: int) -> Sheet:
    """Shift, turn and scale the grid of pixels to the face."""
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    x, y = axis[None, None, :], axis[None, :, None]

    width = traits["size"] * traits["zoom"] / traits["aspect"].sqrt()
    height = traits["size"] * traits["zoom"] * traits["aspect"].sqrt()
    cos, sin = traits["turn"].cos(), traits["turn"].sin()
    across = cos / width * (x - traits["x"]) + sin / width * (y - traits["y"])
    down = cos / height * (y - traits["y"]) - sin / height * (x - traits["x"])

    # The lower the wider, by `jaw`: 0 is an ellipse, more is square, less is tapered.
    widening = down.clamp(0, 1).mul_(-traits["jaw"].clamp(max=0.9)).add_(1)
    head = widening.mul_(across).mul_(across).addcmul_(down, down)

    return Sheet(x, y, across, down, (across - traits["yaw"]).abs_(), head, 2 / size / height)


def edge(excess: Tensor, radius: Tensor | float, pixel: Tensor) -> Tensor:
    """1 where `excess` < 1, 0 where it is more, a pixel and a half between.

    `excess` grows as (distance / radius)^2.
    """
    steepness = radius / (3 * pixel)
    return (excess * -steepness).add_(steepness + 0.5).clamp_(0, 1)


def disc(
    x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float, pixel: Tensor
) -> Tensor:
    """An ellipse around 0 with half axes `width` and `height`."""
    y = y / height
    return edge((x / width).square_().addcmul_(y, y), height, pixel)


def draw_cap(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Hair over the forehead; baldness moves its line up and over the crown, which shines."""
    bald = traits["baldness"].clamp(0, 1)
    line = sheet.across.square().square_().mul_(0.55 + 0.5 * bald)
    line.sub_(traits["hairline"] + 0.6 * bald)
    below_line = line.sub_(sheet.down).div_(1.5 * sheet.pixel).add_(0.5).clamp_(0, 1)

    volume = traits["volume"] * (1 - bald)
    above = (sheet.down + 0.25).clamp_(max=0)
    dome = disc(sheet.across, above, 1 + 0.6 * volume, 0.75 + volume, sheet.pixel)

    shine = disc(sheet.across, sheet.down + 0.72, 0.55, 0.26, sheet.pixel).mul_(0.75 * bald)
    lit = (1.3 * colours["skin"] + 0.15).clamp(max=1)

    return [(dome.mul_(below_line), colours["hair"]), (shine, lit)]


def draw_eyes(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Iris, white of the eye and lashes."""
    x, y = sheet.aside - traits["eye_x"], sheet.down - traits["eye_y"]
    eye = disc(x, y, traits["eye_width"], traits["eye_height"], sheet.pixel)
    iris = disc(x, y, 0.105, 0.105 / traits["aspect"], sheet.pixel).mul_(eye)

    lash = traits["lash"].clamp(min=0)
    width, height = traits["eye_width"] + 0.5 * lash, traits["eye_height"] + 0.3 * lash
    lashes = disc(x, y.add_(lash), width, height, sheet.pixel)
    dark = 0.3 * colours["brows"]

    return [(iris, colours["iris"]), (eye, torch.full_like(dark, 0.93)), (lashes, dark)]


def draw_brows(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Brows whose middle rises by `arch` over their ends."""
    height = traits["brow_height"].clamp(min=0.02)
    along = (sheet.aside - traits["eye_x"]).div_(0.29).square_()
    middle = traits["eye_y"] - traits["brow_gap"] - 0.4 * traits["arch"]
    above = (along * -traits["arch"]).add_(sheet.down).sub_(middle).div_(height)
    return [(edge(along.square_().addcmul_(above, above), height, sheet.pixel), colours["brows"])]


def draw_mouth(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Lips and the line between them, bent by the smile."""
    bend = sheet.aside.square().mul_(traits["smile"] / 0.13).add_(sheet.down)
    bend.sub_(traits["mouth_y"] + 0.5 * traits["smile"])
    line = disc(sheet.aside, bend, 0.9 * traits["mouth_width"], 0.025, sheet.pixel).mul_(0.8)
    lips = disc(sheet.aside, bend, traits["mouth_width"], traits["lip_height"], sheet.pixel)
    return [(line, 0.4 * colours["lips"]), (lips, colours["lips"])]


def draw_nose(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """A lit bridge and tip, and the shadow under them."""
    skin, tip = colours["skin"], traits["nose_width"]
    length = traits["nose_y"] - traits["eye_y"]
    below = sheet.down - traits["nose_y"]
    ball = disc(sheet.aside, below + 0.07, 0.85 * tip, 0.09, sheet.pixel)
    shadow = disc(sheet.aside, below, tip, 0.10, sheet.pixel).mul_(0.7)

    below.add_(0.5 * length)
    bridge = disc(sheet.aside, below, 0.05 + 0.25 * tip, 0.55 * length, sheet.pixel).mul_(0.6)

    return [(ball, 1.06 * skin), (bridge, 1.12 * skin), (shadow, 0.5 * skin)]


def draw_age(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Two lines on the forehead, a bag under each eye and a fold beside the mouth."""
    age = traits["age"].clamp(min=0)
    two = (sheet.across.square() * 0.08).add_(sheet.down).add_(0.55).abs_().sub_(0.065)
    lines = disc(sheet.across, two, 0.55, 0.025, sheet.pixel)

    x, y = sheet.aside - traits["eye_x"], sheet.down - traits["eye_y"]
    bags = disc(x, y - 0.185, 0.2, 0.03, sheet.pixel)
    folds = disc(x.sub_(0.5 * y).add_(0.25), y.sub_(0.58), 0.04, 0.2, sheet.pixel)

    marks = torch.maximum(lines, bags).maximum(folds).mul_(0.6 * age).clamp_(max=1)

    return [(marks, 0.5 * colours["skin"])]


def draw_head(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Beard, the shade towards the outline, and skin."""
    face = edge(sheet.head, 1.0, sheet.pixel)
    line = sheet.across.square().mul_(0.5).add_(sheet.down).sub_(0.42).div_(0.12).clamp_(0, 1)
    beard = line.mul_(traits["density"].clamp(min=0)).mul_(face)
    shade = sheet.head.clamp(max=1).square_().mul_(0.4).mul_(face)

    return [
        (beard, 0.35 * colours["hair"]),
        (shade, 0.65 * colours["skin"]),
        (face, colours["skin"]),
    ]


def draw_body(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Double chin, neck, ears, the hair that hangs behind the face, and clothes."""
    skin, down = colours["skin"], sheet.down
    fold = traits["fold"].clamp(min=0)
    fold_width, fold_height = 0.48 + 0.24 * fold, 0.12 + 0.30 * fold
    chin = disc(sheet.across, down - 0.9, fold_width, fold_height, sheet.pixel)
    crease = disc(sheet.across, down - 0.96, fold_width + 0.02, fold_height, sheet.pixel)

    neck = disc(sheet.across, (down - 1.0).clamp_(max=0), 0.5, 0.4, sheet.pixel)
    under_chin = (sheet.head * -4).add_(5.0).clamp_(0, 1).mul_(torch.maximum(chin, neck)).mul_(0.6)

    ear, outside = traits["ear"], sheet.across.abs() - 1.0
    ears = disc(outside, down - 0.02, ear, 1.2 * ear, sheet.pixel)
    clothes = disc(sheet.across, down - 2.2, 1.9, 0.95, sheet.pixel)

    return [
        (under_chin, 0.4 * skin),
        (chin, skin),
        (crease.mul_(0.75), 0.35 * skin),
        (neck, 0.8 * skin),
        (hanging_hair(sheet, traits), 0.8 * colours["hair"]),
        (ears, 0.9 * skin),
        (clothes, colours["clothes"]),
    ]


def hanging_hair(sheet: Sheet, traits: Looks) -> Tensor:
    """A dome behind the head that goes on to `hair_length`.

    On a bald head it is a fringe above the ears.
    """
    bald = traits["baldness"].clamp(0, 1)
    length = torch.lerp(traits["hair_length"], torch.full_like(bald, -0.1), bald).clamp(min=-0.2)
    volume = torch.lerp(traits["volume"], torch.full_like(bald, -0.3), bald)

    dome = (sheet.down + 0.25).clamp_(max=0).div_(0.75 + volume)
    ends = (sheet.down - length).clamp_(min=0).div_(0.35)
    across = sheet.across / (1.06 + 0.6 * traits["volume"])
    excess = across.square_().addcmul_(dome, dome).addcmul_(ends, ends)

    return edge(excess, 0.9, sheet.pixel)


def composite(layers: list[Layer], wall: Tensor, sheet: Sheet, traits: Looks) -> Tensor:
    """Lay the layers, front to back, before a wall, and light the whole."""
    images, size = len(wall), sheet.x.shape[-1]

    # What is seen of each layer, then of the wall, and last the wall's slope of brightness.
    shares = torch.empty(images, len(layers) + 2, size, size)
    rest = torch.ones(images, size, size)
    for number, (alpha, _) in enumerate(layers):
        rest -= torch.mul(rest, alpha, out=shares[:, number])

    shares[:, -2] = rest
    torch.mul(rest, traits["ramp_x"] * sheet.x + traits["ramp_y"] * sheet.y, out=shares[:, -1])

    palette = torch.stack([*(colour for _, colour in layers), wall, torch.ones_like(wall)], dim=2)
    light = traits["light"] * (1 + traits["light_x"] * sheet.x + traits["light_y"] * sheet.y)

    return (palette @ shares.flatten(2)).view(images, 3, size, size).mul_(light[:, None])


def noisy_bytes(pictures: Tensor, noise: float, seed: tuple[int, int]) -> np.ndarray:
    """Add noise of a standard deviation, in place, and round [0, 1] to 0 ... 255."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0]))
    pictures.add_(torch.randn(pictures.shape, generator=generator), alpha=noise)
    return pictures.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8).numpy()
