"""`faces`: drawn faces with ten attributes, as common and as entangled as in CelebA-HQ.

Nothing is downloaded. A person has labels, cues that show them, and traits of their own; a scene
(pose, light, background, expression) changes from image to image and knows nothing of the labels.
`looks_of` turns the three into numbers, `render` turns those into pixels.
`python -m mlu.data.sets.faces.preview --output faces.png` draws a labelled sheet.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlu.data.base import Dataset, LabelledImages, arrays_in
from mlu.data.labels import PAPER, resolve_label
from mlu.data.sets.faces.drawing import noisy_bytes, render
from mlu.data.sets.faces.people import STATISTICS, cast
from mlu.system.disk import new_images, write_array
from mlu.system.errors import UserError
from mlu.system.progress import progress_bar
from mlu.system.store import Store, code_digest, digest

PIXELS_AT_ONCE = 2**18
"""Most pixels that are held in float32 at a time.

64 images of 64 x 64: few enough for a processor's cache.
"""

LIMITS = {
    "image_size": (1, math.inf),
    "images": (1, math.inf),
    "images_per_identity": (1, math.inf),
    "seed": (0, math.inf),
    "correlation": (0, 1),
    "noise": (0, math.inf),
}
"""Least and most of each field: beyond, drawing fails or shows another thing than asked for."""


@dataclass(frozen=True, kw_only=True)
class Faces(Dataset):
    """Drawn faces, several of each person; a person's images stand next to each other.

    Image i depends on the fields below and on i, not on how many images there are.

    Attributes:
        images: Number of images.
        seed: Draws people, scenes and noise; at least 0.
        correlation: 1 for the latent correlations of CelebA-HQ's labels, 0 for independent labels,
            or between.
        noise: Standard deviation of each pixel, where black is 0 and white 1.
        images_per_identity: Mean number of images of a person, 1 + Poisson.
        keep_draws: Whether draws of other seeds stay in the folder; else they are removed as soon
            as this one is there, and drawn anew when they are asked for.
    """

    images: int = 10_000
    seed: int = 0
    correlation: float = 1.0
    noise: float = 0.05
    images_per_identity: int = 4
    keep_draws: bool = dataclasses.field(default=True, compare=False)

    def load(self) -> LabelledImages:
        """The images, drawn on the first call.

        Raises:
            UserError: For a field that cannot be drawn.
        """
        check_faces(self)
        key = content_key(self)
        files = partial(arrays_in, ("images", "targets", "identities"))
        store = Store(Path(self.root))
        drawn = store.read("faces", key, lambda draft: draw(self, draft), files)
        if not self.keep_draws:
            store.drop("faces", lambda other: is_other_draw(other, key))

        labels = face_labels(self.labels)
        columns = [PAPER.index(label) for label in labels]

        return LabelledImages(
            name=self.name,
            task="multilabel",
            images=drawn["images"],
            targets=drawn["targets"][:, columns],
            labels=labels,
            identities=np.array(drawn["identities"]),
            fingerprint=digest({**key, "labels": labels}),
        )


def content_key(faces: Faces) -> dict[str, Any]:
    """All that the drawn files depend on.

    They hold all ten labels, so the chosen ones are not part of it.
    """
    fields = ("image_size", "images", "seed", "correlation", "noise", "images_per_identity")
    code = code_digest("mlu.data.sets.faces", "mlu.data.labels")
    return {
        **{field: getattr(faces, field) for field in fields},
        "statistics": STATISTICS.read_text(),
        "code": code,
    }


def is_other_draw(other: Mapping[str, Any], key: Mapping[str, Any]) -> bool:
    """Whether two keys of drawn files differ in their seed, and in nothing else."""
    return other["seed"] != key["seed"] and {**other, "seed": key["seed"]} == key


def face_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels by CelebA's names; raises UserError for one that is none of the ten."""
    return tuple(resolve_label(label, PAPER, "faces (dataset.labels)") for label in labels)


def check_faces(faces: Faces) -> None:
    """Raises UserError for the first field that cannot be drawn."""
    known = face_labels(faces.labels)
    if not known or len(set(known)) < len(known):
        raise UserError(
            f"faces got labels {list(faces.labels)}: name at least one of its ten, "
            "none of them twice"
        )

    for field, (least, most) in LIMITS.items():
        value = getattr(faces, field)
        if not least <= value <= most or math.isinf(value):
            allowed = f"of at least {least}" if math.isinf(most) else f"from {least} to {most}"
            raise UserError(f"faces got {field}={value}: set a value {allowed}")


def draw(faces: Faces, folder: Path) -> dict[str, Any]:
    """Write images.npy, targets.npy (all ten labels) and identities.npy.

    Few images are in float32 at a time.
    """
    people = cast(faces.images, faces.seed, faces.images_per_identity, faces.correlation)
    shape = (faces.images, 3, faces.image_size, faces.image_size)
    images = new_images(folder / "images.npy", shape)

    step = max(1, PIXELS_AT_ONCE // faces.image_size**2)
    starts = range(0, faces.images, step)
    drawing = f"drawing {faces.images:,} faces"
    with one_thread(), progress_bar(drawing, faces.images, "images") as bar:
        for start in starts:
            rows = slice(start, min(start + step, faces.images))
            pictures = render(people.rows(rows), faces.image_size)
            images[rows] = noisy_bytes(pictures, faces.noise, seed=(faces.seed, start))
            bar.advance(rows.stop - rows.start)

    images.flush()
    write_array(folder / "targets.npy", people.labels[people.identities])
    write_array(folder / "identities.npy", people.identities)

    return {"images": faces.images, "people": len(people.labels)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread.

    On planes that fit the cache, waiting for others costs more than they save.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
