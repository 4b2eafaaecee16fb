import pytest
import torch

from mlu.scores.attention import plain_attention

# Of torch about itself, at a process's first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")


@pytest.fixture(params=[True, False])
def before(request):
    kept = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(request.param)
    yield request.param
    torch.backends.mha.set_fastpath_enabled(kept)


def test_the_fast_path_is_closed_within_and_afterwards_as_it_was(before):
    with plain_attention():
        assert torch.backends.mha.get_fastpath_enabled() is False
    assert torch.backends.mha.get_fastpath_enabled() is before


def test_a_fault_leaves_the_fast_path_as_it_was(before):
    with pytest.raises(ArithmeticError), plain_attention():
        raise ArithmeticError
    assert torch.backends.mha.get_fastpath_enabled() is before


def test_within_it_attention_can_be_bent_and_differentiated_forwards():
    """What fused kernels cannot: its second derivative, backwards and forwards, is that of finite
    differences."""
    random = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, 1, 3, 2, dtype=torch.float64, generator=random)

    def attended(query):
        return torch.nn.functional.scaled_dot_product_attention(query, key, value)

    with plain_attention():
        assert torch.autograd.gradgradcheck(attended, query.requires_grad_())
        assert torch.autograd.gradcheck(attended, query, check_forward_ad=True)
