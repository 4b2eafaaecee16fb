from dataclasses import replace

import pytest
import torch

from mlu.methods.parts.influential import influence_on_forgotten
from mlu.methods.removal import DataRemoval, loss_of_all
from mlu.scores.gradients import every_weight
from mlu.training.optimise import Tuning
from tests.support.learnt import learnt_problem, unlearnt
from tests.support.readings import accuracy, auroc

EXACT = ("head_exact", "label_flip", 1e-3, 16)


def removal(**changes):
    settings = {
        "name": "removal",
        "share": 0.25,
        "select": "influential",
        "influence": "head_exact",
        "perturbation": "label_flip",
        "damping": 1e-3,
        "curvature_images": 16,
        "tuning": Tuning(epochs=1, lr=0.1, batch_size=32),
    }
    return DataRemoval(**settings | changes)


def test_the_most_influential_images_go_with_all_their_labels():
    problem = learnt_problem()
    left = removal().left(problem)
    influences = influence_on_forgotten(problem, problem.train, *EXACT)
    stays = torch.isin(torch.from_numpy(problem.train.rows), torch.from_numpy(left.rows))
    assert len(left) == round(0.75 * len(problem.train))
    assert influences[stays].max() <= influences[~stays].min()
    assert left.known.all()


def test_random_images_are_drawn_by_the_seed_and_are_others():
    problem = learnt_problem()
    drawn = removal(select="random").left(problem)
    again = removal(select="random").left(problem)
    other = removal(select="random").left(replace(problem, seed=problem.seed + 1))
    assert drawn.rows.tolist() == again.rows.tolist() == sorted(drawn.rows.tolist())
    assert drawn.rows.tolist() != other.rows.tolist()
    assert drawn.rows.tolist() != removal().left(problem).rows.tolist()


def test_everything_starts_anew_and_every_label_is_learnt():
    problem = learnt_problem()
    edit = removal().edit(problem)
    assert list(edit.weights) == list(every_weight(problem.net))
    start = unlearnt(removal(tuning=Tuning(steps=0)), problem)
    done = unlearnt(removal(tuning=Tuning(epochs=40, lr=0.1, batch_size=32)), problem)
    assert accuracy(done, problem)[0] > 0.85
    assert auroc(done, problem) > 0.9
    # The negative control: what it starts from knows neither.
    assert accuracy(start, problem)[1] < 0.8


def test_no_share_keeps_all_and_two_are_always_left():
    problem = learnt_problem()
    assert len(removal(share=0.0).left(problem)) == len(problem.train)
    assert len(removal(share=0.9999).left(problem)) == 2


@pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
def test_the_loss_is_the_task_s_own_over_all_labels(task):
    problem = learnt_problem(task)
    batch = problem.train[range(8)]
    logits = problem.net(batch.images)
    if task == "multilabel":
        wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.targets)
    else:
        wanted = torch.nn.functional.cross_entropy(logits, batch.targets.argmax(1))
    found = loss_of_all(problem, problem.net, batch).double()
    torch.testing.assert_close(found, wanted.double())
