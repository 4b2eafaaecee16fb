"""The files that an audit leaves, and its words in a terminal."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mlu.auditing.exhibits import Exhibit
from mlu.auditing.inquiry import Inquiry
from mlu.auditing.policy import EXIT_CODES, Clause, Standing
from mlu.auditing.population import JUDGED, LEARNT, Population
from mlu.auditing.record import given_models
from mlu.auditing.tables import audit_table
from mlu.data.sets.csv import Csv
from mlu.data.split import Split
from mlu.metrics.verdict import RETRAIN
from mlu.pipeline.leave import label_facts
from mlu.report.__main__ import FILES, write
from mlu.runs.certificate import certificate_of, certificate_page
from mlu.runs.layout import AUDIT, CERTIFICATE, CERTIFICATE_PAGE, CONFIG, LABELS, RESULTS
from mlu.runs.read import Run
from mlu.runs.tables import show_line, show_table, text_of
from mlu.runs.typed import as_json
from mlu.runs.verdicts import NO_RETRAIN
from mlu.system.owned import Owned
from mlu.system.terminal import spared

log = logging.getLogger(__name__)

SCHEMA = 1
"""Of audit.json."""

_ELSEWHERE = "name another folder with out=..."
_LEFT = (RESULTS, CONFIG, LABELS, AUDIT, CERTIFICATE, CERTIFICATE_PAGE, *FILES)


def begin_audit(folder: Path) -> None:
    """Refuse a folder that has files of somebody else by the names of an audit's."""
    Owned(folder).refuse_foreign(_LEFT, _ELSEWHERE)


def leave_audit(
    inquiry: Inquiry,
    population: Population,
    exhibits: Mapping[str, Exhibit],
    runs: Sequence[Run],
    clauses: Sequence[Clause],
    word: Standing,
) -> None:
    """Leave the audit in its folder and say what came out.

    Args:
        inquiry: The audit.
        population: Who was asked about.
        exhibits: The models.
        runs: One for each draw of the attacks; the first is that of the folder itself.
        clauses: What the policy asks for.
        word: On all of them.
    """
    folder = inquiry.folder
    begin_audit(folder)
    place = Owned(folder)
    facts = audit_facts(inquiry, population, exhibits, runs, clauses, word)
    place.write(LABELS, json_text(label_facts(population.source)))
    place.write(AUDIT, json_text(facts))
    leave_run(runs[0], folder)
    for run in runs[1:]:
        leave_run(run, folder / f"seed-{run.results.run.seed}")

    certificate = certificate_of(folder)
    place.write(CERTIFICATE, json_text(certificate))
    place.write(CERTIFICATE_PAGE, certificate_page(certificate))
    with spared("the report cannot be written", log.warning):
        write([folder], folder)

    with spared("the table cannot be shown", log.warning):
        show_table(audit_table(runs[0], population))
        for clause in clauses:
            show_line(text_of(f"{clause.key}: {clause.said}"))
        for note in facts["notes"]:
            show_line(text_of(f"note: {note}"))
        show_line(text_of(f"{word}: the audit is in {folder}"))


def leave_run(run: Run, folder: Path) -> None:
    """The figures of one draw, `results.json` last."""
    place = Owned(folder)
    place.refuse_foreign((CONFIG, RESULTS), _ELSEWHERE)
    place.write(CONFIG, yaml.safe_dump(dict(run.config), sort_keys=False))
    place.write(RESULTS, json_text(run.results.to_json()))


def json_text(content: Any) -> str:
    return json.dumps(content, indent=1, allow_nan=False)


def audit_facts(
    inquiry: Inquiry,
    population: Population,
    exhibits: Mapping[str, Exhibit],
    runs: Sequence[Run],
    clauses: Sequence[Clause],
    word: Standing,
) -> dict[str, Any]:
    """The content of `audit.json`; arguments are as in `leave_audit`."""
    mark = RETRAIN if "retrain" in exhibits else NO_RETRAIN

    return {
        "schema": SCHEMA,
        "verdict": word,
        "exit_code": EXIT_CODES[word],
        "audited": list(population.audited),
        "mark": mark,
        "clauses": [as_json(clause) for clause in clauses],
        "models": given_models(inquiry),
        "learnt_from": counts_of(population.splits[LEARNT]),
        "judged_on": counts_of(population.splits[JUDGED]),
        "seeds": [run.results.run.seed for run in runs],
        "medians": dict(population.medians),
        "notes": list(notes_on(inquiry, population, exhibits)),
    }


def counts_of(split: Split) -> dict[str, int]:
    return {"images": len(split), "people": len(np.unique(split.identities))}


def notes_on(
    inquiry: Inquiry, population: Population, exhibits: Mapping[str, Exhibit]
) -> Iterator[str]:
    """Sentences that one must know to read an audit."""
    if inquiry.unseen == "all":
        yield "All images of the table were taken for new to the models (unseen=all)."
    elif isinstance(inquiry.dataset, Csv) and population.source.split is None:
        yield (
            "Nothing says which images the models have learnt from, so validation and test images "
            "were drawn as a run draws them: of such as a model has learnt from the figures say "
            "less (dataset.split_column, or unseen=all)."
        )

    if population.source.identities is None:
        yield (
            "Nobody is named on the images (dataset.identity_column): each counts as a person of "
            "its own."
        )
    if "retrain" not in exhibits:
        yield f"There is no Retrain: the mark is {NO_RETRAIN}."

    for name, median in population.medians.items():
        yield f"{name} counts as true above {median:g}, the median of the validation images."

    silent = [name for name, exhibit in exhibits.items() if exhibit.silent]
    if silent:
        yield f"The outputs were not given of {', '.join(silent)}: nothing is known of them."

    models = given_models(inquiry)
    sums = {key: one["sha256"] for key, one in models.items() if one["sha256"]}
    for key in ("before", "retrain"):
        if sums.get("after") and sums.get(key) == sums["after"]:
            yield f"after and {key} are one and the same file."
