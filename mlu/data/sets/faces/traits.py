"""Traits of a drawn face: cues that show its labels, and what persons and scenes add."""

from typing import NamedTuple

from torch import Tensor

Looks = dict[str, Tensor]
"""What is to be drawn.

A value per image, shape (images,), or a colour in [0, 1], shape (images, 3).
"""


class Cue(NamedTuple):
    """A trait that shows a label.

    It is drawn from N(without, spread^2) when the label is 0, from N(with_, spread^2) when it is 1.
    """

    label: str
    without: float
    with_: float
    spread: float


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
"""How each label shows.

Lengths are in half widths (x) and half heights (y) of the face; (with_ - without) / spread is how
far apart the two distributions lie (d'). No trait tells Male alone: its six together have a d' of
6.7.
"""

PERSON_TRAITS = {
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
"""Mean and standard deviation of what tells people apart and has no label."""

SCENE_TRAITS = {
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
"""Mean and standard deviation of what changes from image to image."""

PALETTES = ("wall", "clothes")
"""What has a colour of its own on each image."""

FARTHEST = 2.5
"""Traits end this many standard deviations from their mean, which keeps every face on its image."""
