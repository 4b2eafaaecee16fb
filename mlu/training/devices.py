"""The devices that networks run on, and their names."""

import platform
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from mlu.system.errors import UserError
from mlu.training.team import Team


def device_of(accelerator: str, precision: Any, devices: int) -> torch.device:
    """The device that Lightning's Trainer chooses, the first of several.

    Args:
        accelerator: `auto`, `cpu` or `gpu`.
        precision: As Lightning names it, such as `32-true`.
        devices: How many are wanted.

    Raises:
        UserError: If there is no such device, or fewer than are wanted.
    """
    try:
        trainer = L.Trainer(
            accelerator=accelerator,
            precision=precision,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
        device = trainer.strategy.root_device
    except MisconfigurationException as fault:
        raise UserError(
            f"trainer.accelerator={accelerator} is not to be had here, use auto or cpu: {fault}"
        ) from fault

    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise UserError(
            f"trainer.devices={devices}: there are {torch.cuda.device_count()} GPUs here"
        )

    return device


def device_name(team: Team) -> str:
    """Name of that on which costs are comparable: `2 x AMD EPYC 7B13, 1 threads`, `NVIDIA H100`."""
    device, size = team.device, team.group.world_size
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif device.type == "cpu":
        name = f"{processor()}, {torch.get_num_threads()} threads"
    else:
        name = device.type

    return name if size == 1 else f"{size} x {name}"


def processor() -> str:
    """The processor's model where the system tells it, else its architecture."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
