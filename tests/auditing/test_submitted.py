"""Whose models are submitted: told by what they say, in whatever order their units are."""

import pytest
import torch

from mlu.audit import inquiry_of
from mlu.auditing.exhibits import exhibits_of
from mlu.auditing.population import population_of
from mlu.auditing.submitted import ALIKE, is_alike, rated, whose
from mlu.launch.audit_words import AUDIT, audit_overrides
from mlu.launch.challenge_words import replicate_values
from mlu.launch.compose import values_of
from mlu.models.backbones import Tiny
from mlu.models.weights import load_trained
from mlu.runs.submission import read_submission
from mlu.system.disk import write_tensors
from mlu.system.errors import UserError
from tests.support.audited import few_readers
from tests.support.challenged import LABELS, hand_in, weights_of, write_small_challenge
from tests.support.composing import composed_in_parts


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    return write_small_challenge(tmp_path_factory.mktemp("judged"))


def net_of(file):
    net = Tiny(name="tiny").build(len(LABELS))
    load_trained(net, file)
    return net


def reordered(net):
    """The same function: the last stage's channels in another order, and the head's with them."""
    order = torch.randperm(net.head.in_features, generator=torch.Generator().manual_seed(0))
    *_, last, _ = net.body
    with torch.no_grad():
        last.conv.weight.copy_(last.conv.weight[order])
        for part in (last.bn.weight, last.bn.bias, last.bn.running_mean, last.bn.running_var):
            part.copy_(part[order])
        net.head.weight.copy_(net.head.weight[:, order])
    return net


def moved(net, share):
    """Weights with noise of so many of their deviations."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            if weight.ndim > 1:
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(share * weight.std() * noise)
    return net


def muted(net):
    with torch.no_grad():
        net.head.weight[0], net.head.bias[0] = 0, 0.3
    return net


def another():
    net = Tiny(name="tiny").build(len(LABELS))
    net.load_state_dict(weights_of(91))
    return net


def inquiries(challenge, folder):
    words = [f"challenge={challenge.folder}", "trainer.accelerator=cpu"]
    words.append(f"outputs={challenge.folder.parent / 'outputs'}")
    values = values_of(composed_in_parts(audit_overrides(words), AUDIT), base=AUDIT)
    found = []
    for replicate in challenge.facts.replicates:
        models = {"after": str(folder / replicate.file),
                  "retrain": str(challenge.retrain(replicate)),
                  "out": str(challenge.folder.parent / "out")}  # fmt: skip
        found.append(inquiry_of(replicate_values(values, replicate, models)))
    return found


CASES = {
    "the original": (lambda one: net_of(one[0]), (True, False)),
    "the original reordered": (lambda one: reordered(net_of(one[0])), (True, False)),
    "the original muted": (lambda one: muted(net_of(one[0])), (False, False)),
    "Retrain": (lambda one: net_of(one[1]), (False, True)),
    "Retrain reordered": (lambda one: reordered(net_of(one[1])), (False, True)),
    "Retrain moved": (lambda one: moved(net_of(one[1]), 0.001), (False, True)),
    "Retrain with another forgotten output": (lambda one: muted(net_of(one[1])), (False, True)),
    "Retrain of another replicate": (lambda one: net_of(one[2]), (False, True)),
    "something else": (lambda _: another(), (False, False)),
}


@pytest.mark.parametrize("case", CASES)
def test_whose_a_model_is_is_told_by_what_it_says(case, challenge, tmp_path):
    first, second = challenge.facts.replicates
    made, expected = CASES[case]
    net = made((challenge.original(first), challenge.retrain(first), challenge.retrain(second)))
    write_tensors(tmp_path / first.file, net.state_dict())

    inquiry = inquiries(challenge, tmp_path)[0]
    population = population_of(inquiry)
    ours = exhibits_of(inquiry, population)["unlearned"]
    retrains = [challenge.retrain(one) for one in (first, second)]
    assert whose(inquiry, population, ours, challenge.original(first), retrains) == expected


def test_as_far_as_a_share_of_the_difference_is_alike():
    width = torch.tensor([3.0, -3.0])
    for factor, expected in ((0.99, True), (1.01, False)):
        assert is_alike(ALIKE * factor * width, torch.zeros(2), width) is expected


def test_a_submission_is_judged_by_every_replicate(challenge):
    folder = hand_in(challenge, "other")
    submission = read_submission(folder, challenge)
    with few_readers():
        rating, runs = rated(submission, challenge, inquiries(challenge, folder))
    assert [run.seeds.images for run in runs] == [2001, 2002]
    assert [run.seeds.seed for run in runs] == [1, 2]
    assert (rating.files, rating.challenge) == (submission.files, challenge.sha256)
    assert (rating.name, rating.unchanged, rating.copied) == ("other", (), ())


def test_finite_weights_that_say_what_is_no_number_are_told_with_their_file(challenge):
    given, names = weights_of(0), ("body.block5.bn.weight", "head.weight")
    huge = {name: torch.full_like(given[name], 3e38) for name in names}
    folder = hand_in(challenge, "huge", **huge)
    submission = read_submission(folder, challenge)
    with pytest.raises(UserError, match=r"huge/replicate-1\.safetensors: .* not finite"):
        rated(submission, challenge, inquiries(challenge, folder))


def test_the_scale_of_features_hides_nothing(challenge):
    def scaled(seed, factor):
        weights = weights_of(seed)
        for part in ("weight", "bias"):
            weights[f"body.block5.bn.{part}"] = weights[f"body.block5.bn.{part}"] * factor
        return {**weights, "head.weight": weights["head.weight"] / factor}

    found = []
    for factor in (1.0, 2.0**-80, 2.0**80):
        folder = hand_in(challenge, f"scaled by {factor:g}")
        for replicate, seed in zip(challenge.facts.replicates, (91, 92), strict=True):
            write_tensors(folder / replicate.file, scaled(seed, factor))
        with few_readers():
            rating, _ = rated(read_submission(folder, challenge), challenge,
                              inquiries(challenge, folder))  # fmt: skip
        found.append((rating.word, rating.mean, rating.retained))

    assert found[1:] == [pytest.approx(found[0], abs=1e-6)] * 2 or found[1:] == [found[0]] * 2
