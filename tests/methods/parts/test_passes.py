from dataclasses import replace

import numpy as np
import pytest
import torch

from mlu.methods.parts.decorrelation import OFF, Residual, residual_of
from mlu.methods.parts.losses import (
    edited_loss,
    retained_loss,
)
from mlu.methods.parts.passes import repeated, retain_passes, share_of, tune_passes
from mlu.system.seeding import generator
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Pass
from tests.support.planted import entangled_problem, planted_problem


def test_plain_tuning_goes_through_what_may_be_retained_with_its_loss():
    problem = entangled_problem()
    passes = retain_passes(problem, Tuning(epochs=3))
    batch = problem.train[torch.arange(16)]
    assert len(passes) == 3
    for one in passes:
        assert one.images is problem.retain
        expected = retained_loss(problem.net(batch.images), batch, problem)
        torch.testing.assert_close(one.loss(problem.net, batch), expected, rtol=0, atol=0)


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("conditional", [True, False])
def test_tuning_after_an_edit_is_given_the_forgotten_targets_only_where_it_reads_them(
    weight, conditional
):
    problem = entangled_problem()
    decorrelation = replace(OFF, gaussian=weight, conditional=conditional)
    residual = residual_of(problem, conditional)
    passes = tune_passes(problem, Tuning(epochs=2), 0.3, decorrelation)
    batch = problem.train[torch.arange(16)]
    assert len(passes) == 2
    for one in passes:
        assert one.images is (problem.train if weight else problem.retain)
        expected = edited_loss(problem, 0.3, decorrelation, residual, problem.net, batch)
        torch.testing.assert_close(one.loss(problem.net, batch), expected, rtol=0, atol=0)


def test_only_a_conditional_penalty_has_a_residual_fitted():
    for weight, conditional in ((0.7, True), (0.7, False), (0.0, True)):
        settings = replace(OFF, gaussian=weight, conditional=conditional)
        (one,) = tune_passes(entangled_problem(), Tuning(epochs=1), 0.0, settings)
        residual = next(part for part in one.loss.args if isinstance(part, Residual))
        assert residual.maps.any() == (weight > 0 and conditional)


def test_a_pass_is_repeated_until_epochs_or_steps_are_done():
    one = Pass(
        images=planted_problem(64).train, loss=lambda net, batch: torch.zeros(()), batch_size=16
    )
    for epochs, steps, wanted in (
        (3, None, 3),
        (None, 4, 1),
        (None, 5, 2),
        (1, 9, 1),
        (9, 5, 2),
        (0, 5, 0),
        (None, 0, 0),
    ):
        assert len(repeated(Tuning(epochs=epochs, steps=steps), one)) == wanted
    # A rest of one image makes no step.
    odd = Pass(images=planted_problem(65).train, loss=one.loss, batch_size=16)
    assert len(repeated(Tuning(steps=8), odd)) == 2


def test_a_share_of_a_split_is_seeded_and_never_empty():
    train = planted_problem(64).train
    assert len(share_of(train, 0.25, generator(0))) == 16
    assert len(share_of(train, 1e-9, generator(0))) == 1
    assert np.array_equal(
        share_of(train, 0.5, generator(1)).rows, share_of(train, 0.5, generator(1)).rows
    )
    assert not np.array_equal(
        share_of(train, 0.5, generator(1)).rows, share_of(train, 0.5, generator(2)).rows
    )

    whole = share_of(train, 1.0, generator(0))
    assert np.array_equal(whole.rows, train.rows)
    assert (np.diff(share_of(train, 0.5, generator(0)).rows) > 0).all()
