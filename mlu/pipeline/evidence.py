"""Evidence that attackers gather of each model, kept in the cache, and what figures it gives."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlu.attacks.contract import PROXY, Attack, Shadows, Victim
from mlu.methods.retrain import Retrain
from mlu.metrics.findings import Evidence, Finding, Recovery, Removals, Trial
from mlu.metrics.trials import roc
from mlu.models.network import Network
from mlu.pipeline.context import Context
from mlu.pipeline.entries import Model
from mlu.pipeline.keys import evidence_key, method_key
from mlu.pipeline.models import Models
from mlu.pipeline.shadows import Treatment, shadows_of
from mlu.system.progress import long_work
from mlu.system.store import Entry
from mlu.training.meter import measure

log = logging.getLogger(__name__)

EVIDENCE_FILE = "evidence.npz"

_KINDS = {kind.__name__: kind for kind in (Trial, Recovery, Removals)}

ROC_PATHS = ("mia/combined", "lira", "ulira", "rmia")
"""Attacks whose curves are drawn."""

Exposure = dict[str, dict[str, Any]]
"""Evidence by the name of the model and the path."""


@dataclass(frozen=True)
class Leaks:
    """All that the attacks of a run have learnt.

    Attributes:
        exposure: Their evidence.
        findings: Every figure of each attack, by the name of the model.
        seconds: What it took; 0 without attacks.
    """

    exposure: Exposure
    findings: list[dict[str, list[Finding]]]
    seconds: float


def leaks_of(context: Context, models: Models) -> Leaks:
    """Carry out all attacks on all models."""
    attacks = context.experiment.attacks
    with measure(context.device) as meter:
        exposures = [exposure_of(context, attack, models) for attack in attacks]
        findings = [findings_of(*pair) for pair in zip(attacks, exposures, strict=True)]

    seconds = meter.seconds["total"] if attacks else 0.0

    return Leaks(united_evidence(exposures), findings, seconds)


def exposure_of(context: Context, attack: Attack[Any], models: Models) -> Exposure:
    """The evidence that one attack gathers of each model that there is, and without any."""
    there = models.by_name()
    victims = {name: victim_of(context, model, models) for name, model in there.items()}
    digests = {name: digest_of(model.net) for name, model in there.items()}
    shared = evidence_key(context, attack)
    # An attacker may hold a model against these two.
    shared |= {name: digests.get(name) for name in ("original", "retrain")}

    supply = ShadowSupply(context, attack)
    found: Exposure = {}
    for name, victim in victims.items():
        key = shared | {"model": digests[name], "of": name}
        if name == "unlearned":
            key |= method_key(context)
        found[name] = kept(supply, name, victim, key)

    return {**found, PROXY: dict(attack.without_model(victims["original"]))}


def victim_of(context: Context, model: Model, models: Models) -> Victim:
    """A model as attackers meet it, but for shadow models."""
    retrain = models.retrain

    return Victim(
        net=model.net,
        task=context.task,
        labels=context.data.labels,
        request=context.request,
        splits=context.data.splits,
        outputs=model.outputs,
        canaries=context.canaries,
        original=models.original.outputs,
        retrain=None if retrain is None else retrain.outputs,
        seed=context.experiment.seeds.seed,
        original_net=models.original.net,
    )


class ShadowSupply:
    """The shadow models that one attack needs, made when a first victim is attacked with them."""

    def __init__(self, context: Context, attack: Attack[Any]) -> None:
        self.context, self.attack = context, attack
        self.made: dict[str, Shadows] = {}

    def armed(self, name: str, victim: Victim) -> Victim:
        """The victim `name` with the shadow models that the attack needs."""
        if self.attack.needs() is None:
            return victim
        return replace(victim, shadows=self.like("original"), matched=self.like(name))

    def like(self, name: str) -> Shadows:
        """Shadow models that went through all that the model `name` went through."""
        # These were not trained on anybody here: to an attacker they are the original.
        name = "original" if name in ("random", "start") else name
        wanted = self.attack.needs()
        assert wanted is not None

        if name not in self.made:
            treatment = treatment_of(self.context, name)
            self.made[name] = shadows_of(self.context, treatment, wanted.count, wanted.jobs)

        return self.made[name]


def treatment_of(context: Context, name: str) -> Treatment:
    """The treatment that a model went through after training."""
    treatments: dict[str, Treatment] = {
        "original": None,
        "retrain": Retrain(name="retrain"),
        "unlearned": context.experiment.method,
    }
    return treatments[name]


def kept(supply: ShadowSupply, name: str, victim: Victim, key: Mapping[str, Any]) -> dict[str, Any]:
    """Evidence from the cache, or gathered and kept there; in the cache without shadow models.

    Args:
        supply: Of the attack.
        name: Of the model.
        victim: The model, without shadow models.
        key: All that the evidence depends on.
    """
    attack, store = supply.attack, supply.context.store
    kind = f"attack-{attack.name}"

    def build(folder: Path) -> dict[str, Any]:
        log.info("%s: attacking %s", attack.name, name)
        with long_work(f"{attack.name}: attacking {name}"):
            evidence = attack.observe(supply.armed(name, victim))

        # The comment on types: as if an array were named allow_pickle.
        np.savez_compressed(folder / EVIDENCE_FILE, **arrays_of(evidence))  # type: ignore[arg-type]
        missing = {path: found for path, found in evidence.items() if isinstance(found, str)}
        return {"missing": missing, "order": [*evidence]}

    if not store.holds(kind, key):
        # Before the entry is locked: here jobs share the work, there all would wait for one.
        supply.armed(name, victim)

    return store.read(kind, key, build, opened_evidence)


def opened_evidence(entry: Entry) -> dict[str, Any]:
    """The evidence of an entry of the cache.

    Raises:
        Exception: Of any kind, if the entry is not what `kept` writes.
    """
    with (
        (entry.folder / EVIDENCE_FILE).open("rb") as stream,
        np.load(stream, allow_pickle=False) as arrays,
    ):
        found = {**entry.facts["missing"], **evidence_of(arrays)}
    return {path: found[path] for path in entry.facts["order"]}


def arrays_of(evidence: Evidence[Any]) -> dict[str, np.ndarray]:
    """`<kind>:<path>:<field>` -> array, of all that is not missing."""
    arrays = {}
    for path, found in evidence.items():
        if isinstance(found, str):
            continue
        for field in fields(found):
            name = f"{type(found).__name__}:{path}:{field.name}"
            arrays[name] = getattr(found, field.name)

    return arrays


def evidence_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `arrays_of`."""
    parts: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name in arrays:
        # A label's name, which a path may hold, may have a colon in it.
        kind, _, rest = name.partition(":")
        path, _, field = rest.rpartition(":")
        parts.setdefault((kind, path), {})[field] = arrays[name]
    return {path: _KINDS[kind](**part) for (kind, path), part in parts.items()}


def digest_of(net: Network) -> str:
    """Hash of all weights and buffers that a network keeps."""
    content = hashlib.sha256()
    for name, value in net.state_dict().items():
        content.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def findings_of(attack: Attack[Any], exposure: Exposure) -> dict[str, list[Finding]]:
    """Every figure of one attack, by the name of the model."""
    by_model = attack.findings(exposure)
    return {
        name: [finding.under("attack") for finding in findings]
        for name, findings in by_model.items()
    }


def united_evidence(exposures: Iterable[Exposure]) -> Exposure:
    """The evidence of several attacks as one."""
    together: Exposure = {}
    for exposure in exposures:
        for name, evidence in exposure.items():
            together[name] = {**together.get(name, {}), **evidence}
    return together


def roc_curves(exposure: Exposure) -> dict[str, np.ndarray]:
    """`<model>/<path>/false` and `.../true`: rates at every threshold, for ROC_PATHS."""
    curves = {}
    for name, evidence in exposure.items():
        for path in ROC_PATHS:
            if isinstance(trial := evidence.get(path), Trial):
                curves[f"{name}/{path}/false"], curves[f"{name}/{path}/true"] = roc(trial)
    return curves
