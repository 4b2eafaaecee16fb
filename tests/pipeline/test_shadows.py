import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from mlu.data.split import united_splits
from mlu.methods.retrain import Retrain
from mlu.models.outputs import respond
from mlu.pipeline import shadows
from mlu.pipeline import trained as trained_from_scratch
from mlu.pipeline.context import context_of
from mlu.pipeline.shadows import halves, shadow, shadows_of
from mlu.pipeline.trained import from_scratch
from mlu.pipeline.unlearned import unlearn_in_turn
from mlu.training.classifier import Classifier
from tests.support.killing import started, state, until

COUNT = 4
SMALL = [
    "dataset.images=80",
    "dataset.image_size=16",
    "training.epochs=1",
    "method=finetune",
    "method.tuning.steps=2",
]
CANARIES = ["canaries.withheld=0.4", "canaries.flipped=0.5"]
RETRAIN = Retrain(name="retrain")
law = settings(deadline=None, derandomize=True, max_examples=60)


@law
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=80),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
def test_everybody_is_with_all_images_in_exactly_half_of_the_models(persons, pairs, seed):
    persons = np.array(persons)
    inside = halves(persons, 2 * pairs, seed)
    assert inside.shape == (2 * pairs, len(persons))
    assert inside.dtype == bool
    assert (inside.sum(0) == pairs).all()
    for person in set(persons):
        assert len(np.unique(inside[:, persons == person], axis=1).T) == 1
    np.testing.assert_array_equal(inside, halves(persons, 2 * pairs, seed))


@pytest.mark.parametrize(
    ("count", "pair", "share"), [(2, (0, 1), 0.0), (4, (0, 3), 1 / 6), (8, (2, 5), 3 / 14)]
)
def test_halves_are_drawn_for_each_person_alone_and_each_half_alike_often(count, pair, share):
    """Half of all choices hold a given model; those that hold two are C(count - 2, ...) of them."""
    people, beyond = 5000, 1e-6
    inside = halves(np.arange(people), count, seed=1)
    for found, rate in [
        *((row, 0.5) for row in inside),
        (inside[pair[0]] & inside[pair[1]], share),
    ]:
        low, high = binom.ppf([beyond, 1 - beyond], people, rate)
        assert low <= found.sum() <= high

    agreement = (inside[:, :-1] == inside[:, 1:]).all(0).sum()
    low, high = binom.ppf([beyond, 1 - beyond], people - 1, 1 / len(np.unique(inside, axis=1).T))
    assert low <= agreement <= high


def test_another_seed_is_another_choice():
    first, second = (halves(np.arange(100), COUNT, seed) for seed in (0, 1))
    assert (first != second).any()


@pytest.fixture
def context(experiment, tmp_path):
    """On data so small that a model is trained in a tenth of a second, with a cache of its own."""

    def one(*overrides, place="cache", dataset="faces"):
        return context_of(
            experiment(*SMALL, f"outputs={tmp_path / place}", *overrides, dataset=dataset)
        )

    return one


@pytest.fixture
def trained(monkeypatch):
    """Whatever is trained from scratch: the images, the seed and the network before and after."""
    seen = []

    def classifier(net, *given):
        seen.append({"initial": net.body.block1.conv.weight.detach().clone()})
        return Classifier(net, *given)

    def watched(context, stage, train, *given):
        net, meter = from_scratch(context, stage, train, *given)
        seen[-1] |= {"train": train, "seeds": context.experiment.seeds, "net": net}
        return net, meter

    monkeypatch.setattr(trained_from_scratch, "Classifier", classifier)
    for module in (trained_from_scratch, shadows):
        monkeypatch.setattr(module, "from_scratch", watched)

    return seen


def pool_of(context):
    return united_splits(context.data.splits["train"], context.data.splits["test"])


def rows_of(context, inside, number):
    """Where the images of one shadow model are in the data set."""
    rows = np.concatenate([context.data.splits[name].rows for name in ("train", "test")])
    return rows[inside[number]]


def test_each_learns_from_its_half_of_the_people_with_a_seed_and_weights_of_its_own(
    context, trained
):
    setup = context()
    found = shadows_of(setup, None, COUNT, jobs=1)
    assert len(trained) == COUNT
    pool = pool_of(setup)
    np.testing.assert_array_equal(
        found.inside, halves(pool.identities, COUNT, setup.experiment.seeds.seed)
    )
    for number, one in enumerate(trained):
        np.testing.assert_array_equal(one["train"].rows, rows_of(setup, found.inside, number))
        assert torch.equal(
            one["train"].targets, pool.targets[torch.from_numpy(found.inside[number])]
        )
        assert one["train"].known.all()

    assert len({one["seeds"].train for one in trained} | {setup.experiment.seeds.seed}) == COUNT + 1
    assert len({one["initial"].numpy().tobytes() for one in trained}) == COUNT
    assert not set(setup.data.splits["validation"].rows) & {
        row for one in trained for row in one["train"].rows
    }
    # What they say is what the trained networks say, of every image in its place.
    assert list(found.logits) == ["train", "validation", "test"]
    for name, logits in found.logits.items():
        expected = torch.stack([respond(one["net"], setup.data.splits[name])[0] for one in trained])
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "treatment", [None, RETRAIN, "method"], ids=["plain", "retrained", "unlearned"]
)
def test_a_second_call_trains_nothing_and_says_the_same(context, trained, monkeypatch, treatment):
    setup = context()
    treatment = setup.experiment.method if treatment == "method" else treatment
    first = shadows_of(setup, treatment, COUNT, jobs=1)
    assert len(trained) == COUNT
    monkeypatch.setattr(shadows, "unlearn_in_turn", None)
    again = shadows_of(context(), treatment, COUNT, jobs=1)
    assert len(trained) == COUNT
    np.testing.assert_array_equal(first.inside, again.inside)
    for name, logits in first.logits.items():
        assert torch.equal(again.logits[name], logits)


