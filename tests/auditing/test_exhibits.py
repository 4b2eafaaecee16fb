"""Models, whatever they come as: what they say of the images, and what cannot be used."""

import numpy as np
import pytest
import torch
from torch import nn

from mlu.auditing.exhibits import UNTRAINED, as_floats, exhibits_of, reinitialised
from mlu.auditing.features import FEATURES_STAGE
from mlu.auditing.population import population_of
from mlu.models.backbones import Tiny
from mlu.models.weights import load_trained
from mlu.system.errors import UserError
from tests.support.audited import (
    SIZE,
    inquiry_with,
    outputs_of_labels,
    write_archive,
    write_people,
    write_weights,
)

MALE = "forget_label.names=[Male]"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_people(tmp_path_factory.mktemp("people"))
    write_weights(folder / "after.pt", 0)
    write_archive(folder / "good.npz")
    write_archive(
        folder / "plain.npz", retrain=None, retrain_outputs=None, before=None, before_outputs=None,
        baseline=np.random.default_rng(0).normal(size=(240, 6)), after_outputs=None,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def people(place):
    return population_of(inquiry_with(place, f"after={place / 'after.pt'}", MALE))


def module(outputs=3, seed=0, *more):
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, nn.Linear(4, outputs), *more)


def function(images):
    features = images.mean((2, 3))
    return features, features @ torch.eye(3)


def shown(place, people, *words, **models):
    head = models.pop("head", None)
    return exhibits_of(inquiry_with(place, MALE, *words, models=models, head=head), people)


def test_weights_say_what_their_network_says(place, people):
    found = exhibits_of(
        inquiry_with(place, f"after={place / 'after.pt'}", MALE, "backbone=tiny"), people
    )
    net = Tiny(name="tiny").build(3)
    load_trained(net, place / "after.pt")
    split = people.splits["test"]
    with torch.no_grad():
        expected = net.eval()(split[np.arange(len(split))].images)
    said = found["unlearned"].outputs["test"].logits
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-5)
    assert set(found) == {"unlearned", "random"}
    assert not torch.equal(found["random"].outputs["test"].logits, said)
    assert set(found["unlearned"].outputs) == {"validation", "test"}


def test_training_images_are_shown_only_where_they_are_asked_about(place, people):
    words = [f"after={place / 'after.pt'}", MALE, "backbone=tiny", "attack=[aia,mia]"]
    found = exhibits_of(inquiry_with(place, *words), people)
    assert set(found["unlearned"].outputs) == {"validation", "test", "train"}


def test_weights_may_be_normalised_as_they_were_trained(place, people):
    words = [f"after={place / 'after.pt'}", MALE, "backbone=tiny"]
    plain, other = (
        exhibits_of(inquiry_with(place, *words, *more), people)["unlearned"].outputs["test"].logits
        for more in ([], ["mean=[0.5,0.5,0.5]", "std=[1.0,1.0,1.0]"])
    )
    assert not torch.allclose(plain, other)
    net = Tiny(name="tiny").build(3)
    load_trained(net, place / "after.pt")
    images = people.splits["test"][[0]].images.float() / 255 - 0.5
    with torch.no_grad():
        expected = net.head(net.eval().body(images))
    torch.testing.assert_close(other[:1], expected, rtol=1e-3, atol=1e-4)


