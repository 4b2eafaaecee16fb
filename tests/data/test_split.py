from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mlu.data.base import LabelledImages
from mlu.data.split import (
    FRACTIONS,
    OPEN,
    Split,
    partition,
    people_drawn,
    stratified_parts,
    united_splits,
)

LAW = settings(deadline=None, derandomize=True, max_examples=150)
PERSONS = st.lists(st.integers(0, 12), max_size=60).map(np.array)
SIZES = st.lists(st.integers(0, 15), min_size=1, max_size=4)
SEEDS = st.integers(0, 999)


def people(count: int, seed: int, images_each: int = 4, prevalence=(0.03, 0.4, 0.8)):
    """Targets and identities of people with independent labels.

    Each has 1 to 2 * images_each - 1 images.
    """
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 2 * images_each, count)
    labels = (generator.random((count, len(prevalence))) < prevalence).astype(np.uint8)
    identities = generator.permutation(np.repeat(np.arange(count) * 7 + 3, sizes))
    return labels[(identities - 3) // 7], identities


@settings(deadline=None, max_examples=30)
@given(count=st.integers(200, 2000), seed=st.integers(0, 999))
def test_people_stay_together_and_shares_are_right(count, seed):
    targets, identities = people(count, seed)
    part = stratified_parts(targets, identities, seed)
    for person in np.unique(identities)[:50]:
        assert len(set(part[identities == person])) == 1
    owners = {tuple(pair) for pair in np.stack([identities, part], 1)}
    shares = np.bincount([part for _, part in owners], minlength=3) / len(owners)
    # The discrepancy of n multiples of the golden ratio is below (2 + log2 n) / n.
    assert np.abs(shares - list(FRACTIONS.values())).max() <= (2 + np.log2(len(owners))) / len(
        owners
    )


def off_by(part: np.ndarray, targets: np.ndarray, identities: np.ndarray) -> float:
    """How many people with the rarest label a part has too many or too few."""
    rare = np.unique(np.stack([identities, part], 1)[targets[:, 0] == 1], axis=0)[:, 1]
    return np.abs(
        np.bincount(rare, minlength=3) - len(rare) * np.array(list(FRACTIONS.values()))
    ).max()


def test_a_rare_label_is_spread_evenly_where_chance_would_not_do_it():
    targets, identities = people(8000, seed=0)
    people_with_it = len(np.unique(identities[targets[:, 0] == 1]))
    bound = 2 + np.log2(people_with_it)
    assert (
        max(
            off_by(stratified_parts(targets, identities, seed), targets, identities)
            for seed in range(30)
        )
        <= bound
    )
    shuffled = [np.random.default_rng(seed).permutation(identities.max() + 1) for seed in range(30)]
    by_chance = [
        stratified_parts(0 * targets, order[identities], seed)
        for seed, order in enumerate(shuffled)
    ]
    assert max(off_by(part, targets, identities) for part in by_chance) > bound


def test_the_seed_decides():
    targets, identities = people(500, seed=1)
    first = stratified_parts(targets, identities, 1)
    np.testing.assert_array_equal(first, stratified_parts(targets, identities, 1))
    assert (first != stratified_parts(targets, identities, 2)).any()


@pytest.fixture
def data():
    targets, identities = people(100, seed=2)
    images = (
        np.arange(len(targets) * 3 * 4 * 4, dtype=np.uint64).reshape(-1, 3, 4, 4).astype(np.uint8)
    )
    return LabelledImages(
        "toy", "multilabel", images, targets, ("a", "b", "c"), "0", identities=identities
    )


def test_a_partition_is_complete_and_disjoint_and_batches_are_its_rows(data):
    splits = partition(data, seed=0)
    rows = np.concatenate([split.rows for split in splits.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(data.images)))
    assert list(splits) == list(FRACTIONS)
    train = splits["train"]
    batch = train[torch.tensor([5, 2])]
    np.testing.assert_array_equal(batch.images.numpy(), data.images[train.rows[[5, 2]]])
    np.testing.assert_array_equal(batch.targets.numpy(), data.targets[train.rows[[5, 2]]])
    np.testing.assert_array_equal(train.identities, data.identities[train.rows])
    together = torch.cat([batch.targets for batch in train.batches(7)])
    assert torch.equal(together, train.targets)


def test_what_its_own_split_leaves_open_is_train_or_validation_by_their_shares_and_by_person():
    targets, identities = people(1500, seed=3)
    images = np.zeros((len(targets), 3, 1, 1), np.uint8)
    data = LabelledImages(
        "toy", "multilabel", images, targets, ("a", "b", "c"), "0", identities=identities
    )
    own = np.where(identities % 5 == 0, 2, OPEN)
    splits = partition(replace(data, split=own), seed=0)
    np.testing.assert_array_equal(splits["test"].rows, np.flatnonzero(own == 2))
    rows = np.concatenate([split.rows for split in splits.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(targets)))
    learnt, chosen = (np.unique(splits[name].identities) for name in ("train", "validation"))
    assert not np.intersect1d(learnt, chosen).size
    share = len(learnt) / (len(learnt) + len(chosen))
    # The discrepancy of n multiples of the golden ratio is below (2 + log2 n) / n.
    assert abs(share - 0.65 / 0.90) <= (2 + np.log2(1500)) / (len(learnt) + len(chosen))
    other = partition(replace(data, split=own), seed=1)["train"].rows
    assert not np.array_equal(other, splits["train"].rows)
    assert (own == np.where(identities % 5 == 0, 2, OPEN)).all()  # untouched


def test_a_split_of_its_own_is_kept(data):
    own = np.arange(len(data.images)) % 3
    splits = partition(
        LabelledImages("toy", "multilabel", data.images, data.targets, data.labels, "0", split=own),
        seed=0,
    )
    assert all((own[split.rows] == part).all() for part, split in enumerate(splits.values()))


def test_withheld_targets_are_gone(data):
    train: Split = partition(data, seed=0)["train"]
    hidden = train.withhold([1])
    assert not hidden.known[:, 1].any()
    assert (hidden.targets[:, 1] == 0).all()
    assert torch.equal(hidden.targets[:, [0, 2]], train.targets[:, [0, 2]])
    assert train.known.all()


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=st.integers(0, 999), columns=st.sets(st.integers(0, 2)))
def test_targets_of_some_images_can_be_withheld(seed, columns):
    """Cell by cell; what was unknown stays so, and the split that it comes from keeps all."""
    random = np.random.default_rng(seed)
    targets, known = (torch.from_numpy(random.random((12, 3)) < share) for share in (0.6, 0.7))
    split = Split(
        np.zeros((12, 3, 1, 1), np.uint8),
        np.arange(12),
        targets.float(),
        known.clone(),
        np.arange(12),
    )
    rows = torch.from_numpy(random.random(12) < 0.5)
    hidden = split.withhold(sorted(columns), rows)
    for row in range(12):
        for column in range(3):
            gone = bool(rows[row]) and column in columns
            assert hidden.known[row, column] == (bool(known[row, column]) and not gone)
            assert hidden.targets[row, column] == (0 if gone else float(targets[row, column]))
    assert torch.equal(split.targets, targets.float())
    assert torch.equal(split.known, known)
    every = (
        split.withhold(sorted(columns)),
        split.withhold(sorted(columns), torch.ones(12, dtype=torch.bool)),
    )
    assert torch.equal(every[0].targets, every[1].targets)
    assert torch.equal(every[0].known, every[1].known)


