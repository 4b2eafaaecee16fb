"""Two processes give what one gives."""

import copy
import json
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlu.models import batch_norm
from mlu.models.batch_norm import Synced2d
from mlu.models.outputs import respond_by_stage
from mlu.pipeline.context import context_of
from mlu.pipeline.trained import from_scratch_without, original_model
from mlu.pipeline.unlearned import unlearn_in_turn, watched_in_turn
from mlu.scores.curvature import diagonal
from mlu.scores.gradients import all_weights, sensitivity
from mlu.system.collectives import AllGather, all_reduce, current_group
from mlu.system.errors import UserError
from mlu.system.seeding import generator
from tests.conftest import BRIEF, METHODS, TINY
from tests.methods.test_contract import OURS, brief, data_of
from tests.support.command_line import launch
from tests.support.teams import ROUNDING, Bare, pair

pytestmark = pytest.mark.usefixtures("quick_processes")

# First, since a process is in one team at a time, and those below share one.


def fails(context: Bare, said: Path, fault: Exception, ranks: set[int]) -> None:
    """Fails in some processes; what the second one prints from then on is in a file."""
    if current_group().rank:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    if current_group().rank in ranks:
        raise fault
    all_reduce([torch.ones(1)])


@pytest.mark.parametrize(
    ("fault", "ranks", "told", "says"),
    [
        (
            ValueError("no more paper"),
            {1},
            RuntimeError,
            "process 1 of 2 failed: ValueError: no more paper",
        ),
        (UserError("not with this"), {0, 1}, UserError, "not with this"),
        (
            UserError("cannot read the image a.png"),
            {1},
            UserError,
            r"^cannot read the image a\.png$",
        ),
    ],
    ids=["a fault elsewhere", "a refusal", "a refusal elsewhere"],
)
def test_what_fails_in_a_process_is_told_and_nothing_else(
    fault, ranks, told, says, tmp_path, capfd
):
    said = tmp_path / "said"
    with pair() as both, pytest.raises(told, match=says):
        both.run(fails, Bare(), said, fault, ranks)
    assert "Traceback" not in said.read_text() + capfd.readouterr().err


@pytest.fixture(scope="module")
def team(quick_processes):
    with pair() as both:
        yield both


@pytest.fixture
def contexts(experiment, team):
    """The same run for one process and for two."""

    def of(*overrides, dataset="faces"):
        one = context_of(experiment(*overrides, dataset=dataset))
        return one, replace(one, team=team)

    return of


@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def trained(context):
    with float64():
        return from_scratch_without(context, "retrain")


def forgot(context, source):
    with float64():
        net, _ = unlearn_in_turn(context, context.experiment.method, source)
        return net.state_dict()


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_training_gives_the_same_weights_and_counts_the_same_work(dataset, contexts, team):
    one, two = contexts("training.epochs=1", dataset=dataset)
    (alone, cost), (both, shared_cost) = (each.team.run(trained, each) for each in (one, two))
    torch.testing.assert_close(dict(both.state_dict()), dict(alone.state_dict()), **ROUNDING)
    assert (shared_cost.forward, shared_cost.backward) == (cost.forward, cost.backward)
    assert all(type(module) is not Synced2d for module in both.modules())


def without_synced_norms(context):
    """Training with a fault: each process normalises by its own rows."""
    whole = batch_norm.all_reduce_batch
    batch_norm.all_reduce_batch = lambda values: values * current_group().world_size
    try:
        return trained(context)
    finally:
        batch_norm.all_reduce_batch = whole


def without_counting_ranks(context):
    """Training with a fault: the mean over processes makes each row's gradient too small."""
    whole = AllGather.backward
    AllGather.backward = staticmethod(lambda ctx, slope: (slope[ctx.rows], None))
    try:
        return trained(context)
    finally:
        AllGather.backward = whole


@pytest.mark.parametrize("fault", [without_synced_norms, without_counting_ranks])
def test_training_with_a_fault_gives_other_weights(fault, contexts):
    one, two = contexts("training.epochs=1", "dataset.images=320")
    (alone, _), (both, _) = trained(one), two.team.run(fault, two)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        torch.testing.assert_close(dict(both.state_dict()), dict(alone.state_dict()), **ROUNDING)


UNLEARNERS = [name for name in METHODS if name not in ("retrain", "original")]
READINGS = [f"{name} method.reading={reading}" for name in OURS for reading in ("above", "printed")]


