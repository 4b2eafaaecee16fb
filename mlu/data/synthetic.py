"""`faces`: drawn faces with ten attributes, as common and as entangled as in CelebA-HQ; no download.

A person has labels, cues that show them, and traits of their own; a scene (pose, light, background, expression) changes
from image to image and knows nothing of the labels. `looks` turns the three into numbers, `render` turns those into
pixels. `python -m mlu.data.synthetic --preview faces.png` draws a labelled sheet.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from scipy.special import ndtri
from torch import Tensor

from mlu.data.attributes import ALIASES, PAPER, resolve_label
from mlu.data.base import Dataset, LabelledImages, arrays_in
from mlu.disk import new_images, write_array
from mlu.errors import UserError
from mlu.store import Store, code_digest, digest

STATISTICS = Path(__file__).with_name("celeba_hq_labels.csv")

PIXELS_AT_ONCE = 2**18
"""Most pixels that are held in float32 at a time: 64 images of 64 x 64, small enough for a processor's cache."""

Looks = dict[str, Tensor]
"""What is to be drawn: a value per image, shape (images,), or a colour in [0, 1], shape (images, 3)."""


class Cue(NamedTuple):
    """A trait that shows a label: N(without, spread^2) when it is 0, N(with_, spread^2) when it is 1."""

    label: str
    without: float
    with_: float
    spread: float


# Lengths are in half widths (x) and half heights (y) of the face; (with_ - without) / spread is how far apart the two
# distributions lie (d'). No trait tells Male alone: its six together have a d' of 6.7.
CUES = {
    "arch": Cue("Arched_Eyebrows", 0.0, 0.16, 0.035),
    "baldness": Cue("Bald", 0.0, 1.0, 0.14),
    "lip_height": Cue("Big_Lips", 0.065, 0.15, 0.018),
    "brownness": Cue("Brown_Hair", 0.0, 1.0, 0.25),
    "fold": Cue("Double_Chin", 0.0, 1.0, 0.18),
    "density": Cue("No_Beard", 0.55, 0.0, 0.15),  # share of beard in the colour of the lower face
    "aspect": Cue("Oval_Face", 1.20, 1.52, 0.075),  # height / width
    "nose_width": Cue("Pointy_Nose", 0.26, 0.10, 0.034),
    "age": Cue("Young", 1.0, 0.0, 0.24),
    "jaw": Cue("Male", -0.19, 0.43, 0.21),
    "brow_height": Cue("Male", 0.045, 0.09, 0.016),
    "hair_length": Cue("Male", 0.80, 0.0, 0.27),
    "redness": Cue("Male", 0.80, 0.20, 0.205),
    "lash": Cue("Male", 0.075, 0.02, 0.024),
    "brow_gap": Cue("Male", 0.28, 0.22, 0.026),
}

# Mean and standard deviation of what tells people apart and has no label.
PERSON = {
    "size": (0.56, 0.02),
    "eye_x": (0.42, 0.03),
    "eye_y": (-0.10, 0.03),
    "eye_width": (0.19, 0.015),
    "nose_y": (0.30, 0.035),
    "mouth_y": (0.60, 0.025),
    "mouth_width": (0.36, 0.035),
    "hairline": (0.62, 0.04),
    "volume": (0.16, 0.035),
    "ear": (0.13, 0.03),
    "tone": (0.38, 0.24),
    "warmth": (0.0, 0.03),
    "shade": (0.0, 1.0),  # which hair, where it is not brown
    "iris": (0.0, 1.0),
}

# Mean and standard deviation of what changes from image to image.
SCENE = {
    "x": (0.0, 0.045),
    "y": (-0.04, 0.04),
    "turn": (0.0, 0.09),  # radians
    "zoom": (1.0, 0.04),
    "yaw": (0.0, 0.07),
    "smile": (0.05, 0.06),
    "eye_height": (0.10, 0.013),
    "light": (1.0, 0.08),
    "light_x": (0.0, 0.14),
    "light_y": (-0.05, 0.07),
    "ramp_x": (0.0, 0.10),
    "ramp_y": (0.0, 0.10),
}
PALETTES = ("wall", "clothes")
FARTHEST = 2.5
"""Traits end this many standard deviations from their mean, which keeps every face on its image."""


