"""Rivals with `preset=source` end where their sources' rules do, weight by weight.

On whole batches, where neither draws an order; `python -m benchmarks rivals` holds the rest.
"""

from dataclasses import replace
from unittest import mock

import pytest
import torch

from benchmarks import rivals
from benchmarks.sources import boundary, cfk, neggrad, salun, scrub, ssd, unsir
from mlu.methods import scrub as our_scrub
from mlu.methods.unsir import Unsir
from tests.support.learnt import learnt_problem, one_thread, unlearnt

WHOLE = 10_000
"""Images of a batch: more than there are."""
PLAIN = {"padding": 0, "flip": False}


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def problem_of():
    return learnt_problem("singlelabel", norm=True)


def as_published(name, experiment, **changes):
    """The method with the values of its authors, three epochs, on whole and plain batches."""
    method = experiment(f"method={name}", "preset=source", dataset="digits").method
    if name == "ssd":
        return replace(method, **changes)
    tuning = replace(method.tuning, batch_size=WHOLE, epochs=3, augment="none")
    return replace(method, **{"tuning": tuning} | changes)


def sides(problem):
    """What is retained and what is forgotten, in double precision."""
    for split in (problem.retain, problem.forget):
        images, classes = rivals.examples(split)
        yield images.double(), classes


def ended_by(name, problem):
    """The network that the source's rule leaves, with its own values but for those above."""
    retain, forget = sides(problem)
    rule, settings = {
        "neggrad": (
            neggrad.unlearn,
            neggrad.Settings(epochs=3, retained_batch=WHOLE, forgotten_batch=WHOLE),
        ),
        "scrub": (scrub.unlearn, scrub.Settings(retained_batch=WHOLE, forgotten_batch=WHOLE)),
        "ssd": (ssd.unlearn, ssd.Settings(alpha=1.0, batch=16)),
        "boundary": (
            boundary.unlearn,
            boundary.Settings(epochs=3, batch=WHOLE, rate=1e-3, mean=(0.0,), deviation=(1.0,)),
        ),
        "cfk": (cfk.unlearn, cfk.Settings(k=1, epochs=3, batch=WHOLE, **PLAIN)),
    }[name]
    return rule(problem.net, retain, forget, settings, 0)


def whole(name, experiment, **changes):
    """Our method for the same."""
    own = {
        "neggrad": {"forget_batch_size": WHOLE},
        "scrub": {"forget_batch_size": WHOLE},
        "ssd": {"alpha": 1.0, "score_batch": 16},
        "boundary": {},
        "cfk": {"k": 1},
    }[name]
    method = as_published(name, experiment, **own)
    tuned = {"lr": 1e-3} if name == "boundary" else {}
    tuned |= changes.pop("tuning", {})
    if tuned:
        method = replace(method, tuning=replace(method.tuning, **tuned))
    return replace(method, **changes)


def assert_alike(ours, theirs, start):
    """The same weights, but for what rounding makes of the way that they went."""
    pairs = list(zip(theirs.parameters(), start.parameters(), strict=True))
    way = torch.cat([(other - first).flatten() for other, first in pairs]).square().mean().sqrt()
    for (name, one), (other, _) in zip(ours.named_parameters(), pairs, strict=True):
        atol = 1e-4 * way.item() + 1e-12
        torch.testing.assert_close(one, other, rtol=0, atol=atol, msg=name)


RULES = ["neggrad", "scrub", "ssd", "boundary", "cfk"]


@pytest.mark.parametrize("name", RULES)
def test_a_rival_ends_where_its_source_does(name, experiment, monkeypatch):
    monkeypatch.setattr(our_scrub, "JITTER", 0.0)
    problem = problem_of()
    theirs = ended_by(name, problem)
    assert_alike(unlearnt(whole(name, experiment), problem), theirs, problem.net)
    pairs = zip(theirs.parameters(), problem.net.parameters(), strict=True)
    assert not all(torch.equal(*pair) for pair in pairs)


