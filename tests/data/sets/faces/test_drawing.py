"""Pictures: they follow the labels, keep the face on the image, and have the noise asked for."""

import dataclasses

import pytest
import torch

from mlu.data.labels import PAPER
from mlu.data.sets.faces.drawing import lay_out, noisy_bytes, render
from tests.support.drawn_faces import cast_of, look


@pytest.mark.parametrize("label", PAPER)
@pytest.mark.parametrize(("size", "least"), [(16, 0.02), (64, 0.08)])
def test_each_label_shows(faces, label, size, least):
    people = cast_of(faces)
    labels = people.labels[people.identities[:24]]
    flipped = labels.copy()
    flipped[:, PAPER.index(label)] ^= 1
    before, after = (render(look(people, each), size).clamp(0, 1) for each in (labels, flipped))
    change = (after - before).abs().amax(dim=(1, 2, 3))
    assert (change > least).float().mean() > 0.9


def test_every_scene_keeps_the_face_on_the_image(faces):
    drawn = cast_of(dataclasses.replace(faces, images=5_000)).rows(slice(None))
    sheet = lay_out(
        {trait: value[:, None, None] for trait, value in drawn.items() if value.ndim == 1}, 16
    )
    border = torch.stack(
        [sheet.head[:, 0].amin(1), sheet.head[:, :, 0].amin(1), sheet.head[:, :, -1].amin(1)]
    )
    assert (border > 1).all()


def test_pictures_are_finite_and_neither_black_nor_white(faces):
    pictures = render(cast_of(dataclasses.replace(faces, images=500)).rows(slice(None)), 24)
    assert pictures.shape == (500, 3, 24, 24)
    assert pictures.isfinite().all()
    assert ((pictures < 0) | (pictures > 1)).float().mean() < 0.05
    assert (pictures.std(dim=(1, 2, 3)) > 0.05).all()


def test_noise_has_the_deviation_asked_for():
    flat = torch.full((20, 3, 32, 32), 0.5)
    noisy = noisy_bytes(flat, 0.05, seed=(0, 0))
    assert noisy.std() / 255 == pytest.approx(0.05, rel=0.02)
    assert noisy.mean() / 255 == pytest.approx(0.5, abs=0.002)
