"""An audit from top to bottom: the people, the models, the attacks, the verdict."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlu.attacks.contract import PROXY, Attack, Victim
from mlu.attacks.parts.panel import label_path, of_labels
from mlu.auditing.amounts import amounts_findings
from mlu.auditing.baseline import any_reader_finding, baseline_findings
from mlu.auditing.exhibits import UNTRAINED, Exhibit, exhibits_of
from mlu.auditing.inquiry import Inquiry
from mlu.auditing.leave import begin_audit, leave_audit
from mlu.auditing.order import refuse_other_order
from mlu.auditing.policy import ANY_READER, EXIT_CODES, Clause, Standing, clauses_of, standing_of
from mlu.auditing.population import JUDGED, LEARNT, Population, population_of
from mlu.auditing.record import run_of_audit
from mlu.evaluate.forgetting import forgotten_findings
from mlu.evaluate.utility import label_findings, retained_findings
from mlu.metrics.findings import NO_REFERENCE, Evidence, Finding, Trial
from mlu.metrics.labels import label_figures
from mlu.runs.read import Run
from mlu.system.progress import long_work
from mlu.training.devices import device_name
from mlu.training.meter import measure
from mlu.training.team import team_of_one

log = logging.getLogger(__name__)

NO_BEFORE = "the model before was not given (before=...)"

_READING = "aia"
"""The attack that the verdict is on."""


@dataclass(frozen=True)
class Audited:
    """The end of an audit.

    Attributes:
        word: `kept`, `broken` or `not shown`.
        clauses: What the policy asks for, one by one.
        run: All figures, those of the first draw of the attacks.
        folder: Where it is left.
    """

    word: Standing
    clauses: tuple[Clause, ...]
    run: Run
    folder: Path

    @property
    def code(self) -> int:
        """The exit code of the command."""
        return EXIT_CODES[self.word]


def audited(inquiry: Inquiry) -> Audited:
    """Carry out an audit and leave it in its folder.

    Raises:
        UserError: Where anything that was given cannot be used.
    """
    population = population_of(inquiry)
    begin_audit(inquiry.folder)
    with long_work("asking the models"):
        exhibits = exhibits_of(inquiry, population)
    refuse_wrong_order(population, exhibits)

    runs = []
    for number in range(inquiry.policy.seeds):
        seeds = replace(inquiry.seeds, seed=inquiry.seeds.seed + number)
        runs.append(run_with(replace(inquiry, seeds=seeds), population, exhibits))

    clauses = clauses_of(inquiry.policy, runs)
    word = standing_of(clauses)
    leave_audit(inquiry, population, exhibits, runs, clauses, word)

    return Audited(word, tuple(clauses), runs[0], inquiry.folder)


def refuse_wrong_order(population: Population, exhibits: Mapping[str, Exhibit]) -> None:
    """Refuse models whose outputs tell each other's labels."""
    columns = range(len(population.labels))
    for name, key in {"original": "before", "unlearned": "after", "retrain": "retrain"}.items():
        if name in exhibits:
            # What was forgotten only the model before need know.
            known = columns if name == "original" else population.own.retained
            own = exhibits[name].own[LEARNT]
            refuse_other_order(key, own, population.labels, known)


def run_with(inquiry: Inquiry, population: Population, exhibits: Mapping[str, Exhibit]) -> Run:
    """All that is measured with one draw of the attacks, as a run has it."""
    device = next(exhibits["unlearned"].net.parameters()).device
    with measure(device) as meter:
        by_model = findings_of_attacks(inquiry, population, exhibits)

    findings = [one for name, found in by_model.items() for one in found_under(name, found)]
    for name in ("original", "unlearned", "retrain"):
        if name in exhibits:
            findings += output_findings(population, exhibits[name], name)

    aia = next(attack for attack in inquiry.attacks if attack.name == _READING)
    most = getattr(aia, "images", 10_000)
    findings += amounts_findings(population, exhibits, inquiry.seeds.seed, most)
    findings += lacking(findings, exhibits)

    return run_of_audit(
        inquiry, population, findings, meter.seconds["total"], device_name(team_of_one(device))
    )


