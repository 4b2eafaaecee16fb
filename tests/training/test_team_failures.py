"""A team of which one process fails. By themselves, since a process is in one team at a time."""

from dataclasses import dataclass

import pytest
import torch

from mlu.system.collectives import add_up, place
from mlu.system.errors import UserError
from mlu.training.team import Team, team_of

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Bare:
    """The least that a team wants of a context."""

    team: Team | None = None
    logger: None = None


def fails_elsewhere(context):
    if place().rank:
        raise ValueError("no more paper")
    add_up([torch.ones(1)])


def refuses(context):
    raise UserError("not with this")


def refuses_elsewhere(context):
    if place().rank:
        raise UserError("cannot read the image a.png")
    add_up([torch.ones(1)])


def test_what_fails_in_another_process_is_told(capfd):
    with (
        team_of(2, CPU) as both,
        pytest.raises(RuntimeError, match="process 1 of 2 failed: ValueError: no more paper"),
    ):
        both.run(fails_elsewhere, Bare())
    with team_of(2, CPU) as both, pytest.raises(UserError, match="not with this"):
        both.run(refuses, Bare())
    with team_of(2, CPU) as both, pytest.raises(UserError, match=r"^cannot read the image a\.png$"):
        both.run(refuses_elsewhere, Bare())
    assert "Traceback" not in capfd.readouterr().err
