import numpy as np
import pytest
import torch

from mlu.attacks.parts.cases import FEWEST_HELD_OUT, Cases, Side, held_out
from tests.support.victims import outputs


def cases_with(people, images_each=3, share=0.5):
    persons = np.arange(people).repeat(images_each)
    truth = persons < share * people
    return Cases({"number": np.arange(len(persons))[:, None]}, truth, persons)


def test_images_whose_target_is_unknown_are_no_cases():
    targets = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    known = torch.tensor([[True, True], [True, False], [False, True]])
    said = outputs(targets, targets, known=known, identities=np.array([7, 8, 9]))
    seen = {"one": np.arange(6).reshape(3, 2)}
    for column, truth, persons in ((0, [True, False], [7, 8]), (1, [False, True], [7, 9])):
        found = Side(said, seen).cases(column)
        assert found.truth.tolist() == truth
        assert found.persons.tolist() == persons
        assert found.seen["one"][:, 0].tolist() == [2 * (person - 7) for person in persons]
        assert found.fewest == found.fewest_people == 1


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_quarter_of_the_people_is_held_out_on_both_sides(share):
    cases = cases_with(200, share=share)
    learnt, kept = held_out(cases, seed=0)
    assert sorted([*learnt, *kept]) == [*range(600)]
    assert not {*cases.persons[learnt]} & {*cases.persons[kept]}
    for rows in (kept, learnt):
        assert cases.truth[rows].mean() == pytest.approx(share, abs=0.02)
    assert len(kept) == pytest.approx(150, abs=6)
    assert held_out(cases, seed=1)[1].tolist() != kept.tolist()


@pytest.mark.parametrize(
    ("people", "share"), [(4 * FEWEST_HELD_OUT, 0.5), (400, 0.05), (400, 0.95), (3, 0.5), (200, 0)]
)
def test_with_too_few_people_on_a_side_nobody_is_held_out(people, share):
    assert held_out(cases_with(people, share=share), seed=0) is None
