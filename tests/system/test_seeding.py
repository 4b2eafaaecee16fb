import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from mlu.system.seeding import generator, mixed, seed_torch

NUMBERS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4).map(tuple)


@given(NUMBERS)
def test_the_same_numbers_give_the_same_draws(numbers):
    one, other = (torch.rand(5, generator=generator(*numbers)) for _ in range(2))
    assert torch.equal(one, other)


def test_other_numbers_give_other_seeds_also_in_another_order_or_cut_otherwise():
    sequences = [
        *itertools.product(range(4), repeat=2),
        *itertools.product(range(1, 4), repeat=3),
        (12, 3),
        (1, 23),
        (123,),
    ]
    assert len({mixed(*numbers) for numbers in sequences}) == len(sequences)


def test_seeds_are_those_of_results_that_were_recorded():
    assert mixed(42) == 11465652750463011511
    assert mixed(42, 0, 7) == 2142574135655130706


def test_torchs_own_generator_starts_as_the_named_one():
    with torch.random.fork_rng(devices=[]):
        seed_torch(3, 1)
        assert torch.equal(torch.rand(5), torch.rand(5, generator=generator(3, 1)))
