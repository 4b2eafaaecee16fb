"""A team of which one process fails. By themselves, since a process is in one team at a time."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mlu.system.collectives import add_up, place
from mlu.system.errors import UserError
from mlu.training.team import Team, team_of

pytestmark = pytest.mark.usefixtures("quick_processes")

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Bare:
    """The least that a team wants of a context."""

    team: Team | None = None
    logger: None = None


def fails(context: Bare, said: Path, fault: Exception, ranks: set[int]) -> None:
    """Fails in some processes; what the second one prints from then on is in a file."""
    if place().rank:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    if place().rank in ranks:
        raise fault
    add_up([torch.ones(1)])


@pytest.mark.parametrize(
    ("fault", "ranks", "told", "says"),
    [
        (
            ValueError("no more paper"),
            {1},
            RuntimeError,
            "process 1 of 2 failed: ValueError: no more paper",
        ),
        (UserError("not with this"), {0, 1}, UserError, "not with this"),
        (
            UserError("cannot read the image a.png"),
            {1},
            UserError,
            r"^cannot read the image a\.png$",
        ),
    ],
    ids=["a fault elsewhere", "a refusal", "a refusal elsewhere"],
)
def test_what_fails_in_a_process_is_told_and_nothing_else(
    fault, ranks, told, says, tmp_path, capfd
):
    said = tmp_path / "said"
    with team_of(2, CPU) as both, pytest.raises(told, match=says):
        both.run(fails, Bare(), said, fault, ranks)
    assert "Traceback" not in said.read_text() + capfd.readouterr().err
