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
    retained_loss_by_image,
    teacher_logits,
)
from mlu.models.tasks import ForgetRequest
from tests.support.learnt import learnt_problem
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


def test_the_retained_loss_of_an_image_is_the_mean_over_its_known_retained_labels():
    problem = entangled_problem()
    batch = problem.train[torch.arange(8)]
    batch.known[0], batch.known[1, 1] = False, False
    logits = problem.net(batch.images)
    found = retained_loss_by_image(logits, batch, problem)
    for image in range(8):
        terms = [
            bce(logits[image, column], batch.targets[image, column])
            for column in (1, 2)
            if batch.known[image, column]
        ]
        expected = torch.stack(terms).mean() if terms else torch.zeros(())
        torch.testing.assert_close(found[image], expected)
    assert found[0] == 0


def test_of_classes_it_is_the_cross_entropy_of_images_of_retained_ones():
    problem = learnt_problem("singlelabel")
    batch = problem.train[torch.arange(8)]
    logits = problem.net(batch.images)
    expected = -logits.log_softmax(1).gather(1, batch.targets.argmax(1, keepdim=True))[:, 0]
    expected = torch.where(batch.targets[:, 0] > 0, 0, expected)
    torch.testing.assert_close(retained_loss_by_image(logits, batch, problem), expected)


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
