"""Published methods by their authors' rules, each held against a calculation by hand."""

import copy
import inspect
import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.sources import batches, boundary, cfk, neggrad, salun, scrub, ssd, unsir
from benchmarks.sources.batches import Examples

CLASSES = 3


def images_of(count: int, seed: int, labels: list[int]) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 4, 4, dtype=torch.float64, generator=generator)
    targets = torch.tensor([labels[place % len(labels)] for place in range(count)])
    return images + targets.view(-1, 1, 1, 1), targets


@pytest.fixture
def retain() -> Examples:
    return images_of(11, 1, [2, 1])


@pytest.fixture
def forget() -> Examples:
    return images_of(5, 2, [0])


@pytest.fixture
def normed() -> nn.Module:
    """A network with batch norms, in training mode."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, CLASSES),
    ).double()


@pytest.fixture
def linear() -> nn.Module:
    """A network whose every slope can be had by one call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES)).double()


def vector(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def statistics(net: nn.Module) -> Tensor:
    """Running means and variances of all batch norms."""
    named = net.named_buffers()
    return torch.cat([buffer for name, buffer in named if name.endswith(("mean", "var"))])


def slope(net: nn.Module, loss: Tensor) -> Tensor:
    slopes = torch.autograd.grad(loss, list(net.parameters()))
    return torch.cat([one.flatten() for one in slopes])


def ce_slope(net: nn.Module, examples: Examples) -> Tensor:
    return slope(net, F.cross_entropy(net(examples[0]), examples[1]))


def same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


# What holds for all

METHODS = {
    "neggrad": (neggrad.unlearn, neggrad.Settings(epochs=2, retained_batch=4, forgotten_batch=2)),
    "scrub": (scrub.unlearn, scrub.Settings(retained_batch=4, forgotten_batch=2)),
    "unsir": (unsir.unlearn, unsir.Settings(noise_batch=4, noise_steps=3, impair_batch=8)),
    "salun": (salun.unlearn, salun.Settings(epochs=2, batch=4, padding=1)),
    "ssd": (ssd.unlearn, ssd.Settings(alpha=1.0, batch=4)),
    "boundary": (boundary.unlearn, boundary.Settings(epochs=2, batch=2, rate=0.01)),
    "boundary expand": (boundary.expand, boundary.Settings(epochs=2, batch=2, rate=0.01)),
    "cfk": (cfk.unlearn, cfk.Settings(k=2, epochs=2, batch=4, padding=1)),
    "euk": (cfk.relearn, cfk.Settings(k=2, epochs=2, batch=4, padding=1)),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_leaves_the_original_alone_and_repeats_itself(name, normed, retain, forget):
    unlearn, settings = METHODS[name]
    before, mode = copy.deepcopy(normed.state_dict()), normed.training
    given = [part.clone() for part in (*retain, *forget)]
    torch.manual_seed(1)
    first = unlearn(normed, retain, forget, settings, seed=5)
    torch.manual_seed(2)
    second = unlearn(normed, retain, forget, settings, seed=5)

    torch.testing.assert_close(normed.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close([*retain, *forget], given, rtol=0, atol=0)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert normed.training == mode
    assert all(weight.grad is None for weight in normed.parameters())

    assert not first.training
    assert not torch.equal(vector(first), vector(normed))
    assert first(forget[0]).shape == (5, CLASSES)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"ssd"}))
