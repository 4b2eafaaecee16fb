"""Each baseline as a direct loop in plain PyTorch: tests hold our methods against it, and
benchmarks time them by it.

Written from what the methods' authors describe, with nothing of ours but the data, the
augmentation, the seeds and the network. `method` gives its numbers alone, every target is known,
and fine-tuning has epochs at a constant rate. Each loop returns a network of its own, in evaluation
mode.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from mlu.data.augment import AugmentName, augmented
from mlu.data.split import Batch, Split
from mlu.models.network import Network
from mlu.system.seeding import generator, mixed
from mlu.unlearning.contract import Problem

SCORED, ATTACKED, PASSED = 64, 256, 512
"""Images at once where gradients are summed, where the nearest class is sought, and where features
are read."""
JITTER = 1e-3
"""Of SCRUB's start, in root mean squares of each layer."""
SOURCE_PIXELS = 3 * 32 * 32
"""Numbers in an image of UNSIR's authors, whose penalty is meant for these."""
NEVER = -1e4
"""Logit of a class that is out of the question."""


def finetune(method: Any, problem: Problem) -> Network:
    """Stochastic gradient descent on what is retained."""
    net, (_, retain) = trainable(problem), divided(problem)
    train(
        problem,
        method.tuning,
        retain,
        optimiser_of(net.parameters(), method.tuning),
        lambda batch: label_loss(
            problem, net(batch.images), batch.targets, problem.request.retained
        ),
    )
    return net.eval()


def cfk(method: Any, problem: Problem) -> Network:
    """Fine-tuning of the last k layers, which start from the original: nothing reaches further
    down."""
    net, (_, retain), found = copy.deepcopy(problem.net), divided(problem), 0
    for module in reversed(list(net.modules())):
        counts = isinstance(module, nn.Conv2d | nn.Linear)
        if counts or isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(True).train()
        found += counts
        if found == method.k:
            break
    train(
        problem,
        method.tuning,
        retain,
        optimiser_of(
            [weight for weight in net.parameters() if weight.requires_grad], method.tuning
        ),
        lambda batch: label_loss(
            problem, net(batch.images), batch.targets, problem.request.retained
        ),
    )
    return net.eval()


def neggrad(method: Any, problem: Problem) -> Network:
    """Descent on all images, down the retained loss and up the forgotten one."""
    net, request = trainable(problem), problem.request
    cap = loss_of_the_base_rate(problem) if method.capped else math.inf

    def loss(batch: Batch) -> Tensor:
        logits = net(batch.images)
        down = method.alpha * label_loss(problem, logits, batch.targets, request.retained)
        forgotten = label_loss(problem, logits, batch.targets, request.forgotten)
        return down - (1 - method.alpha) * forgotten if forgotten < cap else down

    train(
        problem, method.tuning, problem.train, optimiser_of(net.parameters(), method.tuning), loss
    )
    return net.eval()


def scrub(method: Any, problem: Problem) -> Network:
    """Away from the teacher for some epochs, and near it at the end of each.

    The last epoch counts.
    """
    net, (forget, retain), tuning = trainable(problem), divided(problem), method.tuning
    if method.objective != "kl_prior" and method.max_passes:
        jitter(net, problem)
    optimiser, draw, number, step = (
        optimiser_of(net.parameters(), tuning),
        problem.generator(),
        0,
        0,
    )

    def teacher(batch: Batch) -> Tensor:
        with torch.no_grad():
            return problem.original(batch.images)

    def driving(batch: Batch) -> Tensor:
        ask = method.objective != "kl_prior" or problem.task.name == "singlelabel"
        return driving_loss(method, problem, teacher(batch) if ask else None, net(batch.images))

    def keeping(batch: Batch) -> Tensor:
        student = net(batch.images)
        loss = method.gamma * label_loss(problem, student, batch.targets, problem.request.retained)
        if not method.alpha:
            return loss
        apart = divergence(
            problem, teacher(batch), student, problem.request.retained, method.temperature
        )
        return loss + method.alpha * apart.mean()

    for epoch in range(1, tuning.epochs + 1):
        optimiser.param_groups[0]["lr"] = tuning.lr * method.decay ** sum(
            epoch > last for last in method.milestones
        )
        if epoch <= method.max_passes:
            images = share_of(forget, method.forget_fraction, draw)
            step += descend(
                as_shown(problem, images, method.forget_batch_size, number, step),
                optimiser,
                driving,
            )
            number += 1
        step += descend(
            as_shown(problem, retain, tuning.batch_size, number, step), optimiser, keeping
        )
        number += 1
    return net.eval()


