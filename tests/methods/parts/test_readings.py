from dataclasses import replace

import pytest
import torch

from mlu.methods.parts.decorrelation import OFF
from mlu.methods.parts.readings import ABOVE, PRINTED, SELECTIVE, contrast
from mlu.methods.parts.silence import frozen_rows, silent_head
from mlu.scores.gradients import all_weights
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit
from tests.support.planted import entangled_problem

CONV = "body.conv.weight"
READINGS = {"selective": SELECTIVE, "above": ABOVE, "printed": PRINTED}


def test_only_the_selective_reading_leaves_the_head_out():
    net = entangled_problem().net
    every = set(all_weights(net))
    assert "head.weight" in every
    for name, reading in READINGS.items():
        scored = set(reading.weights(net))
        assert scored == (every - {"head.weight"} if name == "selective" else every)


def test_only_the_printed_reading_is_meant_for_the_whole_network():
    scopes = {name: reading.scope for name, reading in READINGS.items()}
    assert scopes == {"selective": "layer", "above": "layer", "printed": "global"}


def test_a_silencing_reading_adds_the_silent_output_and_holds_it():
    problem = entangled_problem()
    conv = problem.net.get_parameter(CONV).detach()
    edit = Edit({CONV: 2 * conv}, {CONV: torch.ones_like(conv)}, {CONV: conv})
    found = SELECTIVE.silenced(problem, edit)
    torch.testing.assert_close(found.weights, {CONV: 2 * conv, **silent_head(problem)})
    torch.testing.assert_close(found.radius, {CONV: torch.ones_like(conv), **frozen_rows(problem)})
    assert found.rate is edit.rate
    assert set(edit.weights) == {CONV}
    # Control: the others leave the edit as it is.
    assert ABOVE.silenced(problem, edit) is PRINTED.silenced(problem, edit) is edit


@pytest.mark.parametrize("name", READINGS)
def test_only_the_selective_reading_tunes_by_more_than_the_retained_loss(name):
    problem = entangled_problem()
    (one,) = READINGS[name].passes(problem, Tuning(epochs=1), 0.3, replace(OFF, linear=0.7))
    (plain,) = READINGS[name].passes(problem, Tuning(epochs=1), 0.0, OFF)
    batch = problem.train[torch.arange(16)]
    same = torch.equal(one.loss(problem.net, batch), plain.loss(problem.net, batch))
    assert same is (name != "selective")
    assert one.images is (problem.train if name == "selective" else problem.retain)
    assert plain.images is problem.retain


def test_contrast_is_relative_to_the_means_of_each_layer():
    ours, theirs = torch.tensor([1.0, 3.0]), torch.tensor([6.0, 2.0])
    found = contrast({"one": ours, "two": 5 * ours}, {"one": theirs, "two": theirs}, delta=0.5)
    expected = torch.tensor([0.5 / (1.5 + 0.5), 1.5 / (0.5 + 0.5)])
    torch.testing.assert_close(found, {"one": expected, "two": expected})
