"""From a checked configuration to the objects of a run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mlu.launch.check import (
    SEARCH,
    as_names,
    forgotten_names,
    has_reference,
    requested,
    value_at,
)
from mlu.runs.rows import without_declarations
from mlu.runs.seeds import Seeds
from mlu.system.errors import UserError

if TYPE_CHECKING:
    from mlu.pipeline.experiment import Experiment


def build(values: Mapping[str, Any], folder: Path, group: str | None = None) -> "Experiment":
    """The objects of a checked configuration. Imports torch and all that stands on it.

    Args:
        values: The whole configuration.
        folder: Where the run writes.
        group: The sweep that it belongs to.
    """
    from mlu.pipeline.canaries import CanaryShares
    from mlu.pipeline.experiment import Experiment, TrainerSettings
    from mlu.training.trainer import quiet_lightning

    quiet_lightning()
    values = settled(values)
    parts = {
        key: made(values, key) for key in ("dataset", "backbone", "method", "training", "logger")
    }
    attacks = made(values, "attack")
    refuse_others(values, {**parts, **{f"attack.{name}": one for name, one in attacks.items()}})

    weights = values["original"]["weights"]

    return Experiment(
        name=values["experiment"],
        budget=values["budget"],
        tracker=parts.pop("logger"),
        **parts,
        attacks=tuple(attacks.values()),
        forget=forgotten_names(values),
        concept=values["concept"] is not None,
        requests=requested(values),
        seeds=Seeds.of(values),
        with_reference=has_reference(values),
        canaries=CanaryShares(**values["canaries"]),
        trace=values["trace"],
        keep=values["keep"],
        forget_set=values["forget_set"],
        original_weights=None if weights is None else Path(weights),
        trainer=TrainerSettings(**values["trainer"]),
        cache=Path(values["outputs"]) / "cache",
        folder=folder,
        group=group,
        config=dict(values),
    )


def settled(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with what decides its run, in one spelling."""
    dataset, method = values["dataset"], values["method"]
    if dataset["labels"] is not None:
        # Else 3 on the command line and '3' in a file would be two labels, with an original each.
        dataset = {**dataset, "labels": as_names(dataset["labels"])}

    method = {key: value for key, value in method.items() if key != SEARCH}

    changed = {"dataset": dataset, "method": method}

    return {key: changed.get(key, value) for key, value in values.items()}


def refuse_others(values: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Refuse an object that is none of its group; `parts` are objects by their keys."""
    from mlu.attacks.contract import Attack
    from mlu.data.base import Dataset
    from mlu.methods.retrain import Retrain
    from mlu.models.backbones import Backbone
    from mlu.pipeline.tracking import Tracker
    from mlu.training.optimise import Training
    from mlu.unlearning.contract import Method

    kinds: dict[str, Any] = {
        "dataset": Dataset,
        "backbone": Backbone,
        "method": Method | Retrain,
        "training": Training,
        "logger": Tracker,
        "attack": Attack,
    }

    for key, part in parts.items():
        group = key.partition(".")[0]
        if not isinstance(part, kinds[group]):
            target = value_at(values, f"{key}._target_")
            raise UserError(f"{key}._target_={target} is no {group}: see conf/{group}")


def made(values: Mapping[str, Any], key: str) -> Any:
    """The object of one group; raises UserError for keys that its class does not have."""
    shown = without_declarations(values)[key]
    node = {name: value for name, value in shown.items() if name != SEARCH}

    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as fault:
        if isinstance(fault.__cause__, UserError):
            raise fault.__cause__ from None
        if isinstance(fault.__cause__, TypeError):
            raise UserError(f"{key}: {fault.__cause__}: see conf/{key} for its keys") from fault
        if located := re.match(r"Error locating target '[^']*'", str(fault)):
            raise UserError(f"{key}: {located.group()}: see conf/{key} for its _target_") from fault
        raise