OTHERS = ["wf method.adaptive=true", "wp method.curvature=hutchinson"]
AS_ITS_AUTHORS = [
    f"{name} preset=source" for name in ("neggrad", "unsir", "ssd", "salun", "boundary", "jit")
]


@pytest.mark.parametrize("method", [*UNLEARNERS, *READINGS, *OTHERS, *AS_ITS_AUTHORS])
def test_every_method_gives_the_same_weights(method, contexts):
    name, *choice = method.split()
    one, two = contexts(*brief(name), *choice, dataset=data_of(name))
    source = copy.deepcopy(original_model(one).net).double()
    alone, both = forgot(one, source), two.team.run(forgot, two, source)
    torch.testing.assert_close(dict(both), dict(alone), **ROUNDING)
    before = source.state_dict()
    assert any(
        key not in before or not torch.allclose(both[key], before[key], **ROUNDING) for key in both
    )


def watched(context, source):
    with float64():
        net, _, seen = watched_in_turn(context, context.experiment.method, source, True)
        points = seen.trace
        return net.state_dict(), points


@pytest.mark.parametrize("keep", ["last", "best"])
def test_whoever_watches_two_processes_sees_what_one_shows_and_changes_nothing(keep, contexts):
    one, two = contexts(*brief("wp"), "trace=1", f"keep={keep}")
    source = copy.deepcopy(original_model(one).net).double()
    (alone, seen), (both, shown) = (each.team.run(watched, each, source) for each in (one, two))
    torch.testing.assert_close(dict(both), dict(alone), **ROUNDING)
    assert [(one.step, one.kept) for one in shown] == [(one.step, one.kept) for one in seen]
    assert [one.labels for one in shown] == [one.labels for one in seen]
    if keep == "last":
        unwatched = two.team.run(forgot, two, source)
        assert all(torch.equal(both[name], unwatched[name]) for name in both)


def scores_of(context, net):
    """Score maps of each label, by several batches."""
    train, columns = context.data.splits["train"], {str(label): (label,) for label in range(3)}

    def batches():
        return train.subset(torch.arange(100)).batches(16)

    weights, random = all_weights(net), generator(5)
    maps = [sensitivity(net, context.task, batches(), columns, weights)]
    for estimator in ("fisher", "ggn", "hutchinson"):
        maps.append(diagonal(estimator, net, context.task, batches(), columns, weights, random))
    return maps


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_scores_are_the_same(dataset, contexts):
    one, two = contexts(dataset=dataset)
    net = original_model(one).net
    alone, both = (each.team.run(scores_of, each, net) for each in (one, two))
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-6)


def answers(context, net):
    said = respond_by_stage(net, context.data.splits["train"], torch.arange(0, 200, 3))
    return said.logits, dict(said.stages), dict(said.spreads)


def test_answers_are_the_same_bit_by_bit(contexts, monkeypatch):
    one, two = contexts()
    net = original_model(one).net
    alone, both = (each.team.run(answers, each, net) for each in (one, two))
    torch.testing.assert_close(both, alone, rtol=0, atol=0)


def launched(folder, *overrides):
    done = launch(folder, "-m", *TINY["faces"], *BRIEF, *overrides)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sweep_makes_one_folder_for_each_job_and_the_figures_of_one_process(tmp_path):
    """What two processes trained is found by one, and so the figures must be the same to the last
    digit."""
    found = {}
    for trainer in ("ddp", "default"):
        launched(
            tmp_path,
            "method=head,leace",
            "training.epochs=1",
            "dataset.images=200",
            f"trainer={trainer}",
            f"hydra.sweep.dir={tmp_path / trainer}",
        )
        assert sorted(path.name for path in (tmp_path / trainer).glob("[!.]*")) == [
            "0",
            "1",
            "multirun.yaml",
        ]
        found[trainer] = [
            json.loads((tmp_path / trainer / job / "results.json").read_text())
            for job in ("0", "1")
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "ddp", "default"]
    for one, two in zip(found["default"], found["ddp"], strict=True):
        assert two["measured"]["original"]["device"].startswith("2 x ")
        assert one["measured"]["original"]["device"] == two["measured"]["original"]["device"]
        assert two["work"] == one["work"]
        assert two["metrics"] == one["metrics"]
