import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mlu.scores.affinity import affinity

SHAPES = {"body.conv.weight": (4, 3), "head.weight": (2, 5)}


def maps_from(rows):
    """Score maps of two layers from a table of shape (labels, weights)."""
    weights = [math.prod(shape) for shape in SHAPES.values()]
    return [
        {
            name: part.view(shape)
            for (name, shape), part in zip(SHAPES.items(), row.split(weights), strict=True)
        }
        for row in torch.as_tensor(rows)
    ]


# No score so small or large that scaling it below would round it.
score = st.just(0.0) | st.floats(1e-100, 1e100)
tables = arrays.arrays(float, st.tuples(st.integers(1, 5), st.just(22)), elements=score).map(
    maps_from
)


@pytest.fixture
def maps():
    return maps_from(
        torch.rand(4, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )


def test_it_is_the_composite_score_scaled(maps):
    found = affinity(maps)
    assert list(found) == list(SHAPES)
    for name, alike in found.items():
        table = torch.stack([scores[name].flatten() for scores in maps], 1)  # S, weights x labels
        composite = table.T @ table
        for row in range(len(maps)):
            for column in range(len(maps)):
                size = math.sqrt(composite[row, row] * composite[column, column])
                assert alike[row, column].item() == pytest.approx(
                    composite[row, column].item() / size, rel=1e-12
                )


def test_it_tells_who_shares_weights():
    apart, near = torch.tensor([[1.0, 0, 0], [0, 2, 0]]), torch.tensor([[3.0, 4, 0]])
    found = affinity([{"layer": row} for row in torch.cat([apart, near])])["layer"]
    torch.testing.assert_close(found, torch.tensor([[1, 0, 0.6], [0, 1, 0.8], [0.6, 0.8, 1]]))


@settings(deadline=None)
@given(maps=tables)
def test_it_is_a_matrix_of_cosines(maps):
    for name, alike in affinity(maps).items():
        assert alike.shape == (len(maps), len(maps))
        torch.testing.assert_close(alike, alike.T, rtol=0, atol=1e-14)
        assert ((alike >= 0) & (alike <= 1)).all()
        assert torch.linalg.eigvalsh(alike).min() >= -1e-13
        scored = torch.tensor([bool((scores[name] > 0).any()) for scores in maps])
        torch.testing.assert_close(alike.diagonal(), scored.to(alike), rtol=0, atol=1e-14)
        assert (alike[~scored] == 0).all()


@settings(deadline=None)
@given(maps=tables, label=st.integers(0, 4), scale=st.floats(-30, 30).map(lambda power: 10**power))
def test_the_size_of_a_label_s_scores_does_not_count(maps, label, scale):
    label %= len(maps)
    scaled = [
        *maps[:label],
        {name: scale * value for name, value in maps[label].items()},
        *maps[label + 1 :],
    ]
    for name, alike in affinity(maps).items():
        torch.testing.assert_close(affinity(scaled)[name], alike, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-34, 1e-20, 1e20, 1e35])
def test_scores_near_the_ends_of_float32_are_compared_like_others(maps, scale):
    expected = affinity(maps)
    found = affinity(
        [{name: (scale * value).float() for name, value in scores.items()} for scores in maps]
    )
    for name, alike in found.items():
        torch.testing.assert_close(alike.double(), expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-34, 1e35])
def test_a_label_whose_scores_are_of_another_size_is_compared_like_others(maps, scale):
    expected = affinity(maps)
    one, *others = [{name: value.float() for name, value in scores.items()} for scores in maps]
    found = affinity([{name: scale * value for name, value in one.items()}, *others])
    for name, alike in found.items():
        torch.testing.assert_close(alike.double(), expected[name], rtol=0, atol=1e-6)


@settings(deadline=None)
@given(maps=tables, order=st.permutations(range(5)))
def test_labels_may_come_in_any_order(maps, order):
    order = [label for label in order if label < len(maps)]
    shuffled = affinity([maps[label] for label in order])
    for name, alike in affinity(maps).items():
        torch.testing.assert_close(shuffled[name], alike[order][:, order], rtol=0, atol=1e-13)


def test_the_score_of_one_layer_does_not_count_in_another(maps):
    before = affinity(maps)["head.weight"]
    for scores in maps:
        scores["body.conv.weight"] = torch.zeros(4, 3)
    assert torch.equal(affinity(maps)["head.weight"], before)
    assert (affinity(maps)["body.conv.weight"] == 0).all()