def test_a_module_is_shown_floats_and_is_not_changed(place, people):
    model = module()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = shown(place, people, after=model, before=module(seed=1))
    split = people.splits["test"]
    images = split[np.arange(len(split))].images.float() / 255
    with torch.no_grad():
        expected, features = model(images), model[0](images)
    said = found["unlearned"].outputs["test"]
    torch.testing.assert_close(said.logits, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close([*said.stages.values()][-1], features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert set(found) == {"unlearned", "original", "random"}


def test_a_function_gives_what_it_gives(place, people):
    found = shown(place, people, after=function, baseline=module())
    said = found["unlearned"].outputs["test"]
    split = people.splits["test"]
    expected = (split[np.arange(len(split))].images.float() / 255).mean((2, 3))
    torch.testing.assert_close(said.stages[FEATURES_STAGE], expected)
    torch.testing.assert_close(said.logits, expected)


def test_features_stand_for_models(place):
    inquiry = inquiry_with(place, f"features={place / 'good.npz'}", MALE)
    found = exhibits_of(inquiry, population_of(inquiry))
    assert set(found) == {"original", "unlearned", "retrain"}
    said = found["original"].own["test"].logits
    np.testing.assert_allclose(said, outputs_of_labels(4.0)[3::4], rtol=1e-6)
    inquiry = inquiry_with(place, f"features={place / 'plain.npz'}", MALE)
    found = exhibits_of(inquiry, population_of(inquiry))
    assert set(found) == {"unlearned", "random"}
    assert found["unlearned"].silent


def test_a_concept_has_an_output_that_says_nothing(place):
    inquiry = inquiry_with(place, "concept=Tall", models={"after": module()})
    people = population_of(inquiry)
    said = exhibits_of(inquiry, people)["unlearned"]
    assert said.outputs["test"].logits.shape[1] == 4
    assert not said.outputs["test"].logits[:, 3].any()
    assert said.own["test"].logits.shape[1] == said.own["test"].targets.shape[1] == 3


def test_pretrained_weights_are_a_mark_as_well(place, people):
    start = write_weights(place / "start.pt", 7)
    words = [f"after={place / 'after.pt'}", MALE, "backbone=tiny", f"backbone.weights={start}"]
    found = exhibits_of(inquiry_with(place, *words), people)
    assert set(UNTRAINED) < set(found)


class Ungraded(nn.Module):
    """A model that no gradient goes through."""

    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 4)), nn.Linear(4, 3)

    def forward(self, images):
        with torch.no_grad():
            features = self.body(images)
        return self.fc(features)


class Startless(nn.Module):
    """A model with weights of which nobody knows how they start."""

    def __init__(self):
        super().__init__()
        self.scale, self.fc = nn.Parameter(torch.ones(1)), nn.Linear(3, 3)

    def forward(self, images):
        return self.fc(self.scale * images.mean((2, 3)))


def raising(images):
    raise RuntimeError("not today")


WRONG = {
    "outputs": ({"after": module(4)}, [], "has no torch.nn.Linear with 3 outputs"),
    "no end": ({"after": module(3, 0, nn.Sigmoid())}, [], "does not end with"),
    "no head": ({"after": module(), "head": "fc"}, [], "is no torch.nn.Linear of the model"),
    "small images": ({"after": nn.Sequential(nn.Flatten(), nn.Linear(5, 2), nn.Linear(2, 3))}, [],
                     "does not take images"),
    "a text": ({"after": "after.pt"}, [], "is neither a file of weights"),
    "no start": ({"after": Startless()}, [], "has no way|no reset_parameters"),
    "no baseline": ({"after": function}, [], "give baseline"),
    "ungraded": ({"after": Ungraded()}, ["attack.aia.panel=full"], "cannot be differentiated"),
    "a function to tune": ({"after": function, "baseline": module()}, ["attack.aia.panel=full"],
                           "needs a network"),
    "raising": ({"after": raising, "baseline": module()}, [], "not today"),
    "one array": ({"after": lambda images: images.mean((2, 3)), "baseline": module()}, [],
                  "must return (features, outputs)"),
    "no arrays": ({"after": lambda images: ("a", "b"), "baseline": module()}, [],
                  "must be tensors"),
    "maps": ({"after": lambda images: (images, function(images)[1]), "baseline": module()}, [],
             "features must have shape"),
    "two outputs": ({"after": lambda images: (function(images)[0], torch.ones(len(images), 2)),
                         "baseline": module()}, [], "outputs must have shape"),
    "not finite": ({"after": lambda images: (function(images)[0] * torch.nan, function(images)[1]),
                        "baseline": module()}, [], "are not finite"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_one_line(case, place, people):
    models, words, says = WRONG[case]
    with pytest.raises(UserError) as fault:
        shown(place, people, *words, **models)
    assert any(one in str(fault.value) for one in says.split("|")), str(fault.value)
    assert "\n" not in str(fault.value)


def test_layers_start_anew_by_their_own_way():
    model = module()
    again, other = reinitialised(model, 1), reinitialised(model, 2)
    assert not torch.equal(again[1].weight, model[1].weight)
    assert not torch.equal(again[1].weight, other[1].weight)
    torch.testing.assert_close(again[1].weight, reinitialised(model, 1)[1].weight, rtol=0, atol=0)


def test_images_are_floats_and_normalised_where_that_is_said():
    images = torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)
    assert as_floats(images, None, None).unique().item() == pytest.approx(0.2)
    found = as_floats(images, (0.1, 0.1, 0.1), (0.5, 0.5, 0.5))
    assert found.unique().item() == pytest.approx(0.2)
