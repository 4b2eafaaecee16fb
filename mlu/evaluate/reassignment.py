"""Where a single-label task's images of forgotten classes go (paper, Section 7.1).

It is reported, never trained on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlu.metrics.findings import Finding, part_of_path
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, Task

NEIGHBOUR = "neighbour"
"""Part of the path of the share that goes to the nearest class."""
ACCURACY = "accuracy"
"""Part of the path of the accuracy over all images, where these count as of their neighbours."""
RESERVED = (NEIGHBOUR, ACCURACY)
"""Parts of a path that no class may have."""
MULTILABEL = "an image of a multi-label task has no neighbouring class"
NO_FORGOTTEN_IMAGES = "the split has no image of a forgotten class"


def reassignment_findings(
    task: Task,
    outputs: Outputs,
    original: Tensor,
    head: nn.Linear,
    request: ForgetRequest,
    labels: Sequence[str],
) -> list[Finding]:
    """`reassigned/neighbour` and `reassigned/<Class>`: shares of the forgotten classes' images.

    They are shares by what is predicted. `reassigned/accuracy` is that of all images, where each of
    a forgotten class is taken for one of its neighbour.

    A neighbour is the retained class whose decision boundary is nearest to the image in the
    original's features. A class that is called like one of these figures, or has a slash in its
    name, stands in quotes: `reassigned/"neighbour"`.

    Args:
        task: Of the outputs.
        outputs: Of the model, on one split.
        original: The original's logits of the same images.
        head: The original's.
        request: The forgotten and the retained classes.
        labels: Names of all classes.
    """
    classes = task.one_class(outputs.targets)
    if classes is None:
        return [Finding(f"reassigned/{name}", None, missing=MULTILABEL) for name in RESERVED]

    rows = (outputs.targets[:, list(request.forgotten)] > 0).any(1).nonzero().squeeze(1)
    if not len(rows):
        names = [
            *RESERVED,
            *(part_of_path(labels[column], RESERVED) for column in request.retained),
        ]
        return [Finding(f"reassigned/{name}", None, missing=NO_FORGOTTEN_IMAGES) for name in names]

    said = outputs.logits[rows].argmax(1)
    nearest = neighbours(original[rows], classes[rows], head, request.retained)
    shares = [
        Finding(
            f"reassigned/{part_of_path(labels[column], RESERVED)}",
            (said == column).float().mean().item(),
        )
        for column in request.retained
    ]

    nearby = (said == nearest).float().mean().item()
    reassigned = classes.clone()
    reassigned[rows] = nearest
    right = (outputs.logits.argmax(1) == reassigned).float().mean().item()

    return [
        Finding(f"reassigned/{NEIGHBOUR}", nearby),
        Finding(f"reassigned/{ACCURACY}", right),
        *shares,
    ]


def neighbours(logits: Tensor, classes: Tensor, head: nn.Linear, retained: Sequence[int]) -> Tensor:
    """The retained class nearest to each image, shape (images,).

    The boundary between the image's class u and class c lies (z_u - z_c) / |w_u - w_c| away in the
    space of features; this is negative on the other side of it.

    Args:
        logits: Shape (images, labels).
        classes: True class of each image, shape (images,).
        head: Gave the logits.
        retained: Candidates.
    """
    columns, weight = list(retained), head.weight.detach().to(logits)
    apart = (weight[classes].unsqueeze(1) - weight[columns]).norm(dim=2)
    gap = logits.gather(1, classes.unsqueeze(1)) - logits[:, columns]
    return torch.tensor(columns)[(gap / apart.clamp(min=torch.finfo(logits.dtype).tiny)).argmin(1)]
