import copy
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from mlu.data.split import Batch
from mlu.methods.parts.decorrelation import OFF, residual_of, stage_means
from mlu.methods.parts.losses import (
    edited_loss,
    forgotten_loss,
    retained_loss,
    teacher_logits,
)
from mlu.models.tasks import ForgetRequest
from tests.support.planted import entangled_problem, planted_problem


def test_the_retained_loss_reads_no_forgotten_target():
    problem = planted_problem()
    batch = problem.train[torch.arange(16)]
    logits = problem.net(batch.images)
    loss = retained_loss(logits, batch, problem)
    flipped = batch.targets.clone()
    flipped[:, 0] = 1 - flipped[:, 0]
    assert torch.equal(
        retained_loss(logits, Batch(batch.images, flipped, batch.known), problem), loss
    )
    flipped[:, 1] = 1 - flipped[:, 1]
    assert not torch.equal(
        retained_loss(logits, Batch(batch.images, flipped, batch.known), problem), loss
    )


@pytest.mark.parametrize("forgotten", [(0,), (2, 0)])
def test_both_losses_are_means_over_known_targets_of_their_labels(forgotten):
    retained = tuple({0, 1, 2} - set(forgotten))
    problem = replace(entangled_problem(), request=ForgetRequest(forgotten, retained))
    batch = problem.train[torch.arange(16)]
    batch.known[::3] = torch.tensor([False, True, False])
    batch.known[1::4, 1] = False
    logits = problem.net(batch.images)
    for loss, columns in ((forgotten_loss, forgotten), (retained_loss, retained)):
        terms = [
            bce(logits[image, column], batch.targets[image, column])
            for image in range(16)
            for column in columns
            if batch.known[image, column]
        ]
        torch.testing.assert_close(loss(logits, batch, problem), torch.stack(terms).mean())


@pytest.mark.parametrize("soft", [0.0, 0.3])
@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("outputs", [False, True])
def test_tuning_minimises_the_sum_that_its_docstring_names(soft, weight, outputs):
    problem = entangled_problem()
    batch = problem.train[torch.arange(32)]
    decorrelation = replace(OFF, linear=weight, stages=2, outputs=outputs)
    residual = residual_of(problem, conditional=True)
    found = edited_loss(problem, soft, decorrelation, residual, problem.net, batch)

    taught = problem.original(batch.images).sigmoid()[:, 1:]
    targets = (1 - soft) * batch.targets[:, 1:] + soft * taught
    logits = problem.net(batch.images)[:, 1:]
    wanted = bce(logits, targets)
    if weight:
        seen, _ = stage_means(problem.net, batch.images, 2)
        penalised = [*seen, logits] if outputs else seen
        wanted = wanted + decorrelation.penalty(penalised, batch, residual)

    torch.testing.assert_close(found, wanted)


def test_the_teacher_is_the_original_and_learns_nothing():
    problem = entangled_problem()
    other = copy.deepcopy(problem.net)
    torch.nn.init.zeros_(other.head.weight)
    images = problem.train[torch.arange(8)].images
    problem = replace(problem, net=other, original=problem.original.requires_grad_(True))
    taught = teacher_logits(problem, images)
    assert not taught.requires_grad
    torch.testing.assert_close(taught, problem.original(images).detach())
