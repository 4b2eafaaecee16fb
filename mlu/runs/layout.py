"""Names of the files that a run leaves, and what may be in them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

Histograms = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Path -> counts and bin edges."""

PlainTable = tuple[list[str], list[list[Any]]]
"""Names of the columns, and rows of text and numbers; None where there is no figure."""

RESULTS, FAILURE, CONFIG, LABELS = "results.json", "failure.json", "config.yaml", "labels.json"
WEIGHTS, ONNX = "unlearned.safetensors", "unlearned.onnx"
DISTRIBUTIONS, ROC, FORGET_SET = "distributions.npz", "roc.npz", "forget_set.npz"
DISTRIBUTION_PICTURE, ROC_PICTURE = "distributions.png", "roc.png"
STAGE_PICTURE, RECOVERY_PICTURE = "stages.png", "relearn.png"
DURABILITY_PICTURE, TRACE_PICTURE = "durability.png", "trace.png"
PICTURES = (
    DISTRIBUTION_PICTURE,
    ROC_PICTURE,
    STAGE_PICTURE,
    RECOVERY_PICTURE,
    DURABILITY_PICTURE,
    TRACE_PICTURE,
)
CERTIFICATE, CERTIFICATE_PAGE = "certificate.json", "certificate.html"
AUDIT = "audit.json"
"""What an audit leaves besides: its verdict, its policy, and which models it is of."""
AUDITED = "audit"
"""What stands in the results of an audit in the place of a method."""
LEFT = (
    RESULTS,
    FAILURE,
    CONFIG,
    LABELS,
    WEIGHTS,
    DISTRIBUTIONS,
    ROC,
    FORGET_SET,
    *PICTURES,
    CERTIFICATE,
    CERTIFICATE_PAGE,
)
"""All files that a run, and who certifies it, leave in its folder; Hydra and W&B have theirs."""

UNDECISIVE = ("outputs", "logger", "objective", "experiment", "budget", "policy", "forget_set")
"""Keys of a configuration that decide no figure: what a budget means stands under `training`, a
policy says what figures are held against, and a forget set adds some of its own."""
WATCHING = ("trace", "keep")
"""Keys that say whether somebody watches a method; they decide a figure only where a step is chosen
by what is seen."""
PLACES = ("root", "prepared", "attributes", "download", "keep_draws")
"""Keys of a data set that say where its files are and how long they stay, and no more."""

_GROUPS = (
    *("dataset", "backbone", "method", "forget_label", "training", "trainer", "attack"),
    "policy",
)
_MOST_VALUES = 100_000
"""Of a configuration: a few lines of YAML can stand for more than any memory holds."""


def is_configuration(content: Any) -> TypeGuard[dict[str, Any]]:
    """Whether it can be the configuration of a run.

    Its groups are mappings, and it is no larger than one writes it.
    """
    if not isinstance(content, dict):
        return False
    if not all(isinstance(content.get(group) or {}, dict) for group in _GROUPS):
        return False

    waiting, seen = [content], 0
    while waiting and seen < _MOST_VALUES:
        value = waiting.pop()
        seen += 1
        if isinstance(value, dict):
            if not all(isinstance(key, str | int) for key in value):
                return False
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value

    return not waiting


def choice_of_step(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys WATCHING where they decide figures; none where the last step is kept."""
    return {name: config.get(name) for name in WATCHING} if config.get("keep") == "best" else {}


def concept_asked(config: Mapping[str, Any]) -> dict[str, Any]:
    """The key `concept` where it is set: runs before there was such a key had none."""
    return {"concept": config["concept"]} if config.get("concept") is not None else {}


def write_json(value: Any, path: Path) -> None:
    """Under another name first: a reader never sees half of it. Refuses NaN, which is no JSON."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(value, indent=1, allow_nan=False))
    draft.rename(path)
