import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mlu.attacks.parts import networks
from mlu.attacks.parts.cases import Cases
from mlu.attacks.parts.networks import convolution, last_maps, plain_images, tuned
from mlu.attacks.parts.readers import LINEAR, learnt_scores, panel_of
from mlu.data.split import Split
from tests.support.made_nets import tiny


def split_with(images):
    targets = torch.zeros(len(images), 1)
    known = torch.ones(targets.shape, dtype=torch.bool)
    return Split(images, np.arange(len(images)), targets, known, np.arange(len(images)))


def striped(seed, images=160, size=16):
    """Pictures of stripes, which lie where the label is true: their means tell nothing."""
    random = np.random.default_rng(seed)
    truth = random.random(images) < 0.5
    lines = np.where(np.arange(size) // 2 % 2, 200, 40)
    pictures = np.where(truth[:, None, None], lines[:, None], lines[None, :])
    shifted = (pictures + random.integers(-20, 20, (images, size, size)))[:, None].repeat(3, 1)
    return shifted.clip(0, 255).astype(np.uint8), truth


def cases_of_pictures(seed, view, change=lambda pictures: pictures):
    pictures, truth = striped(seed)
    return Cases({view: change(pictures)}, truth, np.arange(len(truth)))


def read(make, view, change=lambda pictures: pictures, shuffle=False):
    fit, asked = cases_of_pictures(0, view, change), cases_of_pictures(1, view, change)
    if shuffle:
        fit, asked = (
            Cases(one.seen, np.random.default_rng(0).permutation(one.truth), one.persons)
            for one in (fit, asked)
        )
    return roc_auc_score(asked.truth, learnt_scores(make, view, fit, asked))


def as_maps(pictures):
    return np.float32(pictures[:, :2])


def means(pictures):
    return as_maps(pictures).mean((2, 3)).astype(float)


def test_maps_tell_the_convolution_what_their_means_do_not():
    assert read(convolution(0), "maps", as_maps) > 0.95
    linear = panel_of(1.0, 0.01, 8, 0)[LINEAR]
    assert abs(read(linear, "means", means) - 0.5) < 0.15
    # Control: where labels were dealt out anew there is nothing to tell.
    assert abs(read(convolution(0), "maps", as_maps, shuffle=True) - 0.5) < 0.15


@pytest.fixture
def net():
    return tiny(labels=2)


def test_a_whole_network_learns_to_read_and_stays_what_it_was(net, monkeypatch):
    before = copy.deepcopy(net.state_dict())
    assert read(tuned(net, 0), "network") > 0.95
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)

    # Planted: a reader that is not trained reads no better than random weights do.
    monkeypatch.setattr(networks, "train", lambda net, *others: net.eval())
    assert read(tuned(net, 0), "network") == 0.5


@pytest.mark.parametrize("name", ["conv", "tuned"])
def test_the_same_seed_gives_the_same_answers_and_touches_no_other_random_number(name, net):
    make, change = {"conv": (convolution(0), as_maps), "tuned": (tuned(net, 0), np.asarray)}[name]
    fit, asked = (cases_of_pictures(seed, name, change).subset(np.arange(32)) for seed in (0, 1))
    state = torch.get_rng_state()
    first, second = (learnt_scores(make, name, fit, asked) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_last_maps_are_those_that_pooling_takes(net):
    images = np.random.default_rng(0).integers(0, 255, (5, 3, 32, 32), np.uint8)
    found = torch.from_numpy(last_maps(net, split_with(images)))
    features = net.features(torch.from_numpy(images)).detach()
    torch.testing.assert_close(found.mean((2, 3)), features, atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(plain_images(split_with(images)), images)


def test_a_network_without_maps_has_none():
    class Flat(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1).float()

    flat = networks.Network.around(Flat(), torch.nn.Linear(12, 1))
    assert last_maps(flat, split_with(np.zeros((3, 3, 2, 2), np.uint8))) is None
