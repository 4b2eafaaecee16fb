"""The seeds of a run, held against a slow reading of what each decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlu.runs.seeds import DRAWN, Seeds, are_replicates, seeds_text, spread_of

SOME = st.integers(0, 3)
SEEDS = st.builds(Seeds, SOME, SOME, SOME, SOME, SOME)
FIELDS = ("seed", "split", "train", "method", "images")


@pytest.mark.parametrize(
    ("values", "expected", "text"),
    [
        ({"seed": 42}, Seeds(42, 42, 42, 42), "42"),
        ({"seed": 42, "split_seed": None, "method_seed": 42}, Seeds(42, 42, 42, 42), "42"),
        ({"seed": 42, "method_seed": 0}, Seeds(42, 42, 42, 0), "42 method_seed=0"),
        (
            {"seed": 1, "split_seed": 2, "train_seed": 3},
            Seeds(1, 2, 3, 1),
            "1 split_seed=2 train_seed=3",
        ),
        ({"seed": 1, "dataset": {"seed": 7}}, Seeds(1, 1, 1, 1, 7), "1 dataset.seed=7"),
        ({"seed": 1, "dataset": {"name": "csv"}}, Seeds(1, 1, 1, 1), "1"),
        ({"seed": 1, "dataset": "faces"}, Seeds(1, 1, 1, 1), "1"),
        ({"seed": 1, "dataset": {"seed": "x"}}, Seeds(1, 1, 1, 1), "1"),
    ],
)
def test_what_is_not_set_follows_seed(values, expected, text):
    assert Seeds.of(values) == Seeds.of_any(values) == expected
    assert str(expected) == text


@given(SEEDS)
def test_the_keys_that_stand_apart_say_it_all(seeds):
    values = {"seed": seeds.seed, **seeds.apart, "dataset": {"seed": seeds.images}}
    assert Seeds.of(values) == seeds


@pytest.mark.parametrize(
    "values",
    [{}, {"seed": "x"}, {"seed": None}, {"seed": True}, {"seed": 1, "train_seed": "${seed}"}],
)
def test_a_configuration_without_seeds_has_none(values):
    assert Seeds.of_any(values) is None


DECIDES = {
    "original/test/retained/accuracy": "images split train",
    "retrain/test/entropy/mean": "images split train",
    "original/attack/aia/features/excess": "images split train seed",
    "random/attack/aia/features/excess": "images split train seed",
    "proxy/attack/aia/folded_balanced_accuracy": "images split seed",
    "unlearned/test/retained/accuracy": "images split train method",
    "unlearned/attack/mia/combined/auroc": "images split train method seed",
    "seconds/original": "images split train",
    "work/retrain/forward": "images split train",
    "seconds/unlearn": "images split train method",
    "seconds/attack": "images split train method seed",
    "speedup": "images split train method",
}


@pytest.mark.parametrize("path", DECIDES)
def test_a_figure_depends_on_the_seeds_that_its_model_and_its_attack_draw_from(path):
    """One seed after another is changed: that changes the answer where it decides, else not."""
    base = dict.fromkeys(FIELDS, 7)
    found = {name for name in FIELDS if differs(Seeds(**base), Seeds(**base | {name: 8}), path)}
    assert found == {*DECIDES[path].split()}


def differs(one, other, path):
    return one.deciding(path) != other.deciding(path)


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([(1, 1, 1, 1)], ""),
        ([(1, 1, 1, 1, 5), (2, 2, 2, 2, 6), (3, 3, 3, 3, 7)], ""),
        ([(1, 1, 1, 1, 5), (1, 2, 3, 4, 6)], ""),
        ([(1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)], "same images, divided anew"),
        ([(1, 1, 1, 1), (1, 2, 3, 4)], "same images, divided anew"),
        (
            [(1, 1, 1, 1, 5), (1, 1, 1, 1, 6)],
            "spread over dataset.seed alone: same start and order of training, same draws of the "
            "method",
        ),
        (
            [(1, 1, 1, 1, 5), (2, 2, 2, 2, 5), (3, 3, 3, 3, 6)],
            "spread over dataset.seed and split_seed and train_seed and method_seed; "
            "3 runs share 2 values of dataset.seed, so they are not independent",
        ),
        ([(1, 1, 1, 1), (1, 1, 1, 1)], ""),
        (
            [(1, 1, 1, 1), (1, 1, 1, 2), (1, 1, 1, 3)],
            "spread over method_seed alone: same people, same original",
        ),
        (
            [(1, 1, 1, 1), (1, 1, 2, 1)],
            "spread over train_seed alone: same people, same draws of the method",
        ),
        (
            [(1, 1, 1, 1), (1, 2, 1, 1)],
            "spread over split_seed alone: same images, divided anew, same start and order of "
            "training, same draws of the method",
        ),
        ([(1, 1, 1, 1), (2, 1, 2, 2)], "spread over train_seed and method_seed: same people"),
        (
            [(1, 9, 9, 9), (2, 9, 9, 9)],
            "spread over seed alone: same models, other draws of the attacks",
        ),
        (
            [(1, 1, 1, 1), (1, 1, 1, 2), (1, 1, 2, 1), (1, 1, 2, 2)],
            "spread over train_seed and method_seed: same people; 4 runs share 2 values of "
            "train_seed and 2 values of method_seed, so they are not independent",
        ),
    ],
)
def test_it_is_said_where_a_spread_comes_from(runs, text):
    assert spread_of(Seeds(*run) for run in runs) == text


@given(st.lists(SEEDS, min_size=2, max_size=5))
def test_nothing_is_said_just_where_no_two_runs_share_a_draw(runs):
    """The slow way: every pair of different runs is looked at."""
    shared = [
        (one, other)
        for one, other in pairs_of(runs)
        if any(getattr(one, name) == getattr(other, name) for name in DRAWN.values())
    ]
    assert (spread_of(runs) == "") == (not shared)


@given(st.lists(SEEDS, min_size=1, max_size=5))
def test_replicates_share_neither_people_nor_training(runs):
    shared = [
        (one, other)
        for one, other in pairs_of(runs)
        if one.train == other.train or (one.images, one.split) == (other.images, other.split)
    ]
    assert are_replicates(runs) == (not shared)


def pairs_of(runs):
    different = sorted(set(runs))
    return [(one, other) for one in different for other in different if one < other]


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([(1, 1, 1, 1)], "seed 1"),
        ([(1, 1, 1, 1, 7)], "seed 1, dataset.seed 7"),
        ([(3, 3, 3, 3), (1, 1, 1, 1), (2, 2, 2, 2), (42, 42, 42, 42)], "seeds 1 to 3, 42"),
        ([(1, 1, 1, 1), (1, 1, 1, 2)], "seeds 1, 1 method_seed=2"),
        ([(1, 1, 1, 1, 5), (2, 2, 2, 2, 5)], "seeds 1, 2, dataset.seed 5"),
    ],
)
def test_many_seeds_are_named_by_their_ends(runs, text):
    assert seeds_text(Seeds(*run) for run in runs) == text
