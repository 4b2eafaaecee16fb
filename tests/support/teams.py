"""Two processes that work together, and what they are given."""

from dataclasses import dataclass

import torch

from mlu.training.team import Team, team_of

CPU = torch.device("cpu")
ROUNDING = {"rtol": 1e-6, "atol": 1e-9}
"""Of a few steps in float64, whose sums are taken in another order."""


@dataclass(frozen=True)
class Bare:
    """The least that a team wants of a context."""

    team: Team | None = None
    logger: None = None


def pair():
    """A team of two, until the block ends; a process is in one team at a time."""
    return team_of(2, CPU)
