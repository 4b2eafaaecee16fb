import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlu.scores.relative import per_mean, printed_terms, ratio, relative_terms

law = settings(deadline=None, derandomize=True, max_examples=50)
SEEDS = st.integers(0, 999)


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@law
@given(SEEDS, st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_ratio_has_no_unit(seed, one, other):
    forgotten, retained = draw(seed, 5, 7).square(), draw(seed + 1, 5, 7).square()
    torch.testing.assert_close(
        ratio(one * forgotten, other * retained, 0.01),
        ratio(forgotten, retained, 0.01),
        rtol=1e-10,
        atol=0,
    )


def test_the_ratio_by_hand():
    forgotten, retained = torch.tensor([2.0, 4.0]), torch.tensor([30.0, 10.0])
    expected = torch.tensor([(2 / 3) / (1.5 + 0.5), (4 / 3) / (0.5 + 0.5)])
    torch.testing.assert_close(ratio(forgotten, retained, 0.5), expected)


@law
@given(SEEDS)
def test_the_ratio_is_finite_where_retained_labels_do_not_care(seed):
    forgotten, nothing = draw(seed, 9).square(), torch.zeros(9).double()
    retained = draw(seed + 1, 9).square()
    retained[:4] = 0
    for theirs in (retained, nothing):
        found = ratio(forgotten, theirs, 1e-3)
        assert found.isfinite().all()
        assert (found >= 0).all()
    torch.testing.assert_close(ratio(forgotten, nothing, 1e-3), per_mean(forgotten) / 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_without_scores_has_ratio_zero(dtype):
    nothing = torch.zeros(3, 2, dtype=dtype)
    assert torch.equal(per_mean(nothing), nothing)
    assert torch.equal(ratio(nothing, nothing, 0.01), nothing)
    assert torch.equal(ratio(nothing, torch.ones_like(nothing), 0.01), nothing)


@law
@given(SEEDS, st.floats(1e-3, 1e3))
def test_relative_terms_have_no_unit_and_printed_ones_have(seed, scale):
    layer, slope, bend = draw(seed, 7), draw(seed + 1, 7).abs(), draw(seed + 2, 7).square()
    first, second = relative_terms(layer, slope, bend)
    torch.testing.assert_close(first.mean(), torch.ones(()).double())
    torch.testing.assert_close(second.mean(), torch.ones(()).double())
    for again, once in zip(
        relative_terms(layer, scale * slope, scale * bend), (first, second), strict=True
    ):
        torch.testing.assert_close(again, once)

    once, again = printed_terms(layer, slope, bend), printed_terms(layer, scale * slope, bend)
    torch.testing.assert_close(again[0], scale * once[0])
    torch.testing.assert_close(once[1][3], bend[3] * layer[3] ** 2 / 2)
