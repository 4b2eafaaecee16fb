import pytest
import torch

from mlu.methods.original import Original
from mlu.unlearning.contract import Edit
from tests.support.learnt import learnt_problem, unlearnt


@pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
def test_it_leaves_a_copy_of_the_original(task):
    problem, method = learnt_problem(task, norm=True), Original(name="original")
    assert method.edit(problem) == Edit()
    assert method.passes(problem) == ()
    net = unlearnt(method, problem)
    assert net is not problem.net
    torch.testing.assert_close(net.state_dict(), problem.net.state_dict(), rtol=0, atol=0)


def test_it_reads_no_forgotten_target():
    assert not Original.reads_forgotten
