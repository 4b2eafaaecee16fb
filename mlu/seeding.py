"""Random numbers that depend on named numbers alone."""

import numpy as np
import torch


def generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU; another one for every other sequence of numbers >= 0."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))