BALD = "forget_label.names=[Bald]"


@pytest.mark.parametrize(
    ("overrides", "treatment", "count", "anew"),
    [
        (["seed=1"], None, COUNT, COUNT),
        (["split_seed=1"], None, COUNT, COUNT),
        (["train_seed=1", "method_seed=1"], None, COUNT, 0),
        (["training.lr=0.01"], None, COUNT, COUNT),
        (["dataset.seed=5"], None, COUNT, COUNT),
        ([], None, COUNT + 2, COUNT + 2),
        ([], RETRAIN, COUNT, COUNT),
        ([BALD], None, COUNT, 0),
        (["method.tuning.steps=1"], None, COUNT, 0),
        (CANARIES, None, COUNT, COUNT),
    ],
    ids=[
        "seed",
        "split",
        "other draws",
        "training",
        "data",
        "count",
        "retrained",
        "label",
        "method",
        "canaries",
    ],
)
def test_what_they_depend_on_trains_them_anew_and_nothing_else_does(
    context, trained, overrides, treatment, count, anew
):
    shadows_of(context(), None, COUNT, jobs=1)
    trained.clear()
    shadows_of(context(*overrides), treatment, count, jobs=1)
    assert len(trained) == anew


@pytest.mark.parametrize(
    ("treatment", "anew"), [(None, COUNT), (RETRAIN, COUNT)], ids=["plain", "retrained"]
)
def test_withheld_targets_of_another_label_train_them_anew(context, trained, treatment, anew):
    """With canaries even plain shadow models depend on the forgotten label.

    It is theirs that are withheld.
    """
    shadows_of(context(*CANARIES), treatment, COUNT, jobs=1)
    trained.clear()
    shadows_of(context(*CANARIES, BALD), treatment, COUNT, jobs=1)
    assert len(trained) == anew


def test_unlearned_ones_are_unlearned_anew_by_other_settings_and_for_other_labels(
    context, monkeypatch
):
    done = []

    def forgetting(*given):
        done.append(given)
        return unlearn_in_turn(*given)

    monkeypatch.setattr(shadows, "unlearn_in_turn", forgetting)
    for overrides in ([], ["method.tuning.steps=1"], [BALD], []):
        setup = context(*overrides)
        shadows_of(setup, setup.experiment.method, COUNT, jobs=1)

    assert len(done) == 3 * COUNT


def weights(model):
    return dict(model.net.state_dict())


def shuffled(pool, columns, seed=0):
    """The targets of these columns go to other images."""
    targets, order = (
        pool.targets.clone(),
        torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)),
    )
    targets[:, columns] = targets[order][:, columns]
    return replace(pool, targets=targets)


def test_retrained_ones_never_see_the_forgotten_target(context):
    """Wherever it is permuted to, no bit of theirs changes."""
    whole = np.ones((COUNT, len(pool_of(context()))), bool)
    for treatment, same in ((RETRAIN, True), (None, False)):
        found = []
        for place, change in (("one", lambda pool, columns: pool), ("two", shuffled)):
            setup = context(place=place)
            pool = change(pool_of(setup), list(setup.request.forgotten))
            found.append(weights(shadow(setup, treatment, pool, whole, 0)))
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0]) == same


def test_retrained_ones_never_see_images_of_a_forgotten_class(context, trained):
    setup = context(dataset="digits")
    found = shadows_of(setup, RETRAIN, COUNT, jobs=1)
    pool, (column,) = pool_of(setup), setup.request.forgotten
    for number, one in enumerate(trained):
        kept = found.inside[number] & (pool.targets[:, column] == 0).numpy()
        np.testing.assert_array_equal(one["train"].rows, pool.rows[kept])
    assert (setup.task.probs(found.logits["test"].flatten(0, 1))[:, column] == 0).all()


def test_unlearned_ones_are_the_method_applied_to_each(context, trained):
    setup = context()
    method = setup.experiment.method
    found = shadows_of(setup, method, COUNT, jobs=1)
    plain = shadows_of(setup, None, COUNT, jobs=1)

    assert len(trained) == COUNT, "each is the same shadow model as without forgetting"
    for number, one in enumerate(trained):
        own = replace(
            setup, experiment=replace(setup.experiment, seeds=one["seeds"]), train=one["train"]
        )
        net, _ = unlearn_in_turn(own, method, one["net"])
        for name, split in setup.data.splits.items():
            torch.testing.assert_close(
                found.logits[name][number], respond(net, split)[0], rtol=0, atol=1e-6
            )
            assert not torch.allclose(
                found.logits[name][number], plain.logits[name][number], atol=1e-3
            )