def jitter(net: Network, problem: Problem) -> None:
    """A small step away from the original, where a divergence from it has no slope; in place."""
    draw = problem.generator()
    with torch.no_grad():
        for weight in net.parameters():
            noise = torch.randn(weight.shape, generator=draw).to(weight)
            weight += JITTER * weight.square().mean().sqrt() * noise


def driving_loss(method: Any, problem: Problem, teacher: Tensor | None, student: Tensor) -> Tensor:
    """Of a pass that drives the forgotten outputs away; the prior of independent labels needs no
    teacher."""
    columns = list(problem.request.forgotten)
    if teacher is None:
        rates = problem.train.targets[:, columns].mean(0)
        return bernoulli_divergence(rates.logit().to(student), student[:, columns]).mean()
    if method.objective == "kl_prior":
        others = list(problem.request.retained)
        wanted = teacher[:, others].softmax(1)
        return (wanted * (wanted.log() - student.log_softmax(1)[:, others])).sum(1).mean()
    apart = divergence(problem, teacher, student, columns, method.temperature)
    return -(apart.clamp(max=math.log(2)) if method.objective == "kl_max_clipped" else apart).mean()


def divergence(
    problem: Problem, teacher: Tensor, student: Tensor, columns: Sequence[int], temperature: float
) -> Tensor:
    """T^2 KL(teacher || student) at a temperature, of each image: of a softmax, or the mean over
    some labels."""
    theirs, ours = teacher / temperature, student / temperature
    if problem.task.name == "singlelabel":
        return temperature**2 * (
            theirs.softmax(1) * (theirs.log_softmax(1) - ours.log_softmax(1))
        ).sum(1)
    return temperature**2 * bernoulli_divergence(
        theirs[:, list(columns)], ours[:, list(columns)]
    ).mean(1)


def bernoulli_divergence(theirs: Tensor, ours: Tensor) -> Tensor:
    """Not by torch's Bernoulli: its softplus is linear beyond 20, and what is maximised amplifies
    the difference."""
    sides = [
        (side * theirs).sigmoid() * (F.logsigmoid(side * theirs) - F.logsigmoid(side * ours))
        for side in (1, -1)
    ]
    return sides[0] + sides[1]


def unsir(method: Any, problem: Problem) -> Network:
    """Learns noise, impairs with it and retained images, repairs with retained images and an
    optimiser of its own."""
    net, (_, retain), tuning, draw = (
        trainable(problem),
        divided(problem),
        method.tuning,
        problem.generator(),
    )
    wrong = noise_targets(problem, method.noise_images, draw)
    noise = learn_noise(method, problem, wrong, draw)
    images = share_of(retain, method.share, draw)

    def impairing(batch: Batch) -> Tensor:
        rows = torch.randint(len(noise), (len(batch),), generator=draw)
        # Noise and images in turn: in this order batch norm's sums are rounded as ours are.
        both = torch.stack([noise[rows].to(batch.images), batch.images], 1).flatten(0, 1)
        false, true = net(both).view(len(rows), 2, -1).unbind(1)
        retained = label_loss(problem, true, batch.targets, problem.request.retained)
        return noise_loss(problem, false, wrong[rows]) + retained

    def repairing(batch: Batch) -> Tensor:
        return label_loss(problem, net(batch.images), batch.targets, problem.request.retained)

    number = step = 0
    for lr, loss in ((tuning.lr, impairing), (method.repair_lr, repairing)):
        optimiser = optimiser_of(net.parameters(), replace(tuning, lr=lr))
        for _ in range(tuning.epochs):
            step += descend(
                as_shown(problem, images, tuning.batch_size, number, step), optimiser, loss
            )
            number += 1
    return net.eval()


