"""The certificate of one run, built from its files and held against them later."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors import SafetensorError, safe_open

from mlu.metrics.verdict import Word
from mlu.models.network import ERASER
from mlu.runs.files import config_of, label_facts_of, need
from mlu.runs.layout import AUDIT, CONFIG, LABELS, RESULTS, WEIGHTS
from mlu.runs.ledger import PURGED, REQUESTS, Ledger, lines_about
from mlu.runs.purging import outputs_folder
from mlu.runs.read import Run, job_of
from mlu.runs.results import RETAINED_LABELS, SILENT, Figure
from mlu.runs.room import without_room
from mlu.runs.typed import as_json
from mlu.runs.verdicts import max_excess_of, verdict_facts, verdict_of_figure
from mlu.system.errors import UserError, first_line
from mlu.system.store import checksum, now

_SCHEMA = 1
_FILES = (WEIGHTS, RESULTS, CONFIG, LABELS)
"""What a certificate of a run speaks of, by checksum; the first is what is released."""
_AUDIT_FILES = (AUDIT, RESULTS, CONFIG, LABELS)
"""That of an audit; the first says which models it is of."""

_MODELS = ("original", "unlearned", "retrain")
_SECONDS = ("original", "unlearn", "retrain", "attack")
_NOT_RECORDED = "not recorded"

_QUOTED = (
    *("line", "date", "event", "who", "forget", "method", "on", "verdict", "said"),
    *("entries", "removed", "kept", "held", "left", "still_there", "begun", "hash"),
)
"""Parts of a ledger's line that a certificate quotes."""

_UTILITY = {
    "retained labels, accuracy": "test/retained/accuracy",
    "forgotten output, balanced accuracy": "test/forgotten/balanced_accuracy",
}


@dataclass(frozen=True)
class Answer:
    """One question, and what is known of it: fields in the order in which a certificate has them.

    Attributes:
        question: In words.
        path: Of the figures, after the model's name.
        chance: The figure of who knows nothing.
        original: The figure before.
        unlearned: The figure afterwards.
        retrain: The figure of a model that never saw the label.
        excess: What is found beyond Retrain; of a concept, beyond the true retained labels.
        verdict: Whether that is shown to be at most what the run's policy allows; None where there
            is no such figure, or it is no evidence.
        silent: Whether the figure afterwards is chance by construction, and so no evidence.
    """

    question: str
    path: str
    chance: float | None
    original: Figure
    unlearned: Figure
    retrain: Figure
    excess: Figure | None
    verdict: Word | None
    silent: bool


def certificate_of(
    folder: Path, ledger: Path | None = None, told: int | None = None
) -> dict[str, Any]:
    """The content of `certificate.json`.

    Args:
        folder: Of a run that has ended.
        ledger: File of the ledger of requests; None for that of the run's outputs.
        told: How many lines of the ledger about the run count; None for all.

    Raises:
        UserError: If a file of the run is missing or cannot be read, or a line of the ledger does
            not fit.
    """
    audit = audit_facts_of(folder)
    files = {name: checksum(need(folder, name)) for name in files_of_certificate(folder)}
    run, config, facts = run_of(folder), config_of(folder), label_facts_of(folder)
    about = run.results.run
    settings = method_settings(config)
    lines = quoted_lines(ledger or outputs_folder(folder, config) / REQUESTS, files[RESULTS])[:told]
    weights = folder / WEIGHTS if audit is None else None

    return {
        "schema": _SCHEMA,
        "issued": now(),
        "forgotten": list(about.forget_label),
        "labels": facts["labels"],
        "task": facts["task"],
        # Where there is none, certificates say nothing of it, those of before included.
        **({"concept": True} if run.of_concept else {}),
        "method": {
            "name": about.method,
            "settings": settings,
            "seed": about.seed,
            **run.seeds.apart,
        },
        "config_hash": about.config_hash or _NOT_RECORDED,
        "model": about.backbone,
        "data": {"name": about.dataset, "fingerprint": about.data or _NOT_RECORDED},
        "files": files,
        "audit": audit,
        "verdict": verdict_facts(run) if audit is None else audit_verdict(audit),
        "figures": [as_json(answer) for answer in answers_of(run)],
        "not_run": not_run(run),
        "seconds": {stage: run.figures.get(f"seconds/{stage}") for stage in _SECONDS},
        "device": about.device or _NOT_RECORDED,
        "date": about.date or _NOT_RECORDED,
        "commit": about.commit or _NOT_RECORDED,
        "versions": about.versions or {},
        "ledger": lines,
        "not_claimed": list(not_claimed(run, weights, lines)),
    }


