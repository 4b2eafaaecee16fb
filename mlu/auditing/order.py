"""The order of outputs: whether those of a model are the labels of the table, in its order."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score

from mlu.models.outputs import Outputs
from mlu.system.errors import UserError

CLEAR = 0.10
"""By how much of AUROC an output must tell another label better than the label's own one does."""
WELL = 0.75
"""AUROC with which each of these other labels must be told: by chance some always is."""
FEWEST = 10
"""Images with a label, and without it, by which outputs are told apart."""


def refuse_other_order(
    key: str, outputs: Outputs, labels: tuple[str, ...], columns: Sequence[int]
) -> None:
    """Raises UserError where outputs tell each other's labels clearly better than their own.

    Args:
        key: Of the model, for messages.
        outputs: What it says of its own labels; those that say the same of every image have no say.
        labels: Names of the outputs, in the order of the table.
        columns: Those that the model is to know.
    """
    able = [column for column in columns if can_tell(outputs, column)]
    if len(able) < 2:
        return

    table = np.array([[auroc(outputs, label, output) for output in able] for label in able])
    _, best = linear_sum_assignment(-table)
    moved = [place for place in range(len(able)) if best[place] != place]
    gains = [table[place, best[place]] - table[place, place] for place in moved]
    told = [table[place, best[place]] for place in moved]
    if not moved or min(gains) < CLEAR or min(told) < WELL:
        return

    place = moved[int(np.argmax(gains))]
    label, other = labels[able[place]], labels[able[best[place]]]
    raise UserError(
        f"{key}: the output in the place of {other!r} tells {label!r} better "
        f"(AUROC {table[place, best[place]]:.2f}) than its own does ({table[place, place]:.2f}): "
        "give dataset.labels in the order of the model's outputs"
    )


def can_tell(outputs: Outputs, column: int) -> bool:
    """Whether an output says different things, and its label occurs both ways often enough."""
    known = outputs.known[:, column]
    truth = outputs.targets[known, column] > 0
    both = min(int(truth.sum()), int((~truth).sum())) >= FEWEST
    return both and bool(np.ptp(outputs.logits[:, column].numpy()) > 0)


def auroc(outputs: Outputs, label: int, output: int) -> float:
    """The AUROC of one output for one label."""
    known = outputs.known[:, label].numpy()
    truth = outputs.targets[:, label].numpy()[known] > 0
    return float(roc_auc_score(truth, outputs.logits[:, output].numpy()[known]))
