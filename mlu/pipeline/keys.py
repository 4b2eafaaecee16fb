"""Keys of the cache: all that a trained model, an unlearned one and evidence depend on."""

from dataclasses import replace
from typing import Any

import torch

from mlu.attacks.contract import Attack
from mlu.pipeline.context import Context
from mlu.system.store import code_digest, content_of, outside_code, part_key

MODEL_CODE = (
    "mlu.data.augment",
    "mlu.data.divided",
    "mlu.data.split",
    "mlu.models",
    "mlu.pipeline.canaries",
    "mlu.pipeline.context",
    "mlu.pipeline.entries",
    "mlu.pipeline.keys",
    "mlu.pipeline.outputs",
    "mlu.pipeline.trained",
    "mlu.system.collectives",
    "mlu.system.seeding",
    "mlu.training",
)
"""Modules and packages that decide what a trained model is and says."""

METHOD_CODE = (
    "mlu.methods",
    "mlu.pipeline.unlearned",
    "mlu.scores",
    "mlu.unlearning",
)
"""Those that decide what forgetting makes of it, besides MODEL_CODE."""

WATCH_CODE = (
    "mlu.attacks.parts.cases",
    "mlu.attacks.parts.readers",
    "mlu.evaluate.utility",
    "mlu.metrics",
    "mlu.pipeline.watching",
)
"""Those that decide which step of fine-tuning is kept, where one is chosen."""

VERIFY_CODE = (*WATCH_CODE, "mlu.pipeline.verification")
"""Those that decide how many rounds there are, where these are verified."""

EVIDENCE_CODE = (
    "mlu.attacks",
    "mlu.metrics",
    "mlu.pipeline.evidence",
    "mlu.pipeline.shadows",
    "mlu.scores",
)
"""Those that decide what attacks learn from a model, besides the code that made it."""


def model_key(context: Context) -> dict[str, Any]:
    """All that every trained model depends on."""
    return shared_key(context) | {"train_seed": context.experiment.seeds.train}


def shared_key(context: Context) -> dict[str, Any]:
    """All that every trained model depends on besides what its own training draws."""
    experiment = context.experiment
    planted = list(context.request.forgotten) if context.canaries else []
    start = experiment.backbone.weights

    return {
        "data": context.data.source.fingerprint,
        "dataset": outside_code(experiment.dataset),
        "backbone": part_key(replace(experiment.backbone, weights=None)),
        "weights": content_of(start),
        "training": part_key(experiment.training),
        "precision": experiment.trainer.precision,
        "compile": experiment.trainer.compile,
        "split_seed": experiment.seeds.split,
        "canaries": part_key(experiment.canaries),
        "planted": planted,
        "code": code_digest(*MODEL_CODE),
        "torch": torch.__version__,
    }


def method_key(context: Context) -> dict[str, Any]:
    """All that an unlearned model depends on besides the trained one and what the method draws."""
    return {
        "method": part_key(context.experiment.method),
        "methods": code_digest(*METHOD_CODE),
        "requests": [list(columns) for columns in context.requests],
        "keep": keep_key(context),
        "verified": verification_key(context),
    }


def keep_key(context: Context) -> dict[str, Any] | None:
    """All that the choice of a step depends on; None where the last is kept, whoever looks."""
    experiment = context.experiment
    if experiment.keep == "last":
        return None
    return {"trace": experiment.trace, "code": code_digest(*WATCH_CODE)}


def verification_key(context: Context) -> str | None:
    """The code that the number of rounds depends on; None where nothing is verified."""
    if getattr(context.experiment.method, "verify", None) is None:
        return None
    return code_digest(*VERIFY_CODE)


def evidence_key(context: Context, attack: Attack[Any]) -> dict[str, Any]:
    """All that an attack's evidence depends on besides the weights that it looks at.

    They tell what training and the method have drawn; shadow models draw their own.
    """
    return shared_key(context) | {
        "seed": context.experiment.seeds.seed,
        "forgotten": list(context.request.forgotten),
        "attack": part_key(attack),
        "attacks": code_digest(*EVIDENCE_CODE),
    }
