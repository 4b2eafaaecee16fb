"""The data set: one seed gives one set of bytes, which are drawn once and a few at a time."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from mlu.data.labels import PAPER
from mlu.data.sets.faces import dataset as module
from mlu.data.sets.faces.drawing import render
from mlu.system.errors import UserError
from mlu.system.store import Store


def test_load_gives_uint8_images_and_the_chosen_labels(faces):
    data = faces.load()
    assert data.images[np.arange(5)].shape == (5, 3, 32, 32)
    assert data.images[np.arange(5)].dtype == data.targets.dtype == np.uint8
    assert data.targets.shape == (60, 10)
    assert data.identities.shape == (60,)
    some = dataclasses.replace(faces, labels=["Young", "Male"]).load()
    np.testing.assert_array_equal(
        some.targets, data.targets[:, [PAPER.index("Young"), PAPER.index("Male")]]
    )
    assert some.labels == ("Young", "Male")
    assert some.fingerprint != data.fingerprint


def test_one_seed_gives_one_set_of_bytes(faces, tmp_path):
    one, same, other = (
        dataclasses.replace(faces, root=tmp_path / root, seed=seed).load()
        for root, seed in (("one", 7), ("same", 7), ("other", 8))
    )
    np.testing.assert_array_equal(one.images, same.images)
    np.testing.assert_array_equal(one.targets, same.targets)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert (one.images != other.images).mean() > 0.5


def test_fewer_images_are_the_first_of_more(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 16 * 32**2)
    few, more = (
        dataclasses.replace(faces, images=images, root=tmp_path / str(images)).load()
        for images in (39, 60)
    )
    np.testing.assert_array_equal(few.images, more.images[:39])
    np.testing.assert_array_equal(few.targets, more.targets[:39])
    np.testing.assert_array_equal(few.identities, more.identities[:39])


def test_only_a_chunk_is_in_float_at_a_time(faces, monkeypatch):
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 16 * 32**2)
    sizes = []
    monkeypatch.setattr(
        module,
        "render",
        lambda looks, size: sizes.append(len(looks["x"])) or render(looks, size),
    )
    faces.load()
    assert sizes == [16, 16, 16, 12]


def test_the_number_of_threads_does_not_matter_and_is_left_alone(faces, tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        three = dataclasses.replace(faces, root=tmp_path / "three").load()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(three.images, faces.load().images)


def test_what_was_drawn_is_found_again(faces, monkeypatch):
    first = faces.load()
    monkeypatch.setattr(module, "render", lambda looks, size: pytest.fail("drawn again"))
    again = dataclasses.replace(faces, labels=PAPER[:3]).load()
    np.testing.assert_array_equal(first.images, again.images)


def test_only_draws_of_other_seeds_are_removed_and_only_if_asked(faces):
    drawn = [faces, dataclasses.replace(faces, seed=1), dataclasses.replace(faces, noise=0.1)]
    for one in drawn:
        one.load()
    places = [folder_of(one) for one in drawn]
    assert all(place.is_dir() for place in places)
    foreign = places[0].parent / "my photographs"
    foreign.mkdir()

    alone = dataclasses.replace(faces, seed=2, keep_draws=False)
    data = alone.load()
    assert [place.is_dir() for place in places] == [False, False, True]
    assert foreign.is_dir()
    assert folder_of(alone).is_dir()
    # It decides nothing else.
    assert data.fingerprint == dataclasses.replace(alone, keep_draws=True).load().fingerprint


def folder_of(faces):
    return Store(faces.root).folder("faces", module.content_key(faces))


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("labels", ["Male", "Blad"], "did you mean 'Bald'?"),
        ("labels", [], "at least one"),
        ("labels", ["Male", "Male"], "twice"),
        ("image_size", 0, "at least 1"),
        ("images", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("correlation", 1.5, "from 0 to 1"),
        ("correlation", math.nan, "from 0 to 1"),
        ("noise", -0.1, "at least 0"),
        ("images_per_identity", 0, "at least 1"),
    ],
)
def test_a_field_that_cannot_be_drawn_ends_in_one_line(faces, field, value, hint):
    with pytest.raises(UserError) as fault:
        dataclasses.replace(faces, **{field: value}).load()
    assert hint in str(fault.value)
    assert "\n" not in str(fault.value)
