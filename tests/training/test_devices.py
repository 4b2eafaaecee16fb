import re
from pathlib import Path

import pytest
import torch

from mlu.system.collectives import ProcessGroup
from mlu.system.errors import UserError
from mlu.training import devices
from mlu.training.devices import device_name, device_of, processor
from mlu.training.team import Team, team_of_one

CPU = torch.device("cpu")


def test_the_processor_is_chosen_where_it_is_asked_for():
    assert device_of("cpu", "32-true", devices=2) == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_the_users_fault():
    with pytest.raises(UserError, match=r"^trainer\.accelerator=gpu is not to be had here, use"):
        device_of("gpu", "32-true", devices=1)


def test_more_gpus_than_there_are_is_the_users_fault(monkeypatch):
    class Trainer:
        def __init__(self, **given):
            self.strategy = self
            self.root_device = torch.device("cuda", 0)

    monkeypatch.setattr(devices.L, "Trainer", Trainer)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("gpu", "32-true", devices=2).type == "cuda"
    with pytest.raises(UserError, match=r"^trainer\.devices=3: there are 2 GPUs here$"):
        device_of("gpu", "32-true", devices=3)


def test_costs_name_processor_threads_and_processes():
    name = device_name(team_of_one(CPU))
    assert name == f"{processor()}, {torch.get_num_threads()} threads"
    assert device_name(Team(ProcessGroup(1, 3), CPU)) == f"3 x {name}"


def test_a_gpu_goes_by_the_name_that_its_driver_gives(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    assert device_name(team_of_one(torch.device("cuda", 0))) == "NVIDIA H100"
    assert device_name(team_of_one(torch.device("mps"))) == "mps"


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="the system does not tell")
def test_the_processor_is_the_model_that_the_system_tells():
    told = Path("/proc/cpuinfo").read_text()
    models = re.findall(r"^model name\s*: (.*)$", told, flags=re.MULTILINE)
    assert processor() == models[0].strip() if models else processor()