def noise_targets(problem: Problem, images: int, draw: torch.Generator) -> Tensor:
    """Half of the noise has each forgotten label; of classes each image has one of the forgotten,
    in turn."""
    forgotten = problem.request.forgotten
    targets = torch.zeros(images, problem.train.targets.shape[1])
    if problem.task.name == "singlelabel":
        for row in range(images):
            targets[row, forgotten[row % len(forgotten)]] = 1
    else:
        for column in forgotten:
            targets[torch.randperm(images, generator=draw)[: images // 2], column] = 1
    return targets


def learn_noise(method: Any, problem: Problem, wrong: Tensor, draw: torch.Generator) -> Tensor:
    """Adam on normalised pixels, up the loss of the frozen network; on the scale of images."""
    net, (_, *shape) = problem.net, problem.train[[0]].images.shape
    noise = torch.randn(len(wrong), *shape, generator=draw).requires_grad_()
    optimiser = torch.optim.Adam([noise], lr=method.noise_lr)
    penalty = method.penalty * SOURCE_PIXELS / math.prod(shape)
    for _ in range(method.noise_steps):
        optimiser.zero_grad()
        norm = noise.square().flatten(1).sum(1).mean()
        (penalty * norm - noise_loss(problem, net(noise * net.std + net.mean), wrong)).backward()
        optimiser.step()
    return noise.detach() * net.std + net.mean


def noise_loss(problem: Problem, logits: Tensor, targets: Tensor) -> Tensor:
    """Of noise, which says nothing about retained labels."""
    if problem.task.name == "singlelabel":
        return F.cross_entropy(logits, targets)
    columns = list(problem.request.forgotten)
    return F.binary_cross_entropy_with_logits(
        logits[:, columns], targets[:, columns], reduction="none"
    ).mean()


def salun(method: Any, problem: Problem) -> Network:
    """Descent on drawn targets; after each step, what is not salient is put back. Draws from the
    base rates alone."""
    net, tuning, draw = trainable(problem), method.tuning, problem.generator()
    masks, before = (
        salient(method, problem),
        [weight.detach().clone() for weight in net.parameters()],
    )
    optimiser, targets, step = optimiser_of(net.parameters(), tuning), new_targets(problem, draw), 0

    def put_back(*_: Any) -> None:
        with torch.no_grad():
            for weight, mask, start in zip(net.parameters(), masks, before, strict=True):
                weight.copy_(torch.where(mask, weight, start))

    def loss(batch: Batch) -> Tensor:
        logits, request = net(batch.images), problem.request
        if problem.task.name == "singlelabel":
            return F.cross_entropy(logits, batch.targets)
        sides = [
            label_loss(problem, logits, batch.targets, side)
            for side in (request.retained, request.forgotten)
        ]
        return sides[0] + sides[1]

    optimiser.register_step_post_hook(put_back)
    for epoch in range(tuning.epochs):
        if epoch and method.resample:
            targets = new_targets(problem, draw)
        images = replace(problem.train, targets=targets)
        step += descend(as_shown(problem, images, tuning.batch_size, epoch, step), optimiser, loss)
    return net.eval()


def salient(method: Any, problem: Problem) -> list[Tensor]:
    """Which weights may move, parameter by parameter: the share of largest |gradient| in the body
    and in the head."""
    net, (forget, _), masks = copy.deepcopy(problem.net).requires_grad_(True), divided(problem), []
    for batch in forget.batches(SCORED):
        forgotten = label_terms(
            problem, net(batch.images), batch.targets, problem.request.forgotten
        )
        forgotten.sum().backward()
    for part in (net.body, net.head):
        slopes = [weight.grad.abs() for weight in part.parameters()]
        flat = torch.cat([slope.flatten() for slope in slopes])
        moves = torch.zeros_like(flat, dtype=torch.bool)
        moves[flat.topk(round(method.fraction * len(flat)), sorted=False).indices] = True
        if method.fraction < 1:
            moves &= flat > 0
        pieces = moves.split([slope.numel() for slope in slopes])
        masks += [piece.view_as(slope) for piece, slope in zip(pieces, slopes, strict=True)]
    return masks


def new_targets(problem: Problem, draw: torch.Generator) -> Tensor:
    """Forgotten labels by their base rate; images of forgotten classes get a retained one by its
    base rate."""
    targets, forgotten = problem.train.targets.clone(), list(problem.request.forgotten)
    rates = targets.mean(0)
    if problem.task.name == "singlelabel":
        rows = targets[:, forgotten].any(1)
        rates[forgotten] = 0
        classes = torch.multinomial(rates.expand(int(rows.sum()), -1), 1, generator=draw).squeeze(1)
        targets[rows] = F.one_hot(classes, len(rates)).to(targets)
    else:
        for column in forgotten:
            targets[:, column] = (torch.rand(len(targets), generator=draw) < rates[column]).to(
                targets
            )
    return targets


def ssd(method: Any, problem: Problem) -> Network:
    """Shrinks what matters more to the forgotten side than to the other one."""
    net, (forget, retain), request = copy.deepcopy(problem.net), divided(problem), problem.request
    if forget is retain:
        forgotten, retained = importances(
            method, problem, forget, [request.forgotten, request.retained]
        )
    else:
        (forgotten,) = importances(method, problem, forget, [request.forgotten])
        (retained,) = importances(method, problem, retain, [request.retained])
    with torch.no_grad():
        for weight, ours, theirs in zip(net.parameters(), forgotten, retained, strict=True):
            shrunk = (method.dampening * theirs / ours).clamp(max=1) * weight
            weight.copy_(torch.where(ours > method.alpha * theirs, shrunk, weight))
    return net.eval()


def importances(
    method: Any, problem: Problem, images: Split, sides: Sequence[Sequence[int]]
) -> list[list[Tensor]]:
    """Mean squared gradient of each weight, for each set of columns: one forward pass for all of
    them.

    The square of a batch's sum with random signs is in the mean the sum of its images' squares.
    """
    net, draw = copy.deepcopy(problem.net).requires_grad_(True), problem.generator()
    weights = list(net.parameters())
    found = [[torch.zeros_like(weight) for weight in weights] for _ in sides]
    counts = [0 for _ in sides]
    rows = torch.randperm(len(images), generator=problem.generator())[: method.images]
    for batch in images.subset(rows).batches(method.score_batch):
        logits = net(batch.images)
        shape = (
            batch.targets.shape if problem.task.name == "multilabel" else batch.targets.shape[:1]
        )
        signs = 2 * torch.randint(0, 2, shape, generator=draw) - 1
        for side, columns in enumerate(sides):
            terms = label_terms(problem, logits, batch.targets, columns)
            own = signs[:, list(columns)] if problem.task.name == "multilabel" else signs
            slopes = torch.autograd.grad(
                (own * terms).sum(), weights, retain_graph=side + 1 < len(sides)
            )
            for total, slope in zip(found[side], slopes, strict=True):
                total += slope.square()
            counts[side] += terms.numel()
    return [
        [total / count for total in totals] for totals, count in zip(found, counts, strict=True)
    ]


def lfssd(method: Any, problem: Problem) -> Network:
    """Shrinks what moves the forgotten outputs, or those of forgotten images, more than the rest.

    The mean of a few images' squared outputs is differentiated, class by class, forgotten ones
    last.
    """
    net, request = copy.deepcopy(problem.net), problem.request
    (forget, retain), every = divided(problem), list(range(problem.train.targets.shape[1]))
    several = problem.task.name == "multilabel"

    ours = motions(method, problem, forget, list(request.forgotten) if several else every)
    if method.against == "all":
        theirs = motions(method, problem, problem.train, every)
    else:
        theirs = motions(method, problem, retain, list(request.retained) if several else every)

    with torch.no_grad():
        for weight, one, other in zip(net.parameters(), ours, theirs, strict=True):
            shrunk = (method.dampening * other / one).clamp(max=1) * weight
            weight.copy_(torch.where(one > method.alpha * other, shrunk, weight))
    return net.eval()


def motions(method: Any, problem: Problem, images: Split, columns: list[int]) -> list[Tensor]:
    """Mean over batches of the size of the slope of the mean squared length of some outputs."""
    net = copy.deepcopy(problem.net).requires_grad_(True)
    weights = list(net.parameters())
    found, batches = [torch.zeros_like(weight) for weight in weights], 0
    rows = torch.randperm(len(images), generator=problem.generator())[: method.images]
    order = rows.sort().values.tolist()
    if problem.task.name == "singlelabel":
        classes = images.targets.argmax(1).tolist()
        last = set(problem.request.forgotten)
        order = sorted(order, key=lambda row: (classes[row] in last, classes[row], row))

    for chosen in torch.tensor(order).split(method.score_batch):
        said = net(images[chosen].images)[:, columns]
        slopes = torch.autograd.grad((said**2).sum() / len(chosen), weights)
        for total, slope in zip(found, slopes, strict=True):
            total += slope.abs()
        batches += 1
    return [total / batches for total in found]


def jit(method: Any, problem: Problem) -> Network:
    """Descent, on what is forgotten alone, on how far outputs move for noise on the image."""
    net, (forget, _), draw = copy.deepcopy(problem.net), divided(problem), problem.generator()
    net.requires_grad_(True).eval()
    several = problem.task.name == "multilabel"
    columns = list(problem.request.forgotten) if several else slice(None)

    def loss(batch: Batch) -> Tensor:
        images = batch.images.double() / 255 if batch.images.dtype == torch.uint8 else batch.images
        normalised, total = (images - net.mean) / net.std, 0.0
        said = net(images)[:, columns]
        for _ in range(method.samples):
            noise = torch.randn(images.shape, generator=draw)
            noisy = (normalised + method.sigma * noise) * net.std + net.mean
            noisy = noisy.clamp(0, 1)
            with torch.no_grad():
                answers = net(noisy)[:, columns]
            way = ((noisy - net.mean) / net.std - normalised).flatten(1).norm(dim=1)
            total = total + ((said - answers).square().sum(1).sqrt() / way).sum()
        return total / method.samples

    train(problem, method.tuning, forget, optimiser_of(net.parameters(), method.tuning), loss)
    return net.eval()


def orthograd(method: Any, problem: Problem) -> Network:
    """Descent on retained images and ascent on forgotten ones, without its part in the span of the
    retained images' gradients, by a singular value decomposition of all of them."""
    net, (forget, retain), request = copy.deepcopy(problem.net), divided(problem), problem.request
    net.requires_grad_(True).eval()
    weights = list(net.parameters())
    optimiser = optimiser_of(weights, method.tuning)
    cap = loss_of_the_base_rate(problem) if method.capped else math.inf
    step = 0

    for epoch in range(method.tuning.epochs):
        beside = companions(problem, retain, method.retain_batch_size, epoch)
        rows_of = torch.randperm(len(forget), generator=generator(problem.seed, epoch))
        for rows in rows_of.split(method.tuning.batch_size):
            if len(rows) < 2:
                continue
            draws = generator(problem.seed, step)
            kind = method.tuning.augment
            batch = augmented(forget[rows], draws, kind)
            others = augmented(retain[next(beside)], draws, kind)

            up = label_loss(problem, net(batch.images), batch.targets, request.forgotten)
            ascent = gradient(up, weights) if up < cap else 0 * gradient(up, weights)
            each = [
                gradient(
                    label_loss(problem, net(one.images), one.targets, request.retained), weights
                )
                for one in singly(others)
            ]
            rest = off_the_span(method.scope, weights, ascent, torch.stack(each))
            way = method.alpha * torch.stack(each).mean(0) - (1 - method.alpha) * rest

            for weight, slope in zip(weights, way.split([w.numel() for w in weights]), strict=True):
                weight.grad = slope.view_as(weight).clone()
            optimiser.step()
            step += 1
    return net.eval()


def gradient(loss: Tensor, weights: list[nn.Parameter]) -> Tensor:
    """Of a scalar, flat."""
    slopes = torch.autograd.grad(loss, weights, materialize_grads=True)
    return torch.cat([slope.flatten() for slope in slopes])


def singly(batch: Batch) -> list[Batch]:
    """Each image of a batch by itself."""
    return [
        Batch(batch.images[[row]], batch.targets[[row]], batch.known[[row]])
        for row in range(len(batch))
    ]


def off_the_span(scope: str, weights: list[Tensor], vector: Tensor, directions: Tensor) -> Tensor:
    """A vector less its part in the span of some directions, in each layer or in all."""
    sizes = [weight.numel() for weight in weights] if scope == "layer" else [len(vector)]
    rest = []
    for own, those in zip(vector.split(sizes), directions.split(sizes, 1), strict=True):
        lengths = those.norm(dim=1)
        units = those[lengths > 0] / lengths[lengths > 0, None]
        if not len(units):
            rest.append(own)
            continue
        _, values, spanned = torch.linalg.svd(units, full_matrices=False)
        basis = spanned[values > 1e-6 * values.max()]
        rest.append(own - basis.T @ (basis @ own))
    return torch.cat(rest)


def companions(problem: Problem, images: Split, size: int, epoch: int) -> Iterator[Tensor]:
    """Rows of the batches that stand beside others in an epoch, shuffled anew when they run out."""
    seed, number = mixed(problem.seed, epoch), 0
    while True:
        order = torch.randperm(len(images), generator=generator(seed, number))
        yield from (rows for rows in order.split(size) if len(rows) > 1)
        number += 1


def boundary(method: Any, problem: Problem) -> Network:
    """Fine-tuning of all but the batch norms, on forgotten images with the class across their
    nearest border."""
    net, (forget, _) = trainable(problem), divided(problem)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False).eval()
    classes = torch.cat([across(problem, batch, method.step) for batch in forget.batches(ATTACKED)])
    train(
        problem,
        method.tuning,
        replace(forget, targets=classes),
        optimiser_of(
            [weight for weight in net.parameters() if weight.requires_grad], method.tuning
        ),
        lambda batch: F.cross_entropy(net(batch.images), batch.targets),
    )
    return net.eval()


def across(problem: Problem, batch: Batch, step: float) -> Tensor:
    """What the original takes images for after one step up their loss, other than forgotten
    classes; one-hot."""
    images = (batch.images.float() / 255).requires_grad_()
    F.cross_entropy(problem.original(images), batch.targets, reduction="sum").backward()
    with torch.no_grad():
        logits = problem.original((images + step * images.grad.sign()).clamp(0, 1))
    logits[:, list(problem.request.forgotten)] = -torch.inf
    return F.one_hot(logits.argmax(1), logits.shape[1]).to(batch.targets)


def leace(method: Any, problem: Problem) -> Network:
    """The closed form, as a layer before the head, whose forgotten rows become constant."""
    net, columns = copy.deepcopy(problem.net), list(problem.request.forgotten)
    targets = problem.train.targets[:, columns]
    with torch.no_grad():
        features = torch.cat(
            [net.features(batch.images) for batch in problem.train.batches(PASSED)]
        )
    points = features.double().numpy()
    metric = inverse_covariance(points, method.tolerance)
    net.erase(
        *(
            torch.from_numpy(part).to(features)
            for part in oblique(points, targets.double().numpy(), metric)
        )
    )
    with torch.no_grad():
        net.head.weight[columns] = 0
        net.head.bias[columns] = (
            targets.mean(0).logit().to(features) if problem.task.name == "multilabel" else NEVER
        )
    return net.eval()


def splince(method: Any, problem: Problem) -> Network:
    """The slanted projection as its authors print it, by bases of its range and of its kernel."""
    net, forgotten = copy.deepcopy(problem.net), list(problem.request.forgotten)
    targets, retained = problem.train.targets.double().numpy(), list(problem.request.retained)
    with torch.no_grad():
        points = torch.cat([net.features(batch.images) for batch in problem.train.batches(PASSED)])
    points = points.float().double().numpy()
    asked = np.ones(len(points), bool)
    if problem.task.name == "singlelabel":
        asked = targets[:, retained].any(1)
    kept = covariances(points[asked], targets[asked][:, retained])
    matrix = slanted(points, targets[:, forgotten], kept, method.tolerance)

    features = next(net.parameters())
    offset = points.mean(0) - matrix @ points.mean(0)
    net.erase(torch.from_numpy(matrix).to(features), torch.from_numpy(offset).to(features))
    with torch.no_grad():
        rates = problem.train.targets[:, forgotten].mean(0)
        net.head.weight[forgotten] = 0
        net.head.bias[forgotten] = (
            rates.logit().to(features) if problem.task.name == "multilabel" else NEVER
        )
    return net.eval()


def covariances(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return (points - points.mean(0)).T @ (targets - targets.mean(0)) / len(points)


def slanted(
    points: np.ndarray, targets: np.ndarray, kept: np.ndarray, tolerance: float
) -> np.ndarray:
    """W^+ V (U' V)^-1 U' W: V spans the range, U the complement of the kernel, W makes white."""
    values, vectors = np.linalg.eigh(np.cov(points, rowvar=False, bias=True))
    values = values.clip(tolerance * values.max())
    white = vectors / np.sqrt(values) @ vectors.T
    erased, spared = white @ covariances(points, targets), white @ kept

    beyond = scipy.linalg.null_space(np.hstack([erased, spared]).T, rcond=1e-10)
    outside = scipy.linalg.null_space(erased.T, rcond=1e-10)
    spanned = np.hstack([scipy.linalg.orth(spared, rcond=1e-10), beyond])
    inner = spanned @ np.linalg.solve(outside.T @ spanned, outside.T)

    return np.linalg.pinv(white) @ inner @ white


def inverse_covariance(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Of points (n, width), whose variances count as at least `tolerance` times the largest."""
    values, vectors = np.linalg.eigh(np.cov(points, rowvar=False))
    return vectors / values.clip(tolerance * values.max()) @ vectors.T


def oblique(
    points: np.ndarray, targets: np.ndarray, metric: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Projection along the cross-covariance C onto what C' M has no part in: I - C (C' M C)^-1 C'
    M, and its offset.

    With M the inverse covariance this is LEACE in closed form; with M the identity it is the
    orthogonal projection.
    """
    mean = points.mean(0)
    cross = (points - mean).T @ (targets - targets.mean(0))
    matrix = np.eye(len(mean)) - cross @ np.linalg.solve(cross.T @ metric @ cross, cross.T @ metric)
    return matrix, mean - matrix @ mean


def trainable(problem: Problem) -> Network:
    return copy.deepcopy(problem.net).requires_grad_(True).train()


def divided(problem: Problem) -> tuple[Split, Split]:
    """What speaks of the forgotten, and what may be retained; of independent labels every image
    does both."""
    split = problem.train
    if problem.task.name == "multilabel":
        return split, split
    gone = split.targets[:, list(problem.request.forgotten)].any(1)
    return split.subset(gone.nonzero().squeeze(1)), split.subset((~gone).nonzero().squeeze(1))


def share_of(split: Split, share: float, draw: torch.Generator) -> Split:
    count = max(1, round(share * len(split)))
    return split.subset(torch.randperm(len(split), generator=draw)[:count].sort().values)


def as_shown(
    problem: Problem, images: Split, size: int, number: int, step: int, kind: AugmentName = "paper"
) -> Iterator[Batch]:
    """The batches of pass `number`, the first of which is step `step`: as training orders and
    augments them."""
    order = torch.randperm(len(images), generator=generator(problem.seed, number))
    for offset, rows in enumerate(order.split(size)):
        if len(rows) > 1:  # batch norm learns nothing from a single image
            yield augmented(images[rows], generator(problem.seed, step + offset), kind)


def label_terms(
    problem: Problem, logits: Tensor, targets: Tensor, columns: Sequence[int]
) -> Tensor:
    """Losses that speak of some columns, (batch, columns); of classes those of all images, which
    must be theirs."""
    if problem.task.name == "singlelabel":
        return F.cross_entropy(logits, targets, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")[:, list(columns)]


def label_loss(problem: Problem, logits: Tensor, targets: Tensor, columns: Sequence[int]) -> Tensor:
    """Mean loss of some labels.

    Of classes, of the images that are of these, 0 where there is none.
    """
    if problem.task.name == "singlelabel":
        rows = targets[:, list(columns)].any(1)
        if not rows.any():
            return 0 * logits.sum()
        logits, targets = logits[rows], targets[rows]
    return label_terms(problem, logits, targets, columns).mean()


def loss_of_the_base_rate(problem: Problem) -> float:
    """Mean forgotten loss of someone who knows the base rate alone."""
    rates = problem.train.targets[:, list(problem.request.forgotten)].mean(0).double()
    if problem.task.name == "singlelabel":
        return (-(rates * rates.log()).sum() / rates.sum()).item()
    return -(rates * rates.log() + (1 - rates) * (1 - rates).log()).mean().item()


def optimiser_of(weights: Iterable[nn.Parameter], tuning: Any) -> Optimizer:
    if tuning.optimiser == "adam":
        return torch.optim.Adam(weights, lr=tuning.lr, weight_decay=tuning.weight_decay)
    return torch.optim.SGD(
        weights, lr=tuning.lr, momentum=tuning.momentum, weight_decay=tuning.weight_decay
    )


def descend(batches: Iterable[Batch], optimiser: Optimizer, loss: Callable[[Batch], Tensor]) -> int:
    """One step for each batch; returns how many."""
    steps = 0
    for batch in batches:
        optimiser.zero_grad()
        loss(batch).backward()
        optimiser.step()
        steps += 1
    return steps


def train(
    problem: Problem,
    tuning: Any,
    images: Split,
    optimiser: Optimizer,
    loss: Callable[[Batch], Tensor],
) -> None:
    """All epochs on the same images."""
    step = 0
    for epoch in range(tuning.epochs):
        shown = as_shown(problem, images, tuning.batch_size, epoch, step, tuning.augment)
        step += descend(shown, optimiser, loss)