def test_what_is_drawn_depends_on_the_seed_alone(name, normed, retain, forget):
    unlearn, settings = METHODS[name]
    state = torch.get_rng_state()
    first = unlearn(normed, retain, forget, settings, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    other = unlearn(normed, retain, forget, settings, seed=6)
    assert not torch.equal(vector(first), vector(other))


@pytest.mark.parametrize("module", [boundary, cfk, neggrad, salun, scrub, ssd, unsir])
def test_every_setting_says_where_it_comes_from(module):
    text = inspect.getsource(module.Settings)
    fields = list(module.Settings.__dataclass_fields__)
    for field, following in zip(fields, [*fields[1:], None], strict=True):
        rest = text.split(f"    {field}: ", 1)[1]
        own = rest.split(f"\n    {following}: ", 1)[0] if following else rest
        assert '"""' in own, field


# Batches


def test_batches_hold_everything_and_keep_the_last(retain):
    images, targets = retain
    torch.manual_seed(0)
    drawn = list(batches.shuffled(retain, 4))
    assert [len(part[1]) for part in drawn] == [4, 4, 3]
    seen = torch.cat([part[0] for part in drawn]).sum(dim=(1, 2, 3)).sort().values
    same(seen, images.sum(dim=(1, 2, 3)).sort().values)
    torch.testing.assert_close(next(batches.in_order(retain, 4))[1], targets[:4])


def test_images_are_moved_within_a_border_of_zeros():
    images = torch.arange(1, 17.0).view(1, 1, 4, 4).expand(200, 1, 4, 4)
    torch.manual_seed(0)
    assert torch.equal(batches.moved(images, 0, False), images)
    mirrored = batches.moved(images, 0, True)
    assert {tuple(one.flatten().tolist()) for one in mirrored} == {
        tuple(images[0].flatten().tolist()),
        tuple(images[0].flip(-1).flatten().tolist()),
    }

    cut = batches.moved(images, 1, False)
    assert cut.shape == images.shape
    places = {tuple(one.flatten().tolist()) for one in cut}
    assert len(places) == 9  # three rows by three columns that a corner can lie in
    assert tuple([0.0] * 5 + [1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11]) in places


# NegGrad+


def test_a_step_of_neggrad_is_a_difference_of_slopes(linear, retain, forget):
    settings = replace(neggrad.LARGE, alpha=0.7, epochs=1, rate=0.1)
    kept, dropped = ce_slope(linear, retain), ce_slope(linear, forget)
    unlearned = neggrad.unlearn(linear, retain, forget, settings, seed=0)
    same(vector(unlearned), vector(linear) - 0.1 * (0.7 * kept - 0.3 * dropped))


def test_neggrad_pulls_to_the_original_within_the_retained_term(linear, retain, forget):
    start = [weight.detach().clone() + 0.5 for weight in linear.parameters()]
    settings = neggrad.Settings(alpha=0.7, pull=0.2)
    loss = neggrad.mixed_loss(linear, start, retain, forget, settings)

    kept = F.cross_entropy(linear(retain[0]), retain[1])
    dropped = F.cross_entropy(linear(forget[0]), forget[1])
    distance = 0.25 * len(vector(linear))
    same(loss, 0.7 * (kept + 0.2 / 2 * distance) - 0.3 * dropped)


def test_neggrad_repeats_forgotten_batches_in_their_order(linear, retain, forget, monkeypatch):
    seen = []

    def note(student, start, kept, dropped, settings):
        seen.append((len(kept[1]), dropped[0].sum().item()))
        return sum(weight.sum() for weight in student.parameters())

    monkeypatch.setattr(neggrad, "mixed_loss", note)
    settings = neggrad.Settings(epochs=1, retained_batch=2, forgotten_batch=3)
    neggrad.unlearn(linear, retain, forget, settings, seed=0)
    assert [kept for kept, _ in seen] == [2, 2, 2, 2, 2, 1]
    assert [dropped for _, dropped in seen] == [seen[0][1], seen[1][1]] * 3


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_of_neggrad(training, normed, retain, forget):
    settings = neggrad.Settings(epochs=1, training_mode=training)
    unlearned = neggrad.unlearn(normed, retain, forget, settings, seed=0)
    assert torch.equal(statistics(unlearned), statistics(normed)) == (not training)


# SCRUB


def test_scrub_maximises_before_it_minimises(linear, retain, forget, monkeypatch):
    seen = []
    monkeypatch.setattr(scrub, "maximise", lambda *_: seen.append("away"))
    monkeypatch.setattr(scrub, "minimise", lambda *_: seen.append("back"))
    scrub.unlearn(linear, retain, forget, scrub.Settings(), seed=0)
    assert seen == ["away", "back", "away", "back", "back"]


def test_divergence_of_scrub_is_from_teacher_to_student(linear, retain):
    teacher = copy.deepcopy(linear)
    logits = linear(retain[0]) * 0.3
    goal = (teacher(retain[0]) / 4).softmax(1)
    log_ratio = goal.log() - (logits / 4).log_softmax(1)
    far = scrub.divergence(teacher, retain[0], logits, 4.0)
    same(far, 16 * (goal * log_ratio).sum(1).mean())


def test_one_optimiser_carries_momentum_from_away_to_back(linear, retain, forget):
    settings = scrub.Settings(rate=0.1, decay=0.01, gamma=0.9, alpha=0.4)
    teacher, student = copy.deepcopy(linear), copy.deepcopy(linear)
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    start, optimiser = vector(student), scrub.optimiser_of(student, settings)

    far = scrub.divergence(teacher, forget[0], student(forget[0]), 4.0)
    away = -slope(student, far) + 0.01 * start
    scrub.maximise(teacher, student, optimiser, forget, settings)
    same(vector(student), start - 0.1 * away)

    middle, logits = vector(student), student(retain[0])
    loss = 0.9 * F.cross_entropy(logits, retain[1])
    loss = loss + 0.4 * scrub.divergence(teacher, retain[0], logits, 4.0)
    back = slope(student, loss) + 0.01 * middle
    scrub.minimise(teacher, student, optimiser, retain, settings)
    same(vector(student), middle - 0.1 * (0.9 * away + back))


def test_away_has_no_slope_at_first_without_batch_norm(linear, normed, forget):
    """In training mode a batch norm tells the student from its teacher, the copy in evaluation."""
    settings = scrub.Settings(decay=0.0)
    for net, stays in [(linear, True), (normed, False)]:
        teacher, student = copy.deepcopy(net).eval(), copy.deepcopy(net).train()
        scrub.maximise(teacher, student, scrub.optimiser_of(student, settings), forget, settings)
        assert torch.allclose(vector(student), vector(net), rtol=0, atol=1e-15) == stays


def test_batch_norms_of_scrub_see_what_is_forgotten(normed, retain, forget):
    few = scrub.unlearn(normed, retain, forget, scrub.Settings(max_steps=0, rate=0.0), seed=0)
    all_three = scrub.unlearn(normed, retain, forget, scrub.Settings(rate=0.0), seed=0)
    assert not torch.equal(statistics(few), statistics(all_three))


def test_rate_of_scrub_falls_after_milestones(linear):
    settings = replace(scrub.SMALL, milestones=(1, 3))
    optimiser = scrub.optimiser_of(linear, settings)
    assert isinstance(optimiser, torch.optim.Adam)
    rates = []
    for epoch in range(1, 6):
        scrub.set_rate(optimiser, epoch, settings)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([5e-4, 5e-5, 5e-5, 5e-6, 5e-6])


# UNSIR


def test_noise_raises_the_loss_of_its_class(normed, retain):
    settings = unsir.Settings(noise_batch=8, noise_in_training=False, penalty=0.0)
    torch.manual_seed(3)
    start = torch.randn(8, 3, 4, 4).double()
    torch.manual_seed(3)
    noise = unsir.make_noise(normed, retain[0], 0, settings)
    assert noise.shape == start.shape

    targets = torch.zeros(8, dtype=torch.long)
    before, after = (F.cross_entropy(normed.eval()(made), targets) for made in (start, noise))
    assert after > before + 1


def test_loss_of_noise_by_hand(linear, retain):
    noise = retain[0]
    wrong = F.cross_entropy(linear(noise), torch.full((11,), 2))
    length = sum(image.square().sum() for image in noise) / 11
    same(unsir.noise_loss(linear, noise, 2, 0.1), 0.1 * length - wrong)


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_follow_the_noise(training, normed, retain):
    before = statistics(normed).clone()
    settings = unsir.Settings(noise_batch=4, noise_steps=1, noise_in_training=training)
    unsir.make_noise(normed, retain[0], 0, settings)
    assert torch.equal(statistics(normed), before) == (not training)


def test_as_many_images_of_noise_are_used_as_there_are_channels():
    noises = [torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)]
    few = unsir.noisy_examples(noises, [1, 2], unsir.Settings(copies=20))
    assert [len(images) for images, _ in few] == [60, 60]
    assert torch.equal(few[1][0], noises[1][:3].repeat(20, 1, 1, 1))
    assert [set(targets.tolist()) for _, targets in few] == [{1}, {1}]

    settings = unsir.Settings(copies=20, whole_noise=True, own_labels=True)
    whole = unsir.noisy_examples(noises, [1, 2], settings)
    assert [len(images) for images, _ in whole] == [160, 160]
    assert [set(targets.tolist()) for _, targets in whole] == [{1}, {2}]


