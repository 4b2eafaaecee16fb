"""What attackers learn from each model: their evidence, from the cache or gathered, and the figures
that it gives."""

import functools
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlu.attacks.contract import Attack, Shadows, Victim
from mlu.methods.retrain import Retrain
from mlu.metrics.findings import Evidence, Finding, Recovery, Trial
from mlu.metrics.trials import roc
from mlu.models.network import Network
from mlu.pipeline.context import Context, Model
from mlu.pipeline.shadows import shadows_of, treatment_key
from mlu.system.store import Entry, code_digest

log = logging.getLogger(__name__)

CODE = (
    "mlu.attacks",
    "mlu.metrics.findings",
    "mlu.pipeline.evidence",
    "mlu.metrics.trials",
    "mlu.pipeline.shadows",
)
"""What evidence depends on besides the models."""
FILE = "evidence.npz"
KINDS = {kind.__name__: kind for kind in (Trial, Recovery)}
PROXY = "proxy"
"""Stands for a model: what the retained labels tell by themselves."""

ROC_PATHS = ("mia/combined", "lira", "ulira", "rmia")
"""Of the attacks whose curves are drawn."""

ShadowMaker = Callable[[int, int], Shadows]

Exposure = dict[str, dict[str, Any]]
"""Evidence by the name of the model and the path."""


def exposure_of(
    context: Context, attack: Attack[Any], models: Mapping[str, Model | None]
) -> Exposure:
    """What one attack learns from each model that there is, and without any.

    Args:
        context: Of the run.
        attack: One of those configured.
        models: `original`, `retrain`, `unlearned` and `random`; None where there is none.
    """
    there = {name: model for name, model in models.items() if model is not None}
    shadows = shadow_makers(context)
    victims = {name: victim_of(context, name, models, shadows) for name in there}
    digests = {name: digest_of(model.net) for name, model in there.items()}
    shared = context.key() | {
        "forgotten": list(context.request.forgotten),
        # How many work side by side decides nothing but rounding.
        "attack": {
            key: value
            for key, value in context.experiment.config["attack"][attack.name].items()
            if key != "jobs"
        },
        "attacks": code_digest(*CODE),
        **{name: digests.get(name) for name in ("original", "retrain")},
    }
    found: Exposure = {}
    for name, victim in victims.items():
        key = shared | {"model": digests[name]}
        if name == "unlearned":
            key |= treatment_key(context)
        found[name] = kept(context, attack, victim, name, key)

    return {**found, PROXY: dict(attack.without_model(victims["original"]))}


def findings_of(attack: Attack[Any], exposure: Exposure) -> dict[str, list[Finding]]:
    """Every figure of one attack, by the name of the model."""
    reference = exposure.get("retrain")
    found = {
        name: [
            *attack.conclude(evidence),
            *(attack.compare(evidence, reference) if name != PROXY else ()),
        ]
        for name, evidence in exposure.items()
    }
    return {
        name: [finding.under("attack") for finding in findings] for name, findings in found.items()
    }


def shadow_makers(context: Context) -> dict[str, ShadowMaker]:
    """Shadow models that went through what each model did, made when they are first asked for."""
    plain = functools.cache(partial(shadows_of, context, None))
    return {
        "original": plain,
        "retrain": functools.cache(partial(shadows_of, context, Retrain(name="retrain"))),
        "unlearned": functools.cache(partial(shadows_of, context, context.experiment.method)),
        # Nobody trains as random weights were: to an attacker they are the original.
        "random": plain,
    }


def victim_of(
    context: Context,
    name: str,
    models: Mapping[str, Model | None],
    shadows: Mapping[str, ShadowMaker],
) -> Victim:
    """A model as attackers meet it."""
    model, original, retrain = models[name], models["original"], models["retrain"]
    assert model is not None
    assert original is not None

    return Victim(
        model.net,
        context.task,
        context.request,
        context.data.splits,
        model.outputs,
        context.canaries,
        original.outputs,
        retrain.outputs if retrain else None,
        shadows["original"],
        shadows[name],
        context.experiment.seed,
    )


def united_evidence(exposures: Iterable[Exposure]) -> Exposure:
    """Those of several attacks as one."""
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


def kept(
    context: Context, attack: Attack[Any], victim: Victim, name: str, key: Mapping[str, Any]
) -> dict[str, Any]:
    """Evidence from the cache, or gathered and kept there."""

    def build(folder: Path) -> dict[str, Any]:
        log.info("%s: attacking %s", attack.name, name)
        evidence = attack.observe(victim)
        np.savez_compressed(folder / FILE, **arrays_of(evidence))  # type: ignore[arg-type]  # as if one were named allow_pickle
        return {
            "missing": {path: found for path, found in evidence.items() if isinstance(found, str)},
            "order": [*evidence],
        }

    stage, key = f"attack-{attack.name}", {**key, "of": name}
    if not context.store.holds(stage, key):
        attack.prepare(victim)

    return context.store.read(stage, key, build, opened_evidence)


def opened_evidence(entry: Entry) -> dict[str, Any]:
    """The evidence of an entry of the cache; raises an exception of any kind if it is not what
    `kept` writes."""
    with (entry.folder / FILE).open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        found = {**entry.facts["missing"], **evidence_of(arrays)}
    return {path: found[path] for path in entry.facts["order"]}


def arrays_of(evidence: Evidence[Any]) -> dict[str, np.ndarray]:
    """`<kind>:<path>:<field>` -> array, of all that is not missing."""
    return {
        f"{type(found).__name__}:{path}:{field.name}": getattr(found, field.name)
        for path, found in evidence.items()
        if not isinstance(found, str)
        for field in fields(found)
    }


def evidence_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `arrays_of`."""
    parts: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name in arrays:
        kind, path, field = name.split(":")
        parts.setdefault((kind, path), {})[field] = arrays[name]
    return {path: KINDS[kind](**part) for (kind, path), part in parts.items()}


def digest_of(net: Network) -> str:
    """Hash of all weights and buffers that a network keeps."""
    content = hashlib.sha256()
    for name, value in net.state_dict().items():
        content.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
