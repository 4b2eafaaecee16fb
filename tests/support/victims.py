"""Models under attack that are no models.

Outputs with a known law, and images that carry nothing.
"""

from dataclasses import replace

import numpy as np
import torch

from mlu.attacks.contract import Victim
from mlu.data.split import Split
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, MultiLabel

REQUEST = ForgetRequest((0,), (1, 2))
LABELS = 3
NAMES = ("a", "b", "c")


def outputs(targets, logits, features=None, known=None, identities=None):
    """Of one split: targets and logits of shape (images, labels), features of shape (images,
    numbers)."""
    images = len(targets)
    return Outputs(
        logits,
        targets,
        torch.ones(targets.shape, dtype=torch.bool) if known is None else known,
        np.arange(images) if identities is None else identities,
        {} if features is None else {"first": features[:, :1], "last": features},
    )


def split_of(said):
    """Blank images with the targets of outputs."""
    images = np.zeros((len(said), 3, 1, 1), np.uint8)
    return Split(images, np.arange(len(said)), said.targets, said.known, said.identities)


def victim_of(
    said, task=None, request=REQUEST, retrain=None, original=None, shadows=None, net=None, **others
):
    """A victim from what it says of `train`, `validation` and `test`; persons of different splits
    are told apart."""
    apart, start = {}, 0
    for name, part in said.items():
        apart[name] = replace(part, identities=part.identities + start)
        start = int(apart[name].identities.max()) + 1
    fields = {"canaries": None, "matched": shadows, "seed": 0, "labels": NAMES} | others
    return Victim(
        net=net,
        task=task or MultiLabel(),
        request=request,
        splits={name: split_of(part) for name, part in apart.items()},
        outputs=apart,
        original=original or apart,
        retrain=retrain,
        shadows=shadows,
        **fields,
    )