def test_side_by_side_they_say_the_same_without_a_word_and_are_not_made_twice(
    context, trained, capfd, monkeypatch
):
    alone, beside = context(), context(place="beside")
    method = alone.experiment.method
    expected = shadows_of(alone, method, COUNT, jobs=1)
    trained.clear()
    capfd.readouterr()
    # A logger belongs to this process.
    found = shadows_of(replace(beside, logger=threading.Lock()), method, COUNT, jobs=2)
    said = capfd.readouterr().err
    assert not trained
    np.testing.assert_array_equal(found.inside, expected.inside)
    for name, logits in expected.logits.items():
        torch.testing.assert_close(found.logits[name], logits, rtol=1e-3, atol=1e-3)

    monkeypatch.setattr(shadows, "processes", None)
    for treatment in (method, None):
        shadows_of(beside, treatment, COUNT, jobs=2)

    assert not trained
    for stage in ("shadow", "shadow-unlearned"):
        assert len(list((beside.store.root / stage).glob("*/manifest.json"))) == COUNT

    assert not [line for line in said.splitlines() if "available" in line or "stopped" in line]


def test_what_another_job_is_making_comes_last(context, trained):
    """Here the other one ends without having made it, once all others are there."""
    setup = context()
    inside, held = (
        halves(pool_of(setup).identities, COUNT, setup.experiment.seeds.seed),
        threading.Event(),
    )
    recipes = [
        shadows.recipe(setup, None, pool_of(setup), inside, number) for number in range(COUNT)
    ]

    def wait_for_the_others():
        with recipes[1].context.store.claim(recipes[1].kind, recipes[1].key) as ours:
            held.set()
            deadline = time.monotonic() + 30
            while sum(other.made for other in recipes) < COUNT - 1 and time.monotonic() < deadline:
                time.sleep(0.01)
        return ours

    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(wait_for_the_others)
        assert held.wait(10)
        found = shadows_of(setup, None, COUNT, jobs=1)
        assert other.result()

    assert [one["seeds"].train for one in trained] == [
        recipes[number].context.experiment.seeds.train for number in (0, 2, 3, 1)
    ]
    for number, one in zip((0, 2, 3, 1), trained, strict=True):
        logits = respond(one["net"], setup.data.splits["test"])[0]
        torch.testing.assert_close(found.logits["test"][number], logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("threads", "jobs", "each"), [(8, 2, 4), (8, 3, 2), (2, 4, 1)])
def test_they_share_the_processor(monkeypatch, threads, jobs, each):
    given = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(shadows, "end_with_parent", lambda: None)
    shadows.share_processor(jobs)
    assert given == [each]
    # What they have left to the first process is made on as many threads as they have.
    with shadows.threads_shared(jobs):
        assert given == [each, each]
    assert given == [each, each, threads]


def at_work(folder):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        1, spawn, initializer=shadows.share_processor, initargs=(1,)
    ) as processes:
        number = processes.submit(os.getpid).result()
        (folder / "draft").write_text(str(number))
        (folder / "draft").rename(folder / "worker")
        processes.submit(time.sleep, 600)
        time.sleep(600)


def test_they_end_with_a_job_that_is_killed(tmp_path):
    job = started(at_work, tmp_path)
    until(lambda: (tmp_path / "worker").exists())
    worker = int((tmp_path / "worker").read_text())
    assert state(worker) != "Z"
    job.kill()
    until(lambda: state(worker) == "Z")


def test_with_canaries_all_learn_from_every_training_image_and_half_from_its_forgotten_targets(
    context, trained
):
    """Like the original: the wrong way round where they are flipped."""
    setup = context(*CANARIES)
    train, columns = setup.data.splits["train"], list(setup.request.forgotten)
    wanted = train.targets.clone()
    for row in np.flatnonzero(setup.canaries.flipped):
        wanted[row, columns] = 1 - wanted[row, columns]

    others = [column for column in range(wanted.shape[1]) if column not in columns]
    found = shadows_of(setup, None, COUNT, jobs=1)
    np.testing.assert_array_equal(
        found.inside, halves(train.identities, COUNT, setup.experiment.seeds.seed)
    )
    for number, one in enumerate(trained):
        np.testing.assert_array_equal(one["train"].rows, train.rows)
        inside = torch.from_numpy(found.inside[number])
        assert torch.equal(one["train"].known[:, columns], inside[:, None].expand(-1, len(columns)))
        assert one["train"].known[:, others].all()
        assert torch.equal(one["train"].targets[:, others], train.targets[:, others])
        assert torch.equal(one["train"].targets[inside], wanted[inside])
        assert not one["train"].targets[~inside][:, columns].any()