def quoted_lines(ledger: Path, results: str) -> list[dict[str, Any]]:
    """The lines of a ledger about a run, without paths of the machine.

    Args:
        ledger: Its file; nothing is said where there is none.
        results: SHA-256 of the run's `results.json`.
    """
    found = []
    for line in lines_about(Ledger(ledger).lines(), results):
        quoted = {key: line[key] for key in _QUOTED if key in line}
        if "kept" in quoted:
            quoted["kept"] = {name: kept_by(facts) for name, facts in quoted["kept"].items()}
        found.append(quoted)

    return found


def kept_by(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Why an entry was kept; of a run outside the outputs its name alone."""
    needed = facts["needed_by"]
    if not isinstance(needed, str):
        needed = [Path(run).name if Path(run).is_absolute() else run for run in needed]
    return {**facts, "needed_by": needed}


def files_of_certificate(folder: Path) -> tuple[str, ...]:
    """Names of the files in a folder that its certificate speaks of."""
    return _AUDIT_FILES if (folder / AUDIT).is_file() else _FILES


def audit_facts_of(folder: Path) -> dict[str, Any] | None:
    """The content of an audit's `audit.json`; None for a run.

    Raises:
        UserError: If the file is none of an audit's.
    """
    if not (folder / AUDIT).is_file():
        return None

    try:
        facts = json.loads((folder / AUDIT).read_text())
        # What the page and the verdict take from it.
        _ = [str(clause["said"]) for clause in facts["clauses"]], [*facts["notes"]]
        _ = facts["verdict"], facts["mark"], [one["file"] for one in facts["models"].values()]
        _ = facts["learnt_from"]["images"], facts["judged_on"]["people"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise UserError(f"{folder / AUDIT} cannot be used: {first_line(fault)}") from fault

    return dict(facts)


def audit_verdict(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of an audit: its word, and a sentence for each thing that its policy asks for."""
    said = " ".join(str(clause["said"]) for clause in audit["clauses"])
    return {"word": audit["verdict"], "said": said}


def run_of(folder: Path) -> Run:
    """The run in a folder; UserError where it cannot be read."""
    job = job_of(folder)
    if not isinstance(job, Run):
        raise UserError(f"{folder} cannot be certified: {job.reason}")
    return job


def method_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The method's settings by their path, such as `tuning.lr`; none says where files are."""
    found: dict[str, Any] = {}
    for key, value in dict(config.get("method") or {}).items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": one for name, one in value.items() if name != "_target_"}
        elif key not in ("_target_", "name"):
            found[key] = value
    return found


def answers_of(run: Run) -> Iterator[Answer]:
    """For each question what the model said before, afterwards, and what Retrain says."""
    for question, path in _UTILITY.items():
        yield answer(run, question, path)
    for row in run.attack_rows:
        chance = None if row.chance is None else float(row.chance)
        question, path = row.question or row.title, f"attack/{row.figure}"
        beyond = row.floor if run.of_concept else row.excess
        yield answer(run, question, path, chance, beyond and f"unlearned/attack/{beyond}")


def answer(
    run: Run, question: str, path: str, chance: float | None = None, excess: str | None = None
) -> Answer:
    """A question with its figures; `excess` is the path of what is found beyond the mark."""
    figures = {model: run.figure(f"{model}/{path}") for model in _MODELS}
    beyond = run.figure(excess) if excess else None
    silent = run.is_silent(f"unlearned/{path}")
    unjudged = silent or run.of_concept
    judged = None if unjudged else verdict_of_figure(beyond, max_excess_of(run))

    return Answer(
        question=question,
        path=path,
        chance=chance,
        **figures,
        excess=beyond,
        verdict=judged.word if judged else None,
        silent=silent,
    )


def not_run(run: Run) -> list[str]:
    """Attacks on what a model tells of which there is no figure; others measure something else."""
    tried = {path.split("/")[2] for path in run.figures if path.startswith("unlearned/attack/")}
    attacks = [attack for attack in run.attacks.values() if attack.rows]

    return [attack.about for attack in attacks if not attack.families & tried]


def not_claimed(
    run: Run, weights: Path | None, lines: Sequence[Mapping[str, Any]] = ()
) -> Iterator[str]:
    """Conclusions that nobody may draw from a certificate, in plain words.

    Args:
        run: The run, or the audit.
        weights: What is released; None for an audit, whose models are elsewhere.
        lines: What the ledger says about it.
    """
    yield (
        "No guarantee beyond the attacks listed here: another attack, or a stronger one, "
        "may read more."
    )
    if missing := not_run(run):
        yield f"Nothing is known of attacks that were not run: {'; '.join(missing)}."

    yield proxy(run)
    yield from without_room(run.results.run.forget_label, lambda path: run.figure(path).low)
    copies = "other copies of the original model"
    if any(line["event"] == PURGED for line in lines):
        copies += " than those that the ledger names as removed"
    yield (
        f"Training images and their labels were not deleted, nor were {copies}: whoever holds them "
        "can learn the label again."
    )
    if weights is not None and has_eraser(weights):
        yield (
            "The forgetting is a layer of its own before the head: who holds the weights can take "
            "it off again."
        )
    if run.of_concept:
        yield (
            f"{', '.join(run.results.run.forget_label)} is no output of the model: there is no "
            "Retrain, figures stand beside the original's and above the floor, and no policy "
            "says how much that may be."
        )
    elif (retrain := run.figure("retrain/test/retained/accuracy")).value is None:
        yield f"Nothing is held against a model that never saw the label: {retrain.reason}."

    yield (
        "Figures are of test images of this data set, with 95 % intervals; other images may give "
        "others."
    )
    yield "This certificate is not signed: it shows which files belong together, not who made them."


def proxy(run: Run) -> str:
    """A sentence on what the retained labels give away without any model."""
    known = run.figure(RETAINED_LABELS)
    start = "Retained labels may still reveal the forgotten one, whatever model gives them"
    if known.value is None:
        return f"{start}; how much is not known here: {known.reason}."

    figure = figure_text(as_json(known))

    return (
        f"{start}: their true values alone tell it with a balanced accuracy of {figure} "
        "(0.500: nothing)."
    )


def has_eraser(weights: Path) -> bool:
    """Whether the released network has a layer that was added to forget."""
    try:
        with safe_open(weights, "np") as file:
            return any(name.startswith(f"body.{ERASER}.") for name in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        raise UserError(f"{weights} cannot be read: {first_line(fault)}") from fault


def differences(
    stated: Mapping[str, Any], folder: Path, ledger: Path | None = None
) -> Iterator[str]:
    """Everything in a certificate that does not hold of a run's files.

    Of the ledger only what had been written when the certificate was issued is compared.

    Args:
        stated: The content of a `certificate.json`.
        folder: Of the run, or any other that holds the files.
        ledger: As in `certificate_of`.
    """
    files = stated["files"]
    for name in files_of_certificate(folder):
        found = checksum(folder / name) if (folder / name).is_file() else "no such file"
        if found != files.get(name):
            stated_sum = files.get(name)
            yield (
                f"{name} is another file: the certificate states SHA-256 {stated_sum}, "
                f"found {found}"
            )
            return

    told = stated.get("ledger", [])
    built = certificate_of(folder, ledger, len(told) if isinstance(told, list) else 0)
    if built["ledger"] != told:
        yield (
            "ledger: what the certificate quotes does not stand in the ledger of requests, or that "
            f"is not here: name it with --ledger ({REQUESTS})"
        )

    for key in sorted({*built, *stated} - {"issued", "ledger"}):
        if built.get(key) != stated.get(key):
            yield (
                "the certificate was changed, or made by another version: "
                f"{key} does not follow from the run's files"
            )


def figure_text(figure: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A figure and its interval."""
    if figure is None or figure["value"] is None:
        return "–"

    value = f"{'>' if figure['censored'] else ''}{figure['value']:g}"
    if digits:
        value = f"{figure['value']:.{digits}f}"

    if figure["low"] is None or figure["high"] is None:
        return value

    return f"{value} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def reasons_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why figures are missing, each reason once, in the order of their first appearance."""
    cells = (one[key] for one in rows for key in (*_MODELS, "excess"))
    return list(dict.fromkeys(cell["reason"] for cell in cells if cell and cell["value"] is None))


def certificate_page(certificate: Mapping[str, Any]) -> str:
    """The content of `certificate.html`: one page, in one file, without scripts."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    reasons = reasons_of(certificate["figures"])

    def cell(figure: Mapping[str, Any] | None, digits: int = 3) -> tuple[str, int | None]:
        """The text of a cell, and the number of its note."""
        note = None
        if figure is not None and figure["value"] is None:
            note = reasons.index(figure["reason"]) + 1
        return figure_text(figure, digits), note

    return environment.get_template("certificate.html").render(
        # One of before audits has nothing about them.
        **{"audit": None, **certificate},
        of_concept="concept" in certificate,
        models=_MODELS,
        cell=cell,
        reasons=reasons,
        weights=WEIGHTS,
        silent=SILENT,
    )
