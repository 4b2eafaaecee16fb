"""From a checked configuration to the objects of a run."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mlu.launch.check import SEARCH, forgotten_names, requested, values_of
from mlu.system.errors import UserError

if TYPE_CHECKING:
    from mlu.pipeline.experiment import Experiment


def build(config: DictConfig, folder: Path, group: str | None = None) -> "Experiment":
    """The objects of a checked configuration. Imports torch and all that stands on it."""
    from mlu.attacks.contract import Attack
    from mlu.data.base import Dataset
    from mlu.methods.retrain import Retrain
    from mlu.models.backbones import Backbone
    from mlu.pipeline.experiment import Experiment
    from mlu.pipeline.tracking import Tracker
    from mlu.training.optimise import Training
    from mlu.training.trainer import quiet_lightning
    from mlu.unlearning.contract import Method

    quiet_lightning()
    if config.dataset.labels is not None:
        # Else 3 on the command line and '3' in a file would be two labels, with an original each.
        config = config.copy()
        config.dataset.labels = [str(label) for label in config.dataset.labels]

    values = values_of(config)
    values["method"].pop(SEARCH, None)
    kinds: dict[str, Any] = {
        "dataset": Dataset, "backbone": Backbone, "method": Method | Retrain, "training": Training, "logger": Tracker
    }  # fmt: skip
    parts = {key: made(config, key) for key in kinds}
    attacks = made(config, "attack")
    kinds |= {f"attack.{name}": Attack for name in attacks}
    for key, part in {
        **parts,
        **{f"attack.{name}": attack for name, attack in attacks.items()},
    }.items():
        if not isinstance(part, kinds[key]):
            group = key.partition(".")[0]
            raise UserError(
                f"{key}._target_={OmegaConf.select(config, key)._target_} is no {group}: see conf/{group}"
            )

    return Experiment(
        tracker=parts.pop("logger"),
        **parts,
        attacks=tuple(attacks.values()),
        forget=forgotten_names(config),
        requests=requested(config),
        seed=config.seed,
        with_reference=config.reference == "retrain",
        canaries=dict(config.canaries),
        original_weights=None if config.original.weights is None else Path(config.original.weights),
        trainer={key: config.trainer[key] for key in ("accelerator", "precision", "compile")},
        devices=config.trainer.devices,
        workers=config.trainer.workers,
        cache=Path(config.outputs) / "cache",
        folder=folder,
        group=group,
        config=values,
    )


def made(config: DictConfig, key: str) -> Any:
    """The object of one group; raises UserError for keys that its class does not have."""
    node = OmegaConf.to_container(config[key], resolve=True)
    assert isinstance(node, dict)
    node.pop(SEARCH, None)
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
