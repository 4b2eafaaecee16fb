"""Entropy, loss and distance to Retrain of a model's outputs (paper, Section 7.4)."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from mlu.metrics.findings import NO_REFERENCE, Finding
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, Task

SMALLEST = 1e-12
"""Values below this are drawn at it: their logarithm is shown."""

NO_IMAGES = "the split has no image whose forgotten target is known, or of a forgotten class"


def distribution_findings(
    task: Task,
    outputs: Outputs,
    retrain: Outputs | None,
    incompetent: Outputs,
    request: ForgetRequest,
) -> list[Finding]:
    """`entropy/...` and `loss/...` of the retained outputs, and `forgotten/zrf`, of one split.

    `mean` is in nats; `ks` is the two-sample statistic between the model's and Retrain's values of
    the images, and `entropy/jensen_shannon` the mean divergence of the outputs themselves for the
    same image, in nats, in [0, ln 2]. `forgotten/zrf` is the zero-retrain-forgetting score
    (Chundawat et al., 2023): 1 less the mean Jensen-Shannon divergence, in nats, between what the
    model and an incompetent teacher say of what was forgotten. It needs no Retrain, and says how
    much like chance the outputs are, not what they tell.

    Args:
        task: Of the outputs.
        outputs: Of the model.
        retrain: Retrain's, of the same images; None where there is none.
        incompetent: Of random weights, of the same images.
        request: The columns.
    """
    findings = []
    for name, values_of in PICTURED.items():
        values = values_of(task, outputs, request)
        findings.append(Finding(f"{name}/mean", float(values.mean())))
        if retrain is None:
            findings.append(Finding(f"{name}/ks", None, missing=NO_REFERENCE))
        else:
            theirs = values_of(task, retrain, request)
            apart = stats.ks_2samp(values, theirs, method="asymp").statistic
            findings.append(Finding(f"{name}/ks", float(apart)))

    if retrain is None:
        findings.append(Finding("entropy/jensen_shannon", None, missing=NO_REFERENCE))
    else:
        columns = list(request.retained)
        divergence = task.divergence(outputs.logits.double(), retrain.logits.double(), columns)
        findings.append(Finding("entropy/jensen_shannon", divergence.mean().item()))

    return [*findings, zrf_finding(task, outputs, incompetent, request)]


def zrf_finding(
    task: Task, outputs: Outputs, incompetent: Outputs, request: ForgetRequest
) -> Finding:
    """`forgotten/zrf` of one split; missing where no image speaks of what was forgotten."""
    columns = list(request.forgotten)
    asked = task.rows(
        task.scope(outputs.targets, outputs.known, columns), outputs.targets.shape[1]
    ).any(1)
    if not asked.any():
        return Finding("forgotten/zrf", None, missing=NO_IMAGES)

    columns = task.competing(columns, outputs.targets.shape[1])
    apart = task.divergence(
        outputs.logits[asked].double(), incompetent.logits[asked].double(), columns
    )

    return Finding("forgotten/zrf", 1 - apart.mean().item())


def output_entropies(task: Task, outputs: Outputs, request: ForgetRequest) -> np.ndarray:
    """Entropy of the retained outputs of each image, in nats, shape (images,)."""
    return task.entropy(outputs.logits.double(), list(request.retained)).numpy()


def losses(task: Task, outputs: Outputs, request: ForgetRequest) -> np.ndarray:
    """Mean over the known retained labels of each image that has one, in nats, shape (images,)."""
    found = task.image_loss(
        outputs.logits.double(), outputs.targets.double(), outputs.known, request.retained
    )
    return found[~found.isnan()].numpy()


PICTURED: dict[str, Callable[[Task, Outputs, ForgetRequest], np.ndarray]] = {
    "entropy": output_entropies,
    "loss": losses,
}
"""By the name that their findings and histograms have."""


def drawn(values: np.ndarray) -> np.ndarray:
    """Natural logarithms, as in the paper's Figure 3."""
    logarithms: np.ndarray = np.log(np.maximum(values, SMALLEST))
    return logarithms