@dataclass(frozen=True, kw_only=True)
class Faces(Dataset):
    """Drawn faces, several of each person; a person's images stand next to each other.

    Image i depends on the fields below and on i, not on how many images there are.

    Attributes:
        images: Number of images.
        seed: Draws people, scenes and noise; at least 0.
        correlation: 1 for the latent correlations of CelebA-HQ's labels, 0 for independent labels, or between.
        noise: Standard deviation of each pixel, where black is 0 and white 1.
        images_per_identity: Mean number of images of a person, 1 + Poisson.
    """

    images: int = 10_000
    seed: int = 0
    correlation: float = 1.0
    noise: float = 0.05
    images_per_identity: int = 4

    def load(self) -> LabelledImages:
        """The images, drawn on the first call; raises UserError for a field that cannot be drawn."""
        check(self)
        key = content_key(self)
        files = partial(arrays_in, ("images", "targets", "identities"))
        drawn = Store(Path(self.root)).read("faces", key, lambda draft: draw(self, draft), files)
        labels = tuple(ALIASES.get(label, label) for label in self.labels)
        return LabelledImages(
            name=self.name,
            task="multilabel",
            images=drawn["images"],
            targets=drawn["targets"][:, [PAPER.index(label) for label in labels]],
            labels=labels,
            identities=np.array(drawn["identities"]),
            fingerprint=digest({**key, "labels": labels}),
        )


def content_key(faces: Faces) -> dict[str, Any]:
    """All that the drawn files depend on; all ten labels are kept, so the chosen ones are not part of it."""
    fields = ("image_size", "images", "seed", "correlation", "noise", "images_per_identity")
    code = code_digest("mlu.data.synthetic", "mlu.data.attributes")
    return {**{field: getattr(faces, field) for field in fields}, "statistics": STATISTICS.read_text(), "code": code}


def check(faces: Faces) -> None:
    """Raise UserError for the first field that cannot be drawn."""
    known = {resolve_label(label, PAPER, "faces (dataset.labels)") for label in faces.labels}
    if not faces.labels or len(known) < len(faces.labels):
        raise UserError(f"faces got labels {list(faces.labels)}: name at least one of its ten, none of them twice")
    limits = {"image_size": (16, math.inf), "images": (1, math.inf), "images_per_identity": (1, math.inf)}
    limits |= {"seed": (0, math.inf), "correlation": (0, 1), "noise": (0, math.inf)}
    for field, (least, most) in limits.items():
        value = getattr(faces, field)
        if not least <= value <= most or math.isinf(value):
            allowed = f"of at least {least}" if math.isinf(most) else f"from {least} to {most}"
            raise UserError(f"faces got {field}={value}: set a value {allowed}")


# --- Who is on the images -----------------------------------------------------------------------------------------


def label_statistics() -> tuple[np.ndarray, np.ndarray]:
    """Prevalence of the ten labels of PAPER, shape (10,), and their latent correlations, shape (10, 10)."""
    table = np.genfromtxt(STATISTICS, delimiter=",", names=True, dtype=None, encoding="utf-8", skip_header=1)
    assert tuple(table["attribute"]) == PAPER
    return table["prevalence"], np.stack([table[label] for label in PAPER], axis=1)


def labels_from_normals(normals: np.ndarray, correlation: float) -> np.ndarray:
    """Labels of people by a Gaussian copula: y = 1[z < thresholds], z ~ N(0, I + correlation (R - I)).

    Args:
        normals: Independent standard normals, shape (people, 10).
        correlation: Scales the latent correlations R, in [0, 1].

    Returns:
        0 or 1, uint8, shape (people, 10).
    """
    prevalence, latent = label_statistics()
    scales, axes = np.linalg.eigh(correlation * latent + (1 - correlation) * np.eye(len(PAPER)))
    z: np.ndarray = normals @ (axes * np.sqrt(scales.clip(0))).T
    present: np.ndarray = z < ndtri(prevalence)
    return present.astype(np.uint8)