def test_unsir_mixes_noise_with_the_first_images_and_repairs_with_them_alone(
    linear, retain, forget, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        unsir, "fit", lambda student, examples, *rest: seen.append((examples, rest))
    )
    settings = unsir.Settings(noise_batch=4, noise_steps=1, copies=2, images_per_class=3)
    unsir.unlearn(linear, retain, forget, settings, seed=0)

    (mixture, first), (kept, second) = seen
    assert (first, second) == ((256, 0.02, 1), (256, 0.01, 1))
    assert mixture[1].tolist() == [0] * 6 + [1] * 3 + [2] * 3
    assert torch.equal(mixture[0][6:], kept[0])
    assert torch.equal(kept[0], torch.cat([retain[0][1:6:2], retain[0][0:5:2]]))


def test_fit_of_unsir_is_a_step_of_adam(linear, retain):
    start = vector(linear)
    direction = ce_slope(linear, retain)
    unsir.fit(linear, retain, 256, 0.02, 1)
    expected = start - 0.02 * direction / (direction.abs() + 1e-8)  # Adam's first step
    torch.testing.assert_close(vector(linear), expected)


# SSD


def test_importances_are_squares_of_batch_means(linear, retain):
    images, targets = retain
    parts = [ce_slope(linear, (images[at], targets[at])) for at in (slice(0, 8), slice(8, 11))]
    found = torch.cat([one.flatten() for one in ssd.importances(linear, retain, 8)])
    same(found, (parts[0] ** 2 + parts[1] ** 2) / 2)


