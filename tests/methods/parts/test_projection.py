import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlu.methods.parts.projection import orthogonal, pseudo_inverse

SHAPES = [(4, 3), (3,), (2, 2, 2)]
by_scope = pytest.mark.parametrize("scope", ["layer", "global"])


def made(seed, count, dtype=torch.float64):
    """A vector and directions of very different lengths, by layer."""
    draw = torch.Generator().manual_seed(seed)
    lengths = 10 ** (8 * torch.rand(count, generator=draw) - 6)
    vector = [torch.randn(shape, generator=draw).to(dtype) for shape in SHAPES]
    protected = []
    for shape in SHAPES:
        own = torch.randn(count, *shape, generator=draw)
        protected.append((own * lengths.view(-1, *[1] * len(shape))).to(dtype))
    return vector, protected


def flat(layers):
    return torch.cat([layer.flatten() for layer in layers])


def rows(layers):
    return torch.cat([layer.flatten(1) for layer in layers], 1)


def assert_free(found, protected, scope):
    """Scalar products with all protected directions are nothing but rounding."""
    pairs = [(flat(found), rows(protected))]
    if scope == "layer":
        layers = zip(found, protected, strict=True)
        pairs = [(part.flatten(), own.flatten(1)) for part, own in layers]
    for part, own in pairs:
        lengths = own.norm(dim=1).clamp(min=1e-300)
        touched = (own @ part / lengths).abs().max()
        assert touched <= 1e-10 * flat(found).norm().clamp(min=1), f"{touched:.2g} is touched"


def dense(vector, directions):
    """What is left of a vector beside the row space of some directions, by numpy's SVD."""
    units = directions / directions.norm(dim=1, keepdim=True)
    _, values, spanned = np.linalg.svd(units.numpy(), full_matrices=False)
    basis = spanned[values > 1e-9]
    return vector - torch.from_numpy(basis.T @ (basis @ vector.numpy()))


@by_scope
@pytest.mark.parametrize("count", [1, 2])
def test_it_is_what_a_dense_decomposition_leaves(count, scope):
    vector, protected = made(0, count)
    found = orthogonal(vector, protected, scope)
    if scope == "global":
        expected = dense(flat(vector), rows(protected))
    else:
        layers = zip(vector, protected, strict=True)
        expected = flat([dense(part.flatten(), own.flatten(1)) for part, own in layers])
    torch.testing.assert_close(flat(found), expected, rtol=1e-9, atol=1e-10)
    assert [part.shape for part in found] == [part.shape for part in vector]
    assert flat(found).norm() > 0.1


@given(
    seed=st.integers(0, 999), count=st.integers(1, 12), scope=st.sampled_from(["layer", "global"])
)
def test_nothing_protected_is_touched(seed, count, scope):
    vector, protected = made(seed, count)
    assert_free(orthogonal(vector, protected, scope), protected, scope)


@by_scope
def test_what_depends_on_other_directions_or_is_zero_changes_nothing(scope):
    vector, protected = made(1, 2)
    more = [torch.cat([own, own.sum(0, keepdim=True), 0 * own[:1], own]) for own in protected]
    found, again = (orthogonal(vector, those, scope) for those in (protected, more))
    assert_free(again, protected, scope)
    torch.testing.assert_close(flat(again), flat(found), rtol=1e-7, atol=1e-9)


def test_in_each_layer_is_more_than_over_all_of_them():
    vector, protected = made(2, 2)
    layer, whole = (orthogonal(vector, protected, scope) for scope in ("layer", "global"))
    assert_free(layer, protected, "global")
    with pytest.raises(AssertionError, match="is touched"):
        assert_free(whole, protected, "layer")
    assert flat(layer).norm() < flat(whole).norm()


def test_the_vector_itself_touches_what_is_protected():
    """The negative control."""
    vector, protected = made(3, 2)
    with pytest.raises(AssertionError, match="is touched"):
        assert_free(vector, protected, "global")


def test_the_mean_of_the_directions_alone_protects_none_of_them():
    vector, protected = made(4, 3)
    means = [own.mean(0, keepdim=True) for own in protected]
    with pytest.raises(AssertionError, match="is touched"):
        assert_free(orthogonal(vector, means, "global"), protected, "global")


def test_where_everything_is_protected_nothing_is_left():
    vector, protected = made(5, 40)
    left = flat(orthogonal(vector, protected, "global")).norm()
    assert left < 1e-8


def test_directions_that_are_all_zero_leave_the_vector():
    vector, protected = made(6, 3)
    found = orthogonal(vector, [0 * own for own in protected], "global")
    torch.testing.assert_close(found, vector, rtol=0, atol=0)


def test_in_float32_it_stays_float32_to_its_rounding():
    vector, protected = made(7, 2, torch.float32)
    found = orthogonal(vector, protected, "global")
    assert {part.dtype for part in found} == {torch.float32}
    units = rows(protected) / rows(protected).norm(dim=1, keepdim=True)
    assert (units @ flat(found)).abs().max() < 1e-6


def test_a_pseudo_inverse_is_numpys_of_directions_alike_in_length():
    units = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    products = units @ units.T
    expected = np.linalg.pinv(products.numpy())
    np.testing.assert_allclose(pseudo_inverse(products), expected, rtol=1e-9)


def test_what_is_not_finite_is_no_error():
    products = torch.full((2, 2), torch.nan, dtype=torch.float64)
    assert not pseudo_inverse(products).isnan().any()
