from dataclasses import replace

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from mlu.data.augment import (
    DRAWS,
    JITTER,
    MAX_SHEAR,
    SCALES,
    augment,
    augmented,
    crop,
    jitter,
    warp,
)
from mlu.data.split import Batch
from mlu.system.seeding import generator


@pytest.fixture
def images():
    return torch.rand(6, 3, 20, 20, generator=generator(0), dtype=torch.float64).float()


def test_warp_equals_torchvisions_flip_then_affine(images):
    flips = torch.tensor([True, False, True, False, True, False])
    degrees = torch.tensor([-10.0, -5.0, 0.0, 3.0, 7.0, 10.0])
    scales = torch.tensor([0.8, 0.9, 1.0, 1.1, 1.2, 1.05])
    ours = warp(images, flips, degrees.deg2rad(), scales)
    for image, flip, shear, scale, got in zip(images, flips, degrees, scales, ours, strict=True):
        expected = reference.horizontal_flip(image) if flip else image
        expected = reference.affine(
            expected[None],
            0.0,
            [0, 0],
            scale.item(),
            [shear.item(), 0.0],
            InterpolationMode.BILINEAR,
        )[0]
        torch.testing.assert_close(got[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=2e-3, rtol=0)


def test_jitter_equals_torchvisions(images):
    brightness, contrast, saturation = 0.8 + 0.4 * torch.rand(
        3, len(images), generator=generator(1)
    )
    for index, got in enumerate(jitter(images, brightness, contrast, saturation)):
        expected = reference.adjust_brightness(images[index], brightness[index].item())
        expected = reference.adjust_contrast(expected, contrast[index].item())
        expected = reference.adjust_saturation(expected, saturation[index].item())
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_the_identity_leaves_images_alone(images):
    ones = torch.ones(len(images))
    torch.testing.assert_close(
        warp(images, torch.zeros(len(images), dtype=torch.bool), 0 * ones, ones), images
    )
    torch.testing.assert_close(jitter(images, ones, ones, ones), images)


def draws(seed):
    return torch.rand(DRAWS, 6, generator=generator(seed))


def test_each_image_has_its_own_draw_and_stays_an_image(images):
    same = (255 * images[:1]).byte().repeat(6, 1, 1, 1)
    drawn = augment(same, draws(3))
    assert drawn.dtype == torch.float32
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])
    assert torch.equal(drawn, augment(same, draws(3)))
    assert not torch.equal(drawn, augment(same, draws(4)))


def test_strengths_are_the_papers():
    assert (MAX_SHEAR, SCALES, JITTER) == (10.0, (0.8, 1.2), 0.2)


def test_a_crop_is_torchvisions_padding_then_cutting_then_flipping():
    images = torch.rand(40, 3, 32, 24, generator=generator(0))
    drawn = torch.rand(DRAWS, 40, generator=generator(1))
    for image, (coin, down, right), got in zip(
        images, drawn[:3].T, crop(images, drawn), strict=True
    ):
        padded = reference.pad(image, [4, 4, 4, 4])
        expected = reference.crop(padded, int(9 * down), int(9 * right), 32, 24)
        expected = reference.horizontal_flip(expected) if coin < 0.5 else expected
        assert torch.equal(got, expected)
    corners = {(int(9 * down), int(9 * right)) for _, down, right in drawn[:3].T}
    assert len(corners) > 20


def test_a_batch_is_augmented_as_its_method_wants():
    images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator(0))
    targets = torch.zeros(6, 2)
    batch = Batch(images, targets, targets == 0)
    drawn = draws(4)
    assert augmented(batch, generator(4), "none") is batch
    assert torch.equal(augmented(batch, generator(4), "crop").images, crop(images, drawn))
    assert torch.equal(augmented(batch, generator(4)).images, augment(images, drawn))
    part = replace(batch, images=images[2:4], part=slice(2, 4))
    assert torch.equal(augmented(part, generator(4), "crop").images, crop(images, drawn)[2:4])
