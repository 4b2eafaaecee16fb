import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlu.methods.parts.dampening import class_by_class, less_where_it_matters
from tests.support.learnt import learnt_problem


@pytest.mark.parametrize(
    ("forgotten", "retained", "alpha", "dampening", "after"),
    [
        (9.0, 2.0, 4.0, 1.0, 3 * 2 / 9),
        (8.0, 2.0, 4.0, 1.0, 3.0),  # not more than alpha times as much
        (9.0, 2.0, 4.0, 9.0, 3.0),  # never larger
        (9.0, 0.0, 4.0, 1.0, 0.0),
        (0.0, 0.0, 4.0, 1.0, 3.0),
    ],
)
def test_a_weight_is_what_the_formula_gives(forgotten, retained, alpha, dampening, after):
    one = {"w": torch.tensor([3.0, -3.0])}
    ours, theirs = ({"w": torch.full((2,), value)} for value in (forgotten, retained))
    found = less_where_it_matters(one, ours, theirs, alpha, dampening)["w"]
    torch.testing.assert_close(found, torch.tensor([after, -after]))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 999), alpha=st.floats(1e-3, 1e3), dampening=st.floats(0, 1e3))
def test_no_weight_grows_or_changes_its_sign_and_what_matters_no_more_stays(seed, alpha, dampening):
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(40, generator=draw)
    # Many exact zeros, and scores as small and as large as gradients in float32 can be.
    ours, theirs = (
        10 ** torch.empty(40).uniform_(-40, 20, generator=draw)
        * (torch.rand(40, generator=draw) < 0.7)
        for _ in "ab"
    )

    after = less_where_it_matters({"w": weight}, {"w": ours}, {"w": theirs}, alpha, dampening)["w"]

    assert (after.abs() <= weight.abs()).all()
    assert (after * weight >= 0).all()
    kept = ours <= alpha * theirs
    assert torch.equal(after[kept], weight[kept])


def test_rows_are_sorted_by_class_with_the_forgotten_one_last():
    problem = learnt_problem("singlelabel")
    rows = torch.tensor([4, 1, 0, 7, 2, 3])
    # Classes are the rows' remainders by 4.
    assert class_by_class(problem, problem.train, rows).tolist() == [1, 2, 7, 3, 4, 0]
    assert class_by_class(learnt_problem(), learnt_problem().train, rows) is rows
