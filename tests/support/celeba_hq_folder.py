"""A small CelebA-HQ in the layout of CelebAMask-HQ and MUCAC, for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from mlu.data.labels import CELEBA
from tests.support.celeba_folder import Facts, write_rows


def celeba_hq_facts(images: int = 40, people: int = 20, seed: int = 0) -> Facts:
    """Labels with prevalence 0.4; numbers of people on both sides of MUCAC's bounds, and of each
    bound itself.

    `split` says what MUCAC makes of them: 0 train, 1 validation, 2 test.
    """
    rng = np.random.default_rng(seed)
    tested, trained, unseen = (
        [0, 7, 189],
        [190, *range(1000, 1000 + people - 8), 4854],
        [4855, 4856, 6216],
    )
    person = rng.permutation(np.resize([*tested, *trained, *unseen], images))
    return Facts(
        names=tuple(f"{number}.jpg" for number in range(images)),
        targets=(rng.random((images, len(CELEBA))) < 0.4).astype(np.uint8),
        identities=person,
        split=np.array([2 if one in tested else 1 if one in unseen else 0 for one in person]),
    )


def write_celeba_hq(root: Path, images: int = 40, people: int = 20, seed: int = 0) -> Path:
    """Write `root/CelebAMask-HQ` with the spacing of the original files and JPEGs of 16 pixels;
    returns `root`.

    Rows are in the order of the text (0, 1, 10, 11, ..., 2), which is not that of the numbers.
    """
    facts = celeba_hq_facts(images, people, seed)
    folder = Path(root) / "CelebAMask-HQ"
    (folder / "CelebA-HQ-img").mkdir(parents=True)
    signs = np.where(facts.targets == 1, " 1", "-1")
    attributes = [f"{name}  {' '.join(row)}" for name, row in zip(facts.names, signs, strict=True)]
    numbers = [
        f"{name} {person}" for name, person in zip(facts.names, facts.identities, strict=True)
    ]
    write_rows(
        folder / "CelebAMask-HQ-attribute-anno.txt",
        [str(images), " ".join(CELEBA) + " "],
        sorted(attributes),
    )
    write_rows(folder / "CelebA-HQ-identity.txt", [], numbers)
    for number, name in enumerate(facts.names):
        Image.new("RGB", (16, 16), (number * 6, 128, 255 - number * 6)).save(
            folder / "CelebA-HQ-img" / name
        )
    return Path(root)