def test_dampening_by_hand():
    layer = nn.Linear(5, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    forgotten = [torch.tensor([[1.0, 1.0, 8.0, 6.0, 0.0]])]
    everything = [torch.tensor([[1.0, 0.5, 1.0, 2.0, 0.0]])]
    ssd.dampen(layer, forgotten, everything, ssd.Settings(alpha=2.0, dampening=1.0))
    # Twice as important is not more than twice; 8 > 2 and 6 > 4 are.
    same(layer.weight.detach(), torch.tensor([[2.0, 2.0, 2.0 / 8, 2.0 * 2 / 6, 2.0]]))
    ssd.dampen(layer, forgotten, everything, ssd.Settings(alpha=2.0, dampening=9.0))
    same(layer.weight.detach(), torch.tensor([[2.0, 2.0, 2.0 / 8, 2.0 * 2 / 6, 2.0]]))


def test_ssd_compares_the_forgotten_with_all_data_sorted_by_class(linear, retain, forget):
    order = [place for label in (1, 2) for place, at in enumerate(retain[1]) if at == label]
    images = torch.cat([retain[0][order], forget[0]])
    targets = torch.cat([retain[1][order], forget[1]])
    to_all = ssd.importances(linear, (images, targets), 4)
    to_forgotten = ssd.importances(linear, forget, 4)

    expected = copy.deepcopy(linear)
    with torch.no_grad():
        rows = zip(expected.parameters(), to_forgotten, to_all, strict=True)
        for weight, some, every in rows:
            ratio = (0.5 * every / some).clamp(max=1)
            weight.mul_(torch.where(some > 1.5 * every, ratio, torch.ones_like(ratio)))

    settings = ssd.Settings(alpha=1.5, dampening=0.5, batch=4)
    same(vector(ssd.unlearn(linear, retain, forget, settings, seed=0)), vector(expected))
    mixed = ssd.unlearn(linear, retain, forget, replace(settings, by_class=False), seed=0)
    assert not torch.allclose(vector(mixed), vector(expected))


def test_batch_norms_of_ssd_stay(normed, retain, forget):
    unlearned = ssd.unlearn(normed, retain, forget, ssd.Settings(alpha=1.0, batch=4), seed=0)
    assert torch.equal(statistics(unlearned), statistics(normed))


# SalUn

PLAIN = salun.Settings(padding=0, flip=False)


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_the_mask_has_as_many_ones_as_wanted_in_one_ranking(density, normed, forget):
    marks = salun.saliency_mask(normed, forget, replace(PLAIN, density=density))
    flat = torch.cat([one.flatten() for one in marks])
    assert flat.sum() == int(density * len(flat))
    assert [one.shape for one in marks] == [weight.shape for weight in normed.parameters()]

    pull = ce_slope(normed.eval(), forget).abs()
    if 0 < density < 1:
        assert pull[flat == 1].min() >= pull[flat == 0].max()


def test_the_mask_adds_slopes_with_their_signs(linear):
    """Two batches of one image each that pull oppositely cancel, whatever each pulls alone."""
    with torch.no_grad():
        for weight in linear.parameters():
            weight.zero_()
    image = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    examples = torch.cat([image, image, -image]), torch.tensor([0, 1, 0])
    marks = salun.saliency_mask(linear, examples, replace(PLAIN, batch=1, density=1 / 3))
    pull = sum(
        ce_slope(linear, (examples[0][at : at + 1], examples[1][at : at + 1])) for at in range(3)
    )
    chosen = torch.cat([one.flatten() for one in marks]) == 1
    assert pull.abs()[chosen].min() >= pull.abs()[~chosen].max() - 1e-12


@pytest.mark.parametrize("restore", [True, False])
def test_weights_outside_the_mask_stay_only_where_they_are_restored(
    restore, normed, retain, forget
):
    settings = replace(PLAIN, restore=restore, epochs=2, batch=4)
    with batches.seeded(0):
        flat = torch.cat(
            [one.flatten() for one in salun.saliency_mask(copy.deepcopy(normed), forget, settings)]
        )
    unlearned = salun.unlearn(normed, retain, forget, settings, seed=0)
    moved = vector(unlearned) != vector(normed)
    assert moved[flat == 1].all()
    assert moved[flat == 0].any() != restore


def test_two_masked_steps_by_hand(linear, retain):
    free = [
        (torch.arange(weight.numel()) % 2).double().view_as(weight)
        for weight in linear.parameters()
    ]
    mask, start = torch.cat([one.flatten() for one in free]), vector(linear)
    first_values = [weight.detach().clone() for weight in linear.parameters()]
    optimiser = torch.optim.SGD(linear.parameters(), 0.1, 0.9, weight_decay=0.01)

    expected, gathered = start.clone(), torch.zeros_like(start)
    for _ in range(2):
        gathered = 0.9 * gathered + mask * (ce_slope(linear, retain) + 0.01 * expected)
        expected = expected - 0.1 * gathered
        loss = F.cross_entropy(linear(retain[0]), retain[1])
        salun.masked_step(optimiser, loss, free, first_values, restore=True)
        same(vector(linear), expected)

    buffers = [optimiser.state[weight]["momentum_buffer"] for weight in linear.parameters()]
    assert not torch.cat([one.flatten() for one in buffers])[mask == 0].any()


def test_labels_are_drawn_from_all_classes_and_anew(retain):
    forget = images_of(300, 3, [0])
    torch.manual_seed(0)
    epochs = [
        list(salun.epoch_of(retain, forget, CLASSES, replace(PLAIN, batch=300))) for _ in "ab"
    ]
    drawn = [first[1] for first, _ in epochs]
    counts = drawn[0].bincount(minlength=CLASSES)
    assert (counts > 70).all()  # 100 each are expected, the true class 0 among them
    assert not torch.equal(drawn[0], drawn[1])


def test_order_of_an_epoch_of_salun(retain, forget):
    in_turn = list(salun.epoch_of(retain, forget, CLASSES, replace(PLAIN, batch=4)))
    assert [len(targets) for _, targets in in_turn] == [4, 1, 4, 4, 3]
    is_forgotten = torch.cat([images for images, _ in in_turn[:2]])
    same(is_forgotten.sum(dim=(1, 2, 3)).sort().values, forget[0].sum(dim=(1, 2, 3)).sort().values)

    mixed = list(salun.epoch_of(retain, forget, CLASSES, replace(PLAIN, batch=4, order="mixed")))
    assert [len(targets) for _, targets in mixed] == [4, 4, 4, 4]


def test_batch_norms_of_salun_move(normed, retain, forget):
    unlearned = salun.unlearn(normed, retain, forget, replace(PLAIN, epochs=1, rate=0.0), seed=0)
    assert torch.equal(vector(unlearned), vector(normed))
    assert not torch.equal(statistics(unlearned), statistics(normed))


# Boundary unlearning

PIXELS = boundary.Settings(mean=(0.0,), deviation=(1.0,), rate=0.1, bound=0.1)
"""For images in [0, 1]."""


def test_the_nearest_label_is_the_answer_a_signed_step_away():
    """Two classes told apart by one number: which sign wins is known."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[0.0], [1.0]]))
        net[1].bias.copy_(torch.tensor([0.5, 0.0]))
    images = torch.tensor([0.45, 0.2, 0.55, 0.95]).double().view(-1, 1, 1, 1)
    targets = torch.tensor([0, 0, 1, 1])
    found = boundary.nearest_labels(net, images, targets, PIXELS)
    assert found.tolist() == [1, 0, 0, 1]  # those far from 0.5 keep their own class


def test_shifted_images_are_clamped_and_rounded():
    seen = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2)).double()
    net.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    images = torch.tensor([0.05, 0.98, 0.5001], dtype=torch.float64).view(1, 3, 1, 1)
    mean, deviation = (0.1, 0.2, 0.3), (0.5, 0.4, 0.2)
    shape = (1, 3, 1, 1)
    middle, scale = (
        torch.tensor(part, dtype=torch.float64).view(shape) for part in (mean, deviation)
    )

    settings = replace(PIXELS, mean=mean, deviation=deviation)
    boundary.nearest_labels(net, (images - middle) / scale, torch.tensor([0]), settings)
    pixels = seen[1] * scale + middle
    step = (pixels - images).flatten()
    assert (pixels >= -1e-12).all()
    assert (pixels <= 1 + 1e-12).all()
    same(pixels * 255, (pixels * 255).round())
    assert step.abs().max() <= 0.1 + 0.5 / 255 + 1e-9


def test_numbers_of_other_channels_are_refused(linear, forget):
    with pytest.raises(ValueError, match="3 channels need 1 or 3 values"):
        boundary.unlearn(linear, forget, forget, replace(PIXELS, mean=(0.1, 0.2)), seed=0)


def test_two_steps_of_shrink_by_hand(linear, retain, forget):
    expected, gathered = copy.deepcopy(linear), torch.zeros_like(vector(linear))
    nearest = boundary.nearest_labels(linear, *forget, PIXELS)
    for _ in range(2):
        gathered = 0.9 * gathered + ce_slope(expected, (forget[0], nearest))
        moved = vector(expected) - 0.1 * gathered
        nn.utils.vector_to_parameters(moved, expected.parameters())

    settings = replace(PIXELS, epochs=2)
    unlearned = boundary.unlearn(linear, retain, forget, settings, seed=0)
    same(vector(unlearned), vector(expected))
    same(vector(boundary.unlearn(linear, forget, forget, settings, seed=0)), vector(expected))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_of_shrink(training, normed, retain, forget):
    settings = replace(PIXELS, epochs=1, training_mode=training)
    unlearned = boundary.unlearn(normed, retain, forget, settings, seed=0)
    assert torch.equal(statistics(unlearned), statistics(normed)) == (not training)


def test_the_original_of_shrink_answers_in_evaluation_mode(normed, retain, forget, monkeypatch):
    modes = []

    def note(original, images, targets, settings):
        modes.append(original.training)
        return targets

    monkeypatch.setattr(boundary, "nearest_labels", note)
    boundary.unlearn(normed, retain, forget, replace(PIXELS, epochs=2), seed=0)
    assert modes == [False, False]


def test_expanding_and_cutting_without_a_step_changes_nothing(normed, retain, forget):
    settings = replace(PIXELS, rate=0.0, training_mode=False)
    unlearned = boundary.expand(normed, retain, forget, settings, seed=0)
    torch.testing.assert_close(unlearned.state_dict(), normed.state_dict(), rtol=0, atol=0)


def test_a_step_of_expanding_by_hand(linear, retain, forget):
    wide = copy.deepcopy(linear)
    with batches.seeded(0):
        boundary.widen(wide)
    assert torch.equal(wide[1].weight[:CLASSES], linear[1].weight)
    assert wide[1].bias[CLASSES] == 0

    shadow = torch.full((5,), CLASSES)
    rows = torch.autograd.grad(F.cross_entropy(wide(forget[0]), shadow), wide[1].weight)[0]
    unlearned = boundary.expand(linear, retain, forget, replace(PIXELS, epochs=1), seed=0)
    same(unlearned[1].weight.detach(), (linear[1].weight - 0.1 * rows[:CLASSES]).detach())


def test_the_first_step_of_expanding_is_in_evaluation_mode(normed, retain, forget):
    once = boundary.expand(normed, retain, forget, replace(PIXELS, epochs=1), seed=0)
    assert torch.equal(statistics(once), statistics(normed))
    twice = boundary.expand(normed, retain, forget, replace(PIXELS, epochs=2), seed=0)
    assert not torch.equal(statistics(twice), statistics(normed))


def test_a_network_without_a_linear_layer_cannot_be_expanded(forget):
    with pytest.raises(ValueError, match="no linear layer"):
        boundary.widen(nn.Sequential(nn.Conv2d(3, 3, 1)))


# CF-k and EU-k

STILL = cfk.Settings(padding=0, flip=False, momentum=0.0, decay=0.0)


@pytest.mark.parametrize(("k", "places"), [(1, [7]), (2, [7, 4, 3]), (3, [7, 4, 3, 1, 0])])
def test_layers_count_from_the_output(k, places, normed):
    found = cfk.last_layers([normed], k)
    assert [id(layer) for layer in found] == [id(normed[place]) for place in places]


@pytest.mark.parametrize("train", [cfk.unlearn, cfk.relearn])
def test_frozen_weights_stay_and_frozen_batch_norms_move(train, normed, retain, forget):
    settings = cfk.Settings(k=2, epochs=2, batch=4, padding=1)
    unlearned = train(normed, retain, forget, settings, seed=0)
    for place in (0, 1):
        assert torch.equal(vector(unlearned[place]), vector(normed[place]))
    for place in (3, 4, 7):
        assert (vector(unlearned[place]) != vector(normed[place])).all()
    assert not torch.equal(statistics(unlearned[1]), statistics(normed[1]))


def test_euk_draws_layers_but_no_batch_norms(normed, retain, forget):
    nn.init.constant_(normed[4].weight, 7.0)
    drawn = cfk.relearn(normed, retain, forget, cfk.Settings(k=2, epochs=0), seed=0)
    for place in (3, 7):
        assert not torch.equal(drawn[place].weight, normed[place].weight)
        assert not drawn[place].bias.any()
    assert torch.equal(drawn[4].weight, normed[4].weight)
    assert torch.equal(drawn[0].weight, normed[0].weight)

    layer = nn.Linear(800, 500)
    cfk.draw_anew([layer])
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 800), rel=0.01)


def test_the_rate_restarts_after_1_2_and_4_epochs(linear, retain, forget):
    """Clipped to a length, each step is as long as the rate says; an epoch is one step here."""
    settings = replace(STILL, clip=1e-3, batch=16)
    weights = [vector(linear)]
    for epochs in range(1, 5):
        net = cfk.unlearn(linear, retain, forget, replace(settings, epochs=epochs), seed=0)
        weights.append(vector(net))
    steps = [(after - before).norm().item() * 1e3 for before, after in itertools.pairwise(weights)]
    assert steps == pytest.approx([0.1, 0.1, 0.0525, 0.1], rel=1e-3)


def test_a_step_of_cfk_by_hand(linear, retain, forget):
    settings = replace(STILL, epochs=1, decay=0.01)
    unlearned = cfk.unlearn(linear, retain, forget, settings, seed=0)
    full = ce_slope(linear, retain)
    clipped = full * min(1.0, 10 / full.norm().item())
    torch.testing.assert_close(
        vector(unlearned), vector(linear) - 0.1 * (clipped + 0.01 * vector(linear))
    )


def test_layers_may_be_named_where_registration_has_another_order(retain, forget):
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(48, CLASSES)
            self.body = nn.Linear(48, 48)

        def forward(self, images):
            return self.head(self.body(images.flatten(1)))

    net = Turned().double()
    settings = replace(STILL, k=1, epochs=1)
    unlearned = cfk.unlearn(net, retain, forget, settings, seed=0, layers=[net.body, net.head])
    assert torch.equal(unlearned.body.weight, net.body.weight)
    assert not torch.equal(unlearned.head.weight, net.head.weight)