def found_under(name: str, findings: Sequence[Finding]) -> list[Finding]:
    return [one.under(f"{name}/attack") for one in findings]


def findings_of_attacks(
    inquiry: Inquiry, population: Population, exhibits: Mapping[str, Exhibit]
) -> dict[str, list[Finding]]:
    """Every figure of all attacks, by the name of the model."""
    found: dict[str, list[Finding]] = {}
    for attack in inquiry.attacks:
        exposure: dict[str, Evidence[Any]] = {}
        for name, exhibit in exhibits.items():
            log.info("%s: attacking %s", attack.name, name)
            with long_work(f"{attack.name}: attacking {name}"):
                exposure[name] = attack.observe(victim_in(inquiry, population, exhibits, exhibit))

        victim = victim_in(inquiry, population, exhibits, exhibits["unlearned"])
        exposure[PROXY] = attack.without_model(victim)
        for name, findings in attack.findings(exposure).items():
            found.setdefault(name, []).extend(findings)
        if attack.name == _READING:
            found["unlearned"] += audit_findings(population, attack, exposure)

    return found


def victim_in(
    inquiry: Inquiry, population: Population, exhibits: Mapping[str, Exhibit], exhibit: Exhibit
) -> Victim:
    """A model as attackers meet it."""
    before, retrain = exhibits.get("original"), exhibits.get("retrain")

    return Victim(
        net=exhibit.net,
        task=population.task,
        labels=population.columns,
        request=population.asked,
        splits=population.splits,
        outputs=exhibit.outputs,
        canaries=None,
        original=(before or exhibit).outputs,
        retrain=None if retrain is None else retrain.outputs,
        seed=inquiry.seeds.seed,
        original_net=None if before is None else before.net,
    )


def audit_findings(
    population: Population, attack: Attack[Any], exposure: Mapping[str, Evidence[Any]]
) -> list[Finding]:
    """Figures of the model after that only an audit has, by label."""
    trials: dict[str, dict[str, dict[str, Trial | str]]] = {
        name: of_labels(attack.name, evidence) for name, evidence in exposure.items()
    }
    told = trials.pop(PROXY)
    found: list[Finding] = []
    for label in population.audited:
        ours = trials["unlearned"][label]
        own = [any_reader_finding(ANY_READER, ours)]
        if "retrain" not in trials:
            untrained = [trials[name][label] for name in UNTRAINED if name in trials]
            own += baseline_findings(ours, untrained, told.get(label, {}))
        found += [one.under(label_path(attack.name, label)) for one in own]

    return found


def output_findings(population: Population, exhibit: Exhibit, name: str) -> list[Finding]:
    """Figures of a model's outputs on test images."""
    outputs, request, task = exhibit.own[JUDGED], population.own, population.outputs
    figures = label_figures(task, outputs)
    found = [
        *retained_findings(task, outputs, request.retained),
        *label_findings(figures, population.labels),
    ]
    if request.forgotten:
        found += forgotten_findings(task, figures, population.labels, request.forgotten)
    if exhibit.silent:
        why = "the outputs were not given"
        found = [Finding(one.path, None, missing=why) for one in found]

    return [one.under(f"{name}/{JUDGED}") for one in found]


def lacking(findings: Sequence[Finding], exhibits: Mapping[str, Exhibit]) -> list[Finding]:
    """Figures of the models that there are not, with the reason."""
    start = "unlearned/"
    paths = [one.path.removeprefix(start) for one in findings if one.path.startswith(start)]
    found: list[Finding] = []
    for name, reason in {"original": NO_BEFORE, "retrain": NO_REFERENCE}.items():
        if name not in exhibits:
            found += [Finding(f"{name}/{path}", None, missing=reason) for path in paths]
    return found