DEPARTURES = {
    "momentum of NegGrad+": ("neggrad", {"tuning": {"momentum": 0.9}}),
    "weight decay of NegGrad+": ("neggrad", {"tuning": {"weight_decay": 5e-4}}),
    "NegGrad+ without a pull": ("neggrad", {"anchor": 0.0}),
    "statistics of batches": ("neggrad", {"tuning": {"statistics": "batch"}}),
    "a bounded divergence": ("scrub", {"objective": "kl_max_clipped", "gamma": 0.5}),
    "squares of images": ("ssd", {"importance": "image"}),
    "larger batches": ("ssd", {"score_batch": 64}),
    "frozen batch norms": ("boundary", {"batch_norms": "frozen"}),
    "a class that is never given back": ("boundary", {"given_back": False}),
    "decay of Boundary Shrink": ("boundary", {"tuning": {"weight_decay": 5e-4}}),
    "another schedule": ("cfk", {"tuning": {"schedule": "constant"}}),
    "another depth": ("cfk", {"k": 2}),
    "kept statistics": ("cfk", {"tuning": {"statistics": "free"}}),
    "augmented images": ("cfk", {"tuning": {"augment": "crop"}}),
}


@pytest.mark.parametrize("departure", DEPARTURES)
def test_a_rule_that_leaves_its_source_is_caught(departure, experiment, monkeypatch):
    monkeypatch.setattr(our_scrub, "JITTER", 0.0)
    name, changes = DEPARTURES[departure]
    problem = problem_of()
    with pytest.raises(AssertionError):
        assert_alike(
            unlearnt(whole(name, experiment, **changes), problem),
            ended_by(name, problem),
            problem.net,
        )


def assert_masks_alike(method, problem):
    """The same weights of the whole network may move, but for one where a number is rounded."""
    _, forget = sides(problem)
    student = salun.trainable(problem.net).eval()
    wanted = salun.saliency_mask(student, forget, salun.Settings(density=0.1, batch=WHOLE, **PLAIN))
    radius = method.edit(problem).radius
    names = [name for name, _ in problem.net.named_parameters()]
    differ = [
        int(((radius[name] > 0) != free.bool()).sum())
        for name, free in zip(names, wanted, strict=True)
    ]
    assert sum(differ) <= 1


def test_salun_moves_the_weights_that_its_source_moves(experiment):
    assert_masks_alike(as_published("salun", experiment, fraction=0.1), problem_of())


def test_salun_that_ranks_body_and_head_apart_is_caught(experiment):
    with pytest.raises(AssertionError):
        assert_masks_alike(
            as_published("salun", experiment, fraction=0.1, ranking="parts"), problem_of()
        )


def impaired_by_both(method, problem):
    """What the same three images of noise make of a network, by our rule and by the source's."""
    noise = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    shown = problem.net.denormalised(noise)
    settings = unsir.Settings(own_labels=True, impair_batch=WHOLE, repair_batch=WHOLE)
    retain, forget = sides(problem)

    with mock.patch.object(Unsir, "learn_noise", return_value=shown):
        ours = unlearnt(method, problem)
    with mock.patch.object(unsir, "make_noise", return_value=shown):
        theirs = unsir.unlearn(problem.net, retain, forget, settings, 0)

    return ours, theirs


def test_unsir_shows_noise_as_its_source_does(experiment):
    method = as_published("unsir", experiment, noise_images=3)
    method = replace(method, tuning=replace(method.tuning, epochs=1))
    problem = problem_of()
    assert_alike(*impaired_by_both(method, problem), problem.net)


@pytest.mark.parametrize("changes", [{"shown": 5}, {"per_class": 20}, {"repair_lr": 0.02}], ids=str)
def test_unsir_that_shows_other_images_is_caught(changes, experiment):
    method = as_published("unsir", experiment, noise_images=3, **changes)
    method = replace(method, tuning=replace(method.tuning, epochs=1))
    problem = problem_of()
    with pytest.raises(AssertionError):
        assert_alike(*impaired_by_both(method, problem), problem.net)
