"""The files that a run leaves, and the tables that it shows."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from mlu.data.base import LabelledImages
from mlu.data.examination import label_correlations
from mlu.models.network import Network
from mlu.pipeline.context import Context
from mlu.pipeline.evidence import Exposure, roc_curves
from mlu.runs.layout import (
    DISTRIBUTION_PICTURE,
    DISTRIBUTIONS,
    LABELS,
    RECOVERY_PICTURE,
    RESULTS,
    ROC,
    ROC_PICTURE,
    STAGE_PICTURE,
    WEIGHTS,
    Histograms,
    write_json,
)
from mlu.runs.pictures import distribution_picture, recovery_picture, roc_picture, stage_picture
from mlu.runs.read import Run
from mlu.runs.tables import attack_table, run_table, show_table
from mlu.system.disk import write_tensors

log = logging.getLogger(__name__)


def leave(
    context: Context,
    unlearned: Network,
    run: Run,
    histograms: Histograms,
    exposure: Exposure,
) -> None:
    """Write what a run leaves, `results.json` last, and show its tables."""
    folder = context.experiment.folder
    write_tensors(folder / WEIGHTS, unlearned.state_dict())
    write_json(label_facts(context.data.source), folder / LABELS)

    leave_distributions(histograms, folder)
    leave_curves(exposure, folder)
    stage_picture(run.results.metrics, folder / STAGE_PICTURE)
    recovery_picture(exposure, folder / RECOVERY_PICTURE)

    write_json(run.results.to_json(), folder / RESULTS)
    show_table(run_table(run))
    if context.experiment.attacks:
        show_table(attack_table(run))

    log.info("results in %s", folder)


def leave_distributions(histograms: Histograms, folder: Path) -> None:
    """Counts and edges of all histograms, and their picture."""
    arrays = {}
    for path, (counts, edges) in histograms.items():
        arrays[f"{path}/counts"], arrays[f"{path}/edges"] = counts, edges

    # The comment on types: as if an array were named allow_pickle.
    np.savez(folder / DISTRIBUTIONS, **arrays)  # type: ignore[arg-type]
    distribution_picture(histograms, folder / DISTRIBUTION_PICTURE)


def leave_curves(exposure: Exposure, folder: Path) -> None:
    """The curves of membership attacks, and their picture, where there are any."""
    curves = roc_curves(exposure)
    if not curves:
        return

    # The comment on types: as if an array were named allow_pickle.
    np.savez(folder / ROC, **curves)  # type: ignore[arg-type]
    roc_picture(curves, folder / ROC_PICTURE)


def label_facts(data: LabelledImages) -> dict[str, Any]:
    """The content of `labels.json`: what each output means, and how the labels correlate (phi)."""
    rows = [
        [None if np.isnan(value) else value for value in row]
        for row in label_correlations(data).tolist()
    ]
    return {"labels": list(data.labels), "task": data.task, "correlation": rows}
