"""CelebA-HQ: 30,000 photographs of 6,217 people in high resolution, with CelebA's 40 attributes.

Sources: Karras, Aila, Laine, Lehtinen, Progressive Growing of GANs, ICLR 2018, as CelebAMask-HQ
hands them out (Lee, Liu, Wu, Luo, MaskGAN, CVPR 2020; github.com/switchablenorms/CelebAMask-HQ).
Who is on them comes with the unlearning benchmark MUCAC (Choi, Na, 2023;
github.com/ndb796/MachineUnlearning).
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mlu.data.folder import ImageFolder, LabelTable
from mlu.data.labels import CELEBA, chosen_labels
from mlu.data.sets.celeba import read_joined, read_targets
from mlu.system.errors import UserError

_FOLDER, _IMAGES = "CelebAMask-HQ", "CelebA-HQ-img"
_ATTRIBUTES = ("CelebAMask-HQ-attribute-anno.txt", "CelebA-HQ-attribute.txt")
_IDENTITIES = "CelebA-HQ-identity.txt"

MASKS = "CelebAMask-HQ (github.com/switchablenorms/CelebAMask-HQ)"
MUCAC = "MUCAC (github.com/ndb796/MachineUnlearning)"
"""Where files come from, for messages."""

FIRST_TRAINED, FIRST_UNSEEN = 190, 4855
"""MUCAC's bounds: people before the first are for testing, from the second on it calls unseen."""


@dataclass(frozen=True, kw_only=True)
class CelebAHQ(ImageFolder):
    """CelebA-HQ as CelebAMask-HQ and MUCAC lay it out.

    Each of these lies in `root/CelebAMask-HQ`, else in `root`:

    - `CelebAMask-HQ-attribute-anno.txt`, or the same by MUCAC's name, `CelebA-HQ-attribute.txt`:
      the number of images, the attributes' names, then rows `0.jpg  -1  1 ...`;
    - `CelebA-HQ-identity.txt`: rows `0.jpg 0`;
    - `CelebA-HQ-img/`: the images `0.jpg`, `1.jpg`, ..., 1024 x 1024 pixels.

    Any of the 40 attributes may be among the `labels`; the paper's `Gender` and `Young_Old` become
    `Male` and `Young`. The official split is MUCAC's, by the number of the person: below 190 test,
    below 4855 train; the others, whom it calls unseen, validation. MUCAC forgets people; here the
    data are the same, but a label is forgotten.
    """

    def read(self) -> LabelTable:
        """Rows are sorted by the number of the image."""
        labels = chosen_labels(self.name, self.labels, CELEBA)
        attributes = self.find(MASKS, *_ATTRIBUTES)
        people = self.find(MUCAC, _IDENTITIES)
        names, targets = read_targets(attributes, labels, key=partial(image_number, attributes))
        identities = read_joined(people, names, attributes)

        return LabelTable(
            folder=self.find(MASKS, _IMAGES),
            paths=names,
            targets=targets,
            labels=labels,
            origin=MASKS,
            identities=identities,
            split=official_split(identities) if self.split == "official" else None,
        )

    def find(self, origin: str, *names: str) -> Path:
        """The file or folder by one of its names.

        Raises:
            UserError: With its `origin`, if there is none.
        """
        root = Path(self.root).expanduser()
        for place in (root / _FOLDER, root):
            for name in names:
                if (place / name).exists():
                    return place / name

        raise UserError(
            f"no {' or '.join(names)} in {root / _FOLDER} or {root}: put it there from {origin}, "
            f"or name its folder with dataset.root=..."
        )


def image_number(file: Path, name: str) -> int:
    """The number that an image's name is; `file` has the name, for messages."""
    if not re.fullmatch(r"[0-9]+\.jpg", name):
        raise UserError(
            f"{file}, row {name}: the file name must be a number and .jpg, such as 0.jpg"
        )
    return int(name.removesuffix(".jpg"))


def official_split(identities: np.ndarray) -> np.ndarray:
    """MUCAC's part of each image by its person.

    Returns:
        0 train, 1 validation, 2 test; int8, shape (images,).
    """
    part = np.select([identities < FIRST_TRAINED, identities < FIRST_UNSEEN], [2, 0], 1)
    return part.astype(np.int8)
