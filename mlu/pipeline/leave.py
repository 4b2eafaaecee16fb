"""The files that a run leaves, and the tables that it shows."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlu.data.base import LabelledImages
from mlu.data.examination import label_correlations
from mlu.models.concepts import without_rows
from mlu.models.network import Network
from mlu.pipeline.context import Context
from mlu.pipeline.evidence import Exposure, roc_curves
from mlu.pipeline.experiment import Experiment
from mlu.pipeline.forget_set import ForgetSet
from mlu.pipeline.outcome import write_config
from mlu.runs.layout import (
    CONFIG,
    DISTRIBUTION_PICTURE,
    DISTRIBUTIONS,
    DURABILITY_PICTURE,
    FORGET_SET,
    LABELS,
    LEFT,
    RECOVERY_PICTURE,
    RESULTS,
    ROC,
    ROC_PICTURE,
    STAGE_PICTURE,
    TRACE_PICTURE,
    WEIGHTS,
    Histograms,
    write_json,
)
from mlu.runs.pictures import (
    distribution_picture,
    durability_picture,
    recovery_picture,
    roc_picture,
    stage_picture,
    trace_picture,
)
from mlu.runs.read import Run
from mlu.runs.tables import (
    attack_table,
    reading_notes,
    run_table,
    show_line,
    show_table,
    text_of,
    verdict_line,
)
from mlu.system.disk import write_tensors
from mlu.system.owned import Owned
from mlu.system.terminal import spared

log = logging.getLogger(__name__)

_ELSEWHERE = "name another folder with hydra.run.dir=... (or hydra.sweep.dir), or move them away"


def begin(experiment: Experiment) -> None:
    """Take the folder, in which what an earlier run has left stays until there is something new.

    Raises:
        UserError: If a file that a run leaves is there, and no run of mlu has left it.
    """
    place = Owned(experiment.folder)
    place.refuse_foreign(LEFT, _ELSEWHERE)
    write_config(experiment, place.fresh_drafts() / CONFIG)


def leave(
    context: Context,
    unlearned: Network,
    run: Run,
    histograms: Histograms,
    exposure: Exposure,
    forget_set: ForgetSet,
) -> None:
    """Leave all that counts of a run in its folder, `results.json` last, for what was there before.

    Raises:
        UserError: If somebody has put a file of these names there meanwhile.
    """
    place = Owned(context.experiment.folder)
    concepts = context.request.forgotten if context.experiment.concept else ()
    released = without_rows(unlearned, concepts) if concepts else unlearned
    write_tensors(place.drafts / WEIGHTS, released.state_dict())
    write_json(label_facts(context.data.source, concepts), place.drafts / LABELS)
    write_arrays(place.drafts / DISTRIBUTIONS, histogram_arrays(histograms))
    if curves := roc_curves(exposure):
        write_arrays(place.drafts / ROC, curves)
    if forget_set.weights:
        write_arrays(place.drafts / FORGET_SET, forget_set.weights)
    write_json(run.results.to_json(), place.drafts / RESULTS)

    place.refuse_foreign(LEFT, _ELSEWHERE)
    place.replace(LEFT, last=RESULTS)


def show(run: Run, histograms: Histograms, exposure: Exposure) -> None:
    """Draw the pictures of a run and show its tables; what cannot be shown is told, and no more."""
    place, curves, metrics = Owned(run.folder), roc_curves(exposure), run.results.metrics
    leave_picture(place, DISTRIBUTION_PICTURE, lambda file: distribution_picture(histograms, file))
    leave_picture(place, STAGE_PICTURE, lambda file: stage_picture(metrics, file))
    leave_picture(place, RECOVERY_PICTURE, lambda file: recovery_picture(exposure, file))
    leave_picture(
        place, DURABILITY_PICTURE, lambda file: durability_picture(metrics, exposure, file)
    )
    trace = run.results.trace
    leave_picture(place, TRACE_PICTURE, lambda file: trace_picture(trace, file))
    if curves:
        leave_picture(place, ROC_PICTURE, lambda file: roc_picture(curves, file))

    with spared("drafts cannot be removed", log.warning):
        place.drop_drafts()
    with spared("the tables cannot be shown", log.warning):
        show_table(run_table(run))
        if run.attack_rows:
            show_table(attack_table(run))
            for line in reading_notes(run):
                show_line(text_of(line))
        if verdict := verdict_line(run):
            show_line(verdict)

    log.info("results in %s", run.folder)


def leave_picture(place: Owned, name: str, save: Callable[[Path], None]) -> None:
    """A picture, if there is something to draw."""
    with spared(f"{name} cannot be drawn", log.warning):
        save(place.drafts / name)
        if (place.drafts / name).is_file():
            place.settle(name)


def histogram_arrays(histograms: Histograms) -> dict[str, np.ndarray]:
    """Counts and edges of all histograms by their paths."""
    arrays = {}
    for path, (counts, edges) in histograms.items():
        arrays[f"{path}/counts"], arrays[f"{path}/edges"] = counts, edges
    return arrays


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    # The comment on types: as if an array were named allow_pickle.
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def label_facts(data: LabelledImages, concepts: Sequence[int] = ()) -> dict[str, Any]:
    """The content of `labels.json`: what each output means, and how the labels correlate (phi).

    Args:
        data: The data set.
        concepts: Columns that are no output.
    """
    kept = [column for column in range(len(data.labels)) if column not in concepts]
    correlations = label_correlations(data)[np.ix_(kept, kept)]
    rows = [[None if np.isnan(value) else value for value in row] for row in correlations.tolist()]
    labels = [data.labels[column] for column in kept]

    return {"labels": labels, "task": data.task, "correlation": rows}