@dataclass(frozen=True)
class Cast:
    """Who is on which image, and the standard normals that everything else follows from.

    Attributes:
        labels: Of each person, 0 or 1, shape (people, 10).
        cues: How each person shows the labels, shape (people, len(CUES)).
        persons: Traits that have no label, shape (people, len(PERSON)).
        identities: Person on each image, ascending, shape (images,).
        scenes: Pose, light and expression, shape (images, len(SCENE)).
        palettes: Uniform colours of wall and clothes, shape (images, len(PALETTES), 3).
    """

    labels: np.ndarray
    cues: np.ndarray
    persons: np.ndarray
    identities: np.ndarray
    scenes: np.ndarray
    palettes: np.ndarray

    def rows(self, images: slice) -> Looks:
        """Looks of some of the images."""
        person = self.identities[images]
        return looks(
            self.labels[person], self.cues[person], self.persons[person], self.scenes[images], self.palettes[images]
        )


def cast(faces: Faces) -> Cast:
    """Draw people and scenes, each from a stream of its own: fewer images are the first of more."""
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(faces.seed).spawn(6)]
    shares = 1 + streams[0].poisson(faces.images_per_identity - 1, size=faces.images)
    identities = np.repeat(np.arange(faces.images), shares)[: faces.images]
    people = int(identities[-1]) + 1
    return Cast(
        labels=labels_from_normals(streams[1].standard_normal((people, len(PAPER))), faces.correlation),
        cues=streams[2].standard_normal((people, len(CUES))),
        persons=streams[3].standard_normal((people, len(PERSON))),
        identities=identities,
        scenes=streams[4].standard_normal((faces.images, len(SCENE))),
        palettes=streams[5].random((faces.images, len(PALETTES), 3)),
    )


# --- What they look like ------------------------------------------------------------------------------------------


def looks(labels: np.ndarray, cues: np.ndarray, persons: np.ndarray, scenes: np.ndarray, palettes: np.ndarray) -> Looks:
    """What to draw, from one row per image of the arrays that `Cast` describes."""
    traits = {}
    for (trait, cue), normal in zip(CUES.items(), cues.T, strict=True):
        has = labels[:, PAPER.index(cue.label)]
        mean = np.where(has == 1, cue.with_, cue.without)
        traits[trait] = mean + cue.spread * normal.clip(-FARTHEST, FARTHEST)
    for table, normals in ((PERSON, persons), (SCENE, scenes)):
        for (trait, (middle, spread)), normal in zip(table.items(), normals.T, strict=True):
            traits[trait] = middle + spread * normal.clip(-FARTHEST, FARTHEST)
    tensors = {trait: torch.from_numpy(value).float() for trait, value in traits.items()}
    for number, name in enumerate(PALETTES):
        tensors[name] = torch.from_numpy(0.25 + 0.5 * palettes[:, number]).float()
    return tensors | colours(tensors)


