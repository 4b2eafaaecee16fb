"""Which people's images an attacker gets."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mlu.seeding import generator

FEWEST = 4
"""Images on each side without which there is nothing to learn from and to be judged by."""


def people_drawn(persons: np.ndarray, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Images of disjoint groups of people, drawn at random.

    Args:
        persons: Person on each image, shape (images,).
        sizes: Images of each group. Of its last person only as many are taken as it lacks; the others are nobody's.
        seed: Of the drawing.

    Returns:
        Row numbers of each group, ascending; fewer where the images do not suffice.
    """
    people, person = np.unique(persons, return_inverse=True)
    rank = torch.randperm(len(people), generator=generator(seed)).numpy()[person]
    order = np.argsort(rank, kind="stable")
    groups, at = [], 0
    for size in sizes:
        groups.append(torch.from_numpy(np.sort(order[at : at + size])))
        at += size
        while 0 < at < len(order) and rank[order[at]] == rank[order[at - 1]]:
            at += 1
    return groups
