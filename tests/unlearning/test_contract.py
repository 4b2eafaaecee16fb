"""What a method is given, and what holds where it says nothing."""

from dataclasses import replace

import pytest
import torch

from mlu.unlearning.contract import Edit, Method, Problem
from tests.support.learnt import learnt_problem

by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])


class Least(Method):
    """A method with nothing but what it must have."""

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def passes(self, problem: Problem):
        return ()


def test_of_labels_what_is_retained_is_every_image_without_the_forgotten_target():
    problem = learnt_problem()
    assert len(problem.retain) == len(problem.train)
    assert not problem.retain.known[:, 0].any()
    assert problem.retain.known[:, 1:].all()


def test_of_classes_what_is_retained_and_what_is_forgotten_are_together_all_images():
    problem = learnt_problem("singlelabel")
    assert not problem.retain.targets[:, 0].any()
    assert problem.forget.targets[:, 0].all()
    rows = sorted([*problem.retain.rows, *problem.forget.rows])
    assert rows == sorted(problem.train.rows)


@by_task
def test_a_generator_is_fresh_at_every_call_and_another_one_by_another_seed(task):
    problem = learnt_problem(task)
    first, again = (torch.rand(5, generator=problem.generator()) for _ in range(2))
    assert torch.equal(first, again)
    other = replace(problem, seed=problem.seed + 1).generator()
    assert not torch.equal(first, torch.rand(5, generator=other))


def test_a_method_that_says_nothing_of_it_has_one_round_and_no_fine_tuning():
    assert Least().rounds == 1
    assert Least().tuning.steps == 0
    assert set(Least().tasks) == {"multilabel", "singlelabel"}


@pytest.mark.parametrize("missing", ["edit", "passes"])
def test_a_method_without_one_of_its_two_parts_is_none(missing):
    parts = {name: getattr(Least, name) for name in ("edit", "passes")}
    parts.pop(missing)
    with pytest.raises(TypeError, match=f"abstract method '?{missing}'?"):
        type("Lacking", (Method,), parts)()


def test_an_edit_that_says_nothing_changes_and_binds_nothing():
    assert Edit() == Edit(weights={}, radius={}, rate={}, eraser=None)