def mix(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Colours between two, shape (images, 3); `share` of the other, cut to [0, 1], shape (images,)."""
    return torch.lerp(one, other, share.clamp(0, 1)[:, None])


def grey(colour: Tensor, share: Tensor) -> Tensor:
    """Colours with `share` of their saturation gone."""
    return mix(colour, colour.mean(dim=1, keepdim=True).expand_as(colour), share)


def colours(traits: Mapping[str, Tensor]) -> Looks:
    """Colours of skin, lips, hair, brows and irises, each of shape (images, 3)."""
    age = traits["age"]
    skin = mix(torch.tensor([0.93, 0.76, 0.66]), torch.tensor([0.50, 0.34, 0.25]), traits["tone"])
    skin = grey(skin + traits["warmth"][:, None] * torch.tensor([1.0, 0.0, -1.0]), 0.35 * age)
    lips = mix(0.8 * skin, torch.tensor([0.78, 0.10, 0.16]), traits["redness"])
    black, blond, silver = torch.tensor([[0.07, 0.06, 0.07], [0.88, 0.73, 0.42], [0.66, 0.66, 0.69]])
    other = mix(mix(black, blond, (traits["shade"] - 0.1) * 4), silver, (traits["shade"] - 1.1) * 4)
    hair = mix(other, torch.tensor([0.45, 0.24, 0.10]), traits["brownness"])
    hair = mix(hair, silver, 0.3 * age)
    iris = mix(torch.tensor([0.22, 0.13, 0.08]), torch.tensor([0.25, 0.45, 0.60]), 2 * traits["iris"])
    return {"skin": skin, "lips": lips, "hair": hair, "brows": 0.62 * hair, "iris": iris}


# --- How they are drawn -------------------------------------------------------------------------------------------

Layer = tuple[Tensor, Tensor]
"""How much of what lies behind is covered, in [0, 1], shape (images, size, size); and a colour, shape (images, 3)."""


def render(looks: Looks, size: int) -> Tensor:
    """Draw faces.

    Args:
        looks: What the function `looks` returns.
        size: Height and width, in pixels.

    Returns:
        RGB, black 0 and white 1 but not cut to them, shape (images, 3, size, size).
    """
    traits = {name: value[:, None, None] for name, value in looks.items() if value.ndim == 1}
    colours = {name: value for name, value in looks.items() if value.ndim == 2}
    sheet = lay_out(traits, size)
    front_to_back = (draw_cap, draw_eyes, draw_brows, draw_mouth, draw_nose, draw_age, draw_head, draw_body)
    layers = [layer for draw_part in front_to_back for layer in draw_part(sheet, traits, colours)]
    return flatten(layers, colours["wall"], sheet, traits)


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
    head = down.clamp(0, 1).mul_(-traits["jaw"].clamp(max=0.9)).add_(1).mul_(across).mul_(across).addcmul_(down, down)
    return Sheet(x, y, across, down, (across - traits["yaw"]).abs_(), head, 2 / size / height)


def edge(excess: Tensor, radius: Tensor | float, pixel: Tensor) -> Tensor:
    """1 where `excess` < 1, 0 where it is more, a pixel and a half between; `excess` grows as (distance / radius)^2."""
    steepness = radius / (3 * pixel)
    return (excess * -steepness).add_(steepness + 0.5).clamp_(0, 1)


def disc(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float, pixel: Tensor) -> Tensor:
    """An ellipse around 0 with half axes `width` and `height`."""
    y = y / height
    return edge((x / width).square_().addcmul_(y, y), height, pixel)


def draw_cap(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Hair over the forehead; baldness moves its line up and over the crown, which shines."""
    bald = traits["baldness"].clamp(0, 1)
    line = sheet.across.square().square_().mul_(0.55 + 0.5 * bald).sub_(traits["hairline"] + 0.6 * bald)
    below_line = line.sub_(sheet.down).div_(1.5 * sheet.pixel).add_(0.5).clamp_(0, 1)
    volume = traits["volume"] * (1 - bald)
    dome = disc(sheet.across, (sheet.down + 0.25).clamp_(max=0), 1 + 0.6 * volume, 0.75 + volume, sheet.pixel)
    shine = disc(sheet.across, sheet.down + 0.72, 0.55, 0.26, sheet.pixel).mul_(0.75 * bald)
    return [(dome.mul_(below_line), colours["hair"]), (shine, (1.3 * colours["skin"] + 0.15).clamp(max=1))]


def draw_eyes(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Iris, white of the eye and lashes."""
    x, y = sheet.aside - traits["eye_x"], sheet.down - traits["eye_y"]
    eye = disc(x, y, traits["eye_width"], traits["eye_height"], sheet.pixel)
    iris = disc(x, y, 0.105, 0.105 / traits["aspect"], sheet.pixel).mul_(eye)
    lash = traits["lash"].clamp(min=0)
    lashes = disc(x, y.add_(lash), traits["eye_width"] + 0.5 * lash, traits["eye_height"] + 0.3 * lash, sheet.pixel)
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
    bend = (
        sheet.aside.square()
        .mul_(traits["smile"] / 0.13)
        .add_(sheet.down)
        .sub_(traits["mouth_y"] + 0.5 * traits["smile"])
    )
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
    bridge = disc(sheet.aside, below.add_(0.5 * length), 0.05 + 0.25 * tip, 0.55 * length, sheet.pixel).mul_(0.6)
    return [(ball, 1.06 * skin), (bridge, 1.12 * skin), (shadow, 0.5 * skin)]


def draw_age(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Two lines on the forehead, a bag under each eye and a fold beside the mouth."""
    age = traits["age"].clamp(min=0)
    two = (sheet.across.square() * 0.08).add_(sheet.down).add_(0.55).abs_().sub_(0.065)
    lines = disc(sheet.across, two, 0.55, 0.025, sheet.pixel)
    x, y = sheet.aside - traits["eye_x"], sheet.down - traits["eye_y"]
    bags = disc(x, y - 0.185, 0.2, 0.03, sheet.pixel)
    folds = disc(x.sub_(0.5 * y).add_(0.25), y.sub_(0.58), 0.04, 0.2, sheet.pixel)
    return [(torch.maximum(lines, bags).maximum(folds).mul_(0.6 * age).clamp_(max=1), 0.5 * colours["skin"])]


def draw_head(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Beard, the shade towards the outline, and skin."""
    face = edge(sheet.head, 1.0, sheet.pixel)
    line = sheet.across.square().mul_(0.5).add_(sheet.down).sub_(0.42).div_(0.12).clamp_(0, 1)
    beard = line.mul_(traits["density"].clamp(min=0)).mul_(face)
    shade = sheet.head.clamp(max=1).square_().mul_(0.4).mul_(face)
    return [(beard, 0.35 * colours["hair"]), (shade, 0.65 * colours["skin"]), (face, colours["skin"])]


def draw_body(sheet: Sheet, traits: Looks, colours: Looks) -> list[Layer]:
    """Double chin, neck, ears, the hair that hangs behind the face, and clothes."""
    skin, down = colours["skin"], sheet.down
    fold = traits["fold"].clamp(min=0)
    fold_width, fold_height = 0.48 + 0.24 * fold, 0.12 + 0.30 * fold
    chin = disc(sheet.across, down - 0.9, fold_width, fold_height, sheet.pixel)
    crease = disc(sheet.across, down - 0.96, fold_width + 0.02, fold_height, sheet.pixel)
    neck = disc(sheet.across, (down - 1.0).clamp_(max=0), 0.5, 0.4, sheet.pixel)
    under_chin = (sheet.head * -4).add_(5.0).clamp_(0, 1).mul_(torch.maximum(chin, neck)).mul_(0.6)
    ears = disc(sheet.across.abs() - 1.0, down - 0.02, traits["ear"], 1.2 * traits["ear"], sheet.pixel)
    clothes = disc(sheet.across, down - 2.2, 1.9, 0.95, sheet.pixel)
    layers = [(under_chin, 0.4 * skin), (chin, skin), (crease.mul_(0.75), 0.35 * skin), (neck, 0.8 * skin)]
    return [
        *layers,
        (hanging_hair(sheet, traits), 0.8 * colours["hair"]),
        (ears, 0.9 * skin),
        (clothes, colours["clothes"]),
    ]


def hanging_hair(sheet: Sheet, traits: Looks) -> Tensor:
    """A dome behind the head that goes on to `hair_length`; on a bald head a fringe above the ears."""
    bald = traits["baldness"].clamp(0, 1)
    length = torch.lerp(traits["hair_length"], torch.full_like(bald, -0.1), bald).clamp(min=-0.2)
    dome = (
        (sheet.down + 0.25).clamp_(max=0).div_(0.75 + torch.lerp(traits["volume"], torch.full_like(bald, -0.3), bald))
    )
    ends = (sheet.down - length).clamp_(min=0).div_(0.35)
    across = sheet.across / (1.06 + 0.6 * traits["volume"])
    return edge(across.square_().addcmul_(dome, dome).addcmul_(ends, ends), 0.9, sheet.pixel)


def flatten(layers: list[Layer], wall: Tensor, sheet: Sheet, traits: Looks) -> Tensor:
    """Lay the layers, front to back, before a wall, and light the whole."""
    images, size = len(wall), sheet.x.shape[-1]
    shares = torch.empty(images, len(layers) + 2, size, size)
    rest = torch.ones(images, size, size)
    for number, (alpha, _) in enumerate(layers):
        rest -= torch.mul(rest, alpha, out=shares[:, number])
    shares[:, -2] = rest
    torch.mul(rest, traits["ramp_x"] * sheet.x + traits["ramp_y"] * sheet.y, out=shares[:, -1])
    palette = torch.stack([*(colour for _, colour in layers), wall, torch.ones_like(wall)], dim=2)
    light = traits["light"] * (1 + traits["light_x"] * sheet.x + traits["light_y"] * sheet.y)
    return (palette @ shares.flatten(2)).view(images, 3, size, size).mul_(light[:, None])


# --- On the disk --------------------------------------------------------------------------------------------------


def draw(faces: Faces, folder: Path) -> dict[str, Any]:
    """Write images.npy, targets.npy (all ten labels) and identities.npy, with few images in float32 at a time."""
    people = cast(faces)
    shape = (faces.images, 3, faces.image_size, faces.image_size)
    images = new_images(folder / "images.npy", shape)
    step = max(1, PIXELS_AT_ONCE // faces.image_size**2)
    starts = range(0, faces.images, step)
    with one_thread():
        for start in track(starts, f"drawing {faces.images:,} faces", console=Console(stderr=True), transient=True):
            rows = slice(start, min(start + step, faces.images))
            pictures = render(people.rows(rows), faces.image_size)
            images[rows] = to_bytes(pictures, faces.noise, seed=(faces.seed, start))
    images.flush()
    write_array(folder / "targets.npy", people.labels[people.identities])
    write_array(folder / "identities.npy", people.identities)
    return {"images": faces.images, "people": len(people.labels)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: on planes that fit the cache, waiting for others costs more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def to_bytes(pictures: Tensor, noise: float, seed: tuple[int, int]) -> np.ndarray:
    """Add noise of a standard deviation, in place, and round [0, 1] to 0 ... 255."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
    pictures.add_(torch.randn(pictures.shape, generator=generator), alpha=noise)
    return pictures.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8).numpy()


# --- A sheet to look at -------------------------------------------------------------------------------------------


def preview(faces: Faces, file: Path) -> None:
    """Save a sheet of faces, each of another person and over the names of what it has; raises UserError."""
    check(faces)
    from matplotlib.figure import Figure  # Here, for it is slow to import and nothing else needs it.

    people = cast(replace(faces, images_per_identity=1))
    pictures = to_bytes(render(people.rows(slice(None)), faces.image_size), faces.noise, seed=(faces.seed, 0))
    columns = min(8, faces.images)
    rows = math.ceil(faces.images / columns)
    figure = Figure(figsize=(1.7 * columns, 2.1 * rows))
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.45 / (2.1 * rows), top=1 - 0.05 / rows, wspace=0.1, hspace=0.3
    )
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, picture, labels in zip(figure.axes, pictures, people.labels, strict=False):
        axes.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
        axes.text(0.5, -0.04, caption(labels), transform=axes.transAxes, fontsize=7, ha="center", va="top")
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as fault:
        raise UserError(f"cannot save the sheet as {file} ({fault}): name a .png in a folder that exists") from fault


def caption(labels: np.ndarray) -> str:
    """Names of what a person has, shape (10,), two on a line."""
    names = [label.lower().replace("_", " ") for label, has in zip(PAPER, labels, strict=True) if has]
    return "\n".join(", ".join(names[start : start + 2]) for start in range(0, len(names), 2))


def main(arguments: list[str] | None = None) -> int:
    """Command line of the preview; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m mlu.data.synthetic", description="Draw a sheet of labelled faces.")
    parser.add_argument(
        "--preview", type=Path, required=True, metavar="FILE", help="picture to write, such as faces.png"
    )
    parser.add_argument("--images", type=int, default=24, help="faces on the sheet (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=64, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--correlation", type=float, default=1.0, help="0 to 1, as on CelebA-HQ (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    settings = vars(parser.parse_args(arguments))
    file = settings.pop("preview")
    try:
        preview(Faces(name="faces", root=".", labels=PAPER, **settings), file)
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
