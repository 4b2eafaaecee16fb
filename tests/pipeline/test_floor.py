"""What the retained labels alone tell of a forgotten one, said before a run trains anything."""

import logging
import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from mlu.data.split import Split
from mlu.models.tasks import ForgetRequest, MultiLabel, SingleLabel
from mlu.pipeline import floor
from mlu.pipeline import run as pipeline
from mlu.pipeline.floor import MOST_READ, NEARLY_TOLD, floor_lines, floors

REQUEST = ForgetRequest((0,), (1, 2))
NAMES = ("Male", "Beard", "Young")


def splits_of(flipped, train=4000, validation=800, known=None):
    """Three labels: the second says what the first does, but for a share of the images; the third
    says nothing. No test split: it is not to be read."""
    random, found = np.random.default_rng(0), {}
    for start, (name, images) in enumerate({"train": train, "validation": validation}.items()):
        targets = (random.random((images, 3)) < 0.5).astype(np.float32)
        other = random.random(images) < flipped
        targets[:, 1] = np.where(other, 1 - targets[:, 0], targets[:, 0])
        whole = torch.ones(images, 3, dtype=torch.bool)
        found[name] = Split(
            np.zeros((1, 3, 1, 1), np.uint8),
            np.zeros(images, int),
            torch.from_numpy(targets),
            whole if known is None else known(images, random),
            np.arange(images) + 10**6 * start,
        )
    return found


def floor_of(*args, **kind):
    return floors(MultiLabel(), REQUEST, splits_of(*args, **kind), seed=1)


@pytest.mark.parametrize("flipped", [0.0, 0.03, 0.2, 0.97])
def test_it_is_how_often_the_retained_labels_say_the_same_or_the_opposite(flipped):
    assert floor_of(flipped) == {0: pytest.approx(max(flipped, 1 - flipped), abs=0.02)}


def test_labels_that_tell_nothing_give_a_coins():
    assert floor_of(0.5) == {0: pytest.approx(0.5, abs=0.03)}


def test_it_is_a_plain_regression_of_validation_people_judged_on_those_of_training():
    splits = splits_of(0.1)
    learnt, asked = (splits[name].targets.numpy() for name in ("validation", "train"))
    reader = LogisticRegression(class_weight="balanced").fit(learnt[:, 1:], learnt[:, 0])
    plain = balanced_accuracy_score(asked[:, 0], reader.predict(asked[:, 1:]))
    assert floor_of(0.1) == {0: pytest.approx(plain, abs=1e-3)}


def test_what_is_not_known_tells_nothing():
    def nobody_knows(images, random):
        known = torch.ones(images, 3, dtype=torch.bool)
        known[:, 1] = False
        return known

    assert floor_of(0.0, known=nobody_knows) == {0: pytest.approx(0.5, abs=0.03)}
    assert floor_of(0.0) == {0: 1.0}


def test_an_unknown_target_is_not_asked_about():
    def half(images, random):
        known = torch.ones(images, 3, dtype=torch.bool)
        known[:, 0] = torch.from_numpy(random.random(images) < 0.5)
        return known

    assert floor_of(0.1, known=half) == {0: pytest.approx(0.9, abs=0.02)}
    assert floor_of(0.1, known=lambda images, _: torch.zeros(images, 3, dtype=torch.bool)) == {}


def test_classes_and_a_request_for_everything_have_none():
    splits = splits_of(0.0)
    assert floors(SingleLabel(), REQUEST, splits, seed=1) == {}
    assert floors(MultiLabel(), ForgetRequest((0, 1, 2), ()), splits, seed=1) == {}
    assert floors(MultiLabel(), REQUEST, splits, seed=1) != {}


def test_of_many_images_some_are_read(monkeypatch):
    asked = []
    real = floor.told_by_retained

    def counted(task, request, makers, sides, seed):
        asked.extend(len(side) for side in sides)
        return real(task, request, makers, sides, seed)

    monkeypatch.setattr(floor, "told_by_retained", counted)
    start = time.process_time()
    floor_of(0.1, train=8 * MOST_READ, validation=2 * MOST_READ)
    assert time.process_time() - start < 5
    assert asked == [MOST_READ, MOST_READ]


def test_a_label_is_named_from_the_threshold_on():
    found = {0: NEARLY_TOLD, 1: NEARLY_TOLD - 0.001, 2: 0.974}
    lines = floor_lines(NAMES, found)
    assert [line.split(":")[0] for line in lines] == ["Male", "Young"]
    assert lines[1] == (
        "Young: the retained labels alone tell it to 0.97 of balanced accuracy: nothing below that "
        "can be had without losing them"
    )


@pytest.mark.parametrize(("threshold", "said"), [(0.5, True), (NEARLY_TOLD, False)])
def test_a_run_says_it_before_it_trains(threshold, said, experiment, monkeypatch, caplog):
    """The faces' labels tell Male to about 0.8: with the threshold as it is, nothing is said."""
    monkeypatch.setattr(floor, "NEARLY_TOLD", threshold)
    monkeypatch.setattr(pipeline, "models_of", lambda context: 1 / 0)
    with caplog.at_level(logging.INFO), pytest.raises(ZeroDivisionError):
        pipeline.run(experiment())
    assert ("Male: the retained labels alone tell it to" in caplog.text) == said


def test_a_run_on_classes_says_nothing(experiment, monkeypatch, caplog):
    monkeypatch.setattr(floor, "NEARLY_TOLD", 0.0)
    monkeypatch.setattr(pipeline, "models_of", lambda context: 1 / 0)
    with caplog.at_level(logging.INFO), pytest.raises(ZeroDivisionError):
        pipeline.run(experiment(dataset="digits"))
    assert "alone tell it" not in caplog.text
