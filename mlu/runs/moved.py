"""Paths that classes had in earlier versions, and keys that methods did not have yet."""

from typing import Any

HOMES = {
    "mlu.data.celeba": "mlu.data.sets.celeba",
    "mlu.data.celeba_hq": "mlu.data.sets.celeba_hq",
    "mlu.data.cifar": "mlu.data.sets.cifar",
    "mlu.data.csv": "mlu.data.sets.csv",
    "mlu.data.digits": "mlu.data.sets.digits",
    "mlu.data.mnist": "mlu.data.sets.mnist",
    "mlu.data.mufac": "mlu.data.sets.mufac",
    "mlu.data.svhn": "mlu.data.sets.svhn",
    "mlu.data.synthetic": "mlu.data.sets.faces.dataset",
    "mlu.data.vggface2": "mlu.data.sets.vggface2",
    "mlu.optimise": "mlu.training.optimise",
    "mlu.tracking": "mlu.pipeline.tracking",
    "mlu.cli": "mlu.launch.cli",
    "mlu.sweep": "mlu.launch.sweep",
    "mlu.search": "mlu.launch.tune",
}
"""Module of then -> module of now."""

_SINCE = {"select": "score", "refit": 0, "share": None}
LATER = {
    "mlu.methods.weight_filter.WeightFilter": _SINCE,
    "mlu.methods.weight_pruning.WeightPruning": _SINCE,
}
"""Class -> keys that it has got since, with what it did before there was a choice."""

PLAIN_TERM = {
    "_target_": "mlu.methods.parts.decorrelation.Decorrelation",
    "gaussian": 0.0,
    "linear_ridge": 1.0,
    "gaussian_ridge": 0.03,
    "conditional": False,
    "corrected": False,
    "stages": 1,
    "outputs": False,
}
"""What `decorrelation` meant while it was a number, the weight of the linear term."""


def present_path(path: str) -> str:
    """The path of a class or function today, by that of any version.

    >>> present_path("mlu.optimise.Tuning")
    'mlu.training.optimise.Tuning'
    >>> present_path("mlu.methods.head.Head")
    'mlu.methods.head.Head'
    """
    module, _, name = path.rpartition(".")
    return f"{HOMES[module]}.{name}" if module in HOMES else path


def present_config(config: Any) -> Any:
    """A configuration of any version with the paths and keys of today, so that runs compare.

    >>> present_config({"method": {"_target_": "mlu.optimise.Tuning", "lr": 0.1}})
    {'method': {'_target_': 'mlu.training.optimise.Tuning', 'lr': 0.1}}
    """
    if isinstance(config, list):
        return [present_config(value) for value in config]
    if not isinstance(config, dict):
        return config

    found = {key: present_config(value) for key, value in config.items()}
    if isinstance(found.get("_target_"), str):
        found["_target_"] = present_path(found["_target_"])
        if isinstance(found.get("decorrelation"), int | float):
            found["decorrelation"] = {**PLAIN_TERM, "linear": found["decorrelation"]}
        return {**LATER.get(found["_target_"], {}), **found}

    return found
