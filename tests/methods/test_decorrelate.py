import copy
from dataclasses import replace

import torch

from mlu.methods.decorrelate import Decorrelate
from mlu.methods.parts.decorrelation import OFF
from mlu.methods.parts.passes import tune_passes
from mlu.methods.parts.silence import frozen_rows, silent_head
from mlu.training.optimise import Tuning
from tests.support.planted import entangled_problem

TERM = replace(OFF, linear=0.3, gaussian=0.2, stages=2)


def decorrelate(**changes):
    settings = {
        "name": "decorrelate",
        "soft": 0.2,
        "decorrelation": TERM,
        "refit": 0,
        "share": None,
        "tuning": Tuning(epochs=2, batch_size=16),
    }
    return Decorrelate(**settings | changes)


def test_it_edits_the_forgotten_output_and_nothing_else():
    problem = entangled_problem()
    edit = decorrelate().edit(problem)
    torch.testing.assert_close(edit.weights, silent_head(problem), rtol=0, atol=0)
    torch.testing.assert_close(edit.radius, frozen_rows(problem), rtol=0, atol=0)
    assert edit.rate == {}


def test_it_fine_tunes_by_the_retained_loss_and_the_penalty():
    problem = entangled_problem()
    passes = decorrelate().passes(problem)
    wanted = tune_passes(problem, Tuning(epochs=2, batch_size=16), 0.2, TERM)
    batch = problem.train[torch.arange(16)]
    assert len(passes) == 2
    for one, other in zip(passes, wanted, strict=True):
        assert one.images is other.images
        torch.testing.assert_close(one.loss(problem.net, batch), other.loss(problem.net, batch))
    # Control: without the penalty the loss is another.
    (plain, *_) = decorrelate(decorrelation=OFF).passes(problem)
    assert not torch.equal(plain.loss(problem.net, batch), passes[0].loss(problem.net, batch))


def test_it_keeps_to_its_share_of_what_retraining_takes():
    problem = replace(entangled_problem(), retraining=32)
    method = decorrelate(tuning=Tuning(steps=100, batch_size=16, recalibrate=32), refit=64)
    found = method.within(problem)
    assert found == method
    found = replace(method, share=0.5).within(problem)
    # 500 of 100 * 16 * 3 + 32 + 64 passes.
    assert (found.tuning.steps, found.tuning.recalibrate, found.refit) == (10, 3, 6)


def test_the_retained_outputs_are_fitted_anew_if_that_is_asked():
    problem = entangled_problem()
    head = problem.net.head.weight.clone()

    def finished(**changes):
        return decorrelate(**changes).finish(problem, copy.deepcopy(problem.net)).head.weight

    assert torch.equal(finished(), head)
    assert torch.equal(finished(refit=64)[0], head[0])
    assert not torch.equal(finished(refit=64)[1:], head[1:])
    # Where nothing is tuned, the edit is all.
    assert torch.equal(finished(refit=64, tuning=Tuning(steps=0)), head)
