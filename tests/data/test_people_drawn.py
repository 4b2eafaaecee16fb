from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mlu.data.split import people_drawn

law = settings(deadline=None, derandomize=True, max_examples=150)
people = st.lists(st.integers(0, 12), max_size=60).map(np.array)
sizes = st.lists(st.integers(0, 15), min_size=1, max_size=4)
seeds = st.integers(0, 999)


def drawn(persons, wanted, seed):
    return [group.numpy() for group in people_drawn(persons.astype(int), wanted, seed)]


def lists(groups):
    return [group.tolist() for group in groups]


@law
@given(people, sizes, seeds)
def test_groups_are_of_other_people_and_of_whole_ones_but_for_the_last(persons, wanted, seed):
    groups = drawn(persons, wanted, seed)
    assert len(groups) == len(wanted)
    seen = set()
    for group, size in zip(groups, wanted, strict=True):
        assert len(group) <= size
        assert (np.diff(group) > 0).all()
        within = set(persons[group])
        assert not within & seen
        seen |= within
        missing = [
            person
            for person in within
            if (persons[group] == person).sum() < (persons == person).sum()
        ]
        assert len(missing) <= (len(group) == size)


@law
@given(people, sizes, seeds)
def test_a_group_falls_short_only_when_nobody_is_left(persons, wanted, seed):
    seen = set()
    for group, size in zip(drawn(persons, wanted, seed), wanted, strict=True):
        left = sum(person not in seen for person in persons)
        assert len(group) == min(size, left)
        seen |= set(persons[group])


@law
@given(people, sizes, seeds)
def test_who_is_drawn_depends_on_no_name_nor_on_later_groups_nor_on_the_order_of_images(
    persons, wanted, seed
):
    groups = drawn(persons, wanted, seed)
    assert lists(drawn(7 * persons + 3, wanted, seed)) == lists(groups)
    assert lists(drawn(persons, wanted[:1], seed)) == lists(groups[:1])
    backwards = drawn(persons[::-1], wanted, seed)
    for group, other in zip(groups, backwards, strict=True):
        assert sorted(persons[group]) == sorted(persons[::-1][other])


@law
@given(st.integers(1, 200), st.integers(1, 3), seeds)
def test_of_the_last_person_the_first_images_are_taken(images, people, seed):
    """Whatever the sorting: the drawing is part of what a run can repeat."""
    persons = np.random.default_rng(seed).integers(0, people, images)
    (group,) = drawn(persons, [images // 2], seed)
    for person in np.unique(persons[group]):
        taken = group[persons[group] == person]
        assert taken.tolist() == np.flatnonzero(persons == person)[: len(taken)].tolist()


@law
@given(st.integers(1, 40), seeds)
def test_where_every_image_is_somebody_else_sizes_are_exact(images, seed):
    alone = np.arange(images)
    half = drawn(alone, [images // 2, images - images // 2], seed)
    assert [len(group) for group in half] == [images // 2, images - images // 2]
    assert sorted(np.concatenate(half)) == alone.tolist()
    assert [len(group) for group in drawn(alone, [images + 5, 1], seed)] == [images, 0]


def test_other_seeds_draw_other_people_and_the_same_seed_the_same():
    persons = np.arange(40).repeat(3)
    draws = {seed: lists(drawn(persons, [30, 30], seed)) for seed in range(20)}
    assert draws == {seed: lists(drawn(persons, [30, 30], seed)) for seed in range(20)}
    assert len({str(groups) for groups in draws.values()}) == 20


def test_every_person_is_as_likely_however_many_images_there_are_of_each():
    """And whoever comes first says nothing of who comes next."""
    persons = np.arange(4).repeat([1, 9, 2, 5])
    times = dict.fromkeys(permutations(range(4), 2), 0)
    for seed in range(2400):
        first, second = drawn(persons, [1, 1], seed)
        times[persons[first].item(), persons[second].item()] += 1
    assert chisquare(list(times.values())).pvalue > 1e-3
