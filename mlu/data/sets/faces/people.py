"""People of the drawn faces: labels as on CelebA-HQ, and the chance that all else follows from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from mlu.data.labels import PAPER
from mlu.data.sets.faces.drawing import looks_of
from mlu.data.sets.faces.traits import CUES, PALETTES, PERSON_TRAITS, SCENE_TRAITS, Looks

STATISTICS = Path(__file__).with_name("celeba_hq_labels.csv")
"""How common the ten labels are on CelebA-HQ, and how they go together."""


def label_statistics() -> tuple[np.ndarray, np.ndarray]:
    """Statistics of the ten labels of PAPER on CelebA-HQ.

    Returns:
        Prevalence, shape (10,), and latent correlations, shape (10, 10).
    """
    table = np.genfromtxt(
        STATISTICS, delimiter=",", names=True, dtype=None, encoding="utf-8", skip_header=1
    )
    assert tuple(table["attribute"]) == PAPER
    return table["prevalence"], np.stack([table[label] for label in PAPER], axis=1)


def labels_from_normals(normals: np.ndarray, correlation: float) -> np.ndarray:
    """Labels of people by a Gaussian copula.

    y = 1[z < thresholds], z ~ N(0, I + correlation (R - I)).

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
        persons: Traits that have no label, shape (people, len(PERSON_TRAITS)).
        identities: Person on each image, ascending, shape (images,).
        scenes: Pose, light and expression, shape (images, len(SCENE_TRAITS)).
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
        return looks_of(
            self.labels[person],
            self.cues[person],
            self.persons[person],
            self.scenes[images],
            self.palettes[images],
        )


def cast(images: int, seed: int, images_per_identity: int, correlation: float) -> Cast:
    """People and scenes, each drawn from a stream of its own: fewer images are the first of more.

    Args:
        images: Number of images.
        seed: Of all drawing.
        images_per_identity: Mean number of images of a person, 1 + Poisson.
        correlation: Scales the latent correlations of the labels, in [0, 1].
    """
    streams = [np.random.default_rng(own) for own in np.random.SeedSequence(seed).spawn(6)]

    shares = 1 + streams[0].poisson(images_per_identity - 1, size=images)
    identities = np.repeat(np.arange(images), shares)[:images]
    people = int(identities[-1]) + 1

    return Cast(
        labels=labels_from_normals(streams[1].standard_normal((people, len(PAPER))), correlation),
        cues=streams[2].standard_normal((people, len(CUES))),
        persons=streams[3].standard_normal((people, len(PERSON_TRAITS))),
        identities=identities,
        scenes=streams[4].standard_normal((images, len(SCENE_TRAITS))),
        palettes=streams[5].random((images, len(PALETTES), 3)),
    )
