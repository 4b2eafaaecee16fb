"""Random numbers that depend on named numbers alone."""

import numpy as np
import torch


def generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU; another one for every other sequence of numbers >= 0."""
    return torch.Generator().manual_seed(mixed(*numbers))


def seed_torch(*numbers: int) -> None:
    """Start torch's own generators, from which dropout draws, as `generator` starts one."""
    torch.manual_seed(mixed(*numbers))


def mixed(*numbers: int) -> int:
    """One number of 64 bits from a sequence of numbers >= 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
