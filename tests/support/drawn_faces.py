"""What the drawn faces are drawn from."""

import numpy as np

from mlu.data.sets.faces.dataset import Faces
from mlu.data.sets.faces.drawing import looks_of
from mlu.data.sets.faces.people import Cast, cast
from mlu.data.sets.faces.traits import Looks


def cast_of(faces: Faces) -> Cast:
    return cast(faces.images, faces.seed, faces.images_per_identity, faces.correlation)


def look(people: Cast, labels: np.ndarray) -> Looks:
    """Looks of the first images, had their people these labels and nothing else changed."""
    rows, person = slice(len(labels)), people.identities[: len(labels)]
    return looks_of(
        labels,
        people.cues[person],
        people.persons[person],
        people.scenes[rows],
        people.palettes[rows],
    )