def test_united_splits_are_the_images_of_one_and_then_of_the_other(data):
    train, _, test = partition(data, seed=0).values()
    train = train.withhold([1])
    both = united_splits(train, test)
    assert len(both) == len(train) + len(test)
    batch = both[range(len(both))]
    for start, part in ((0, train), (len(train), test)):
        rows = slice(start, start + len(part))
        expected = part[range(len(part))]
        for found, wanted in (
            (batch.images, expected.images),
            (batch.targets, part.targets),
            (batch.known, part.known),
        ):
            assert torch.equal(found[rows], wanted)
        np.testing.assert_array_equal(both.rows[rows], part.rows)
        np.testing.assert_array_equal(both.identities[rows], part.identities)


def test_base_rates_count_known_targets_only(data):
    train = partition(data, seed=0)["train"]
    torch.testing.assert_close(train.base_rates(), train.targets.mean(0))
    half = train.subset(torch.arange(10))
    half.known[:5, 0] = False
    assert half.base_rates()[0] == half.targets[5:, 0].mean()
    assert train.withhold([2]).base_rates()[2] == 0.5


def drawn(persons, wanted, seed):
    return [group.numpy() for group in people_drawn(persons.astype(int), wanted, seed)]


def lists(groups):
    return [group.tolist() for group in groups]


@LAW
@given(PERSONS, SIZES, SEEDS)
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


@LAW
@given(PERSONS, SIZES, SEEDS)
def test_a_group_falls_short_only_when_nobody_is_left(persons, wanted, seed):
    seen = set()
    for group, size in zip(drawn(persons, wanted, seed), wanted, strict=True):
        left = sum(person not in seen for person in persons)
        assert len(group) == min(size, left)
        seen |= set(persons[group])


@LAW
@given(PERSONS, SIZES, SEEDS)
def test_who_is_drawn_depends_on_no_name_nor_on_later_groups_nor_on_the_order_of_images(
    persons, wanted, seed
):
    groups = drawn(persons, wanted, seed)
    assert lists(drawn(7 * persons + 3, wanted, seed)) == lists(groups)
    assert lists(drawn(persons, wanted[:1], seed)) == lists(groups[:1])
    backwards = drawn(persons[::-1], wanted, seed)
    for group, other in zip(groups, backwards, strict=True):
        assert sorted(persons[group]) == sorted(persons[::-1][other])


@LAW
@given(st.integers(1, 200), st.integers(1, 3), SEEDS)
def test_of_the_last_person_the_first_images_are_taken(images, people, seed):
    """Whatever the sorting: the drawing is part of what a run can repeat."""
    persons = np.random.default_rng(seed).integers(0, people, images)
    (group,) = drawn(persons, [images // 2], seed)
    for person in np.unique(persons[group]):
        taken = group[persons[group] == person]
        assert taken.tolist() == np.flatnonzero(persons == person)[: len(taken)].tolist()


@LAW
@given(st.integers(1, 40), SEEDS)
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
