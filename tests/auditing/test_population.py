"""Who is asked about what: parts as in a run, concepts by the names of images, numbers by their
median."""

import numpy as np
import pytest
import torch

from mlu.auditing.population import NoImages, population_of
from mlu.data.split import partition
from mlu.models.tasks import ForgetRequest
from mlu.system.errors import UserError
from tests.support.audited import (
    IMAGES,
    LABELS,
    ages,
    inquiry_with,
    truths,
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
    return folder


def asked(place, *words):
    return population_of(inquiry_with(place, f"after={place / 'after.pt'}", *words))


def test_the_parts_are_those_of_the_table(place):
    found = asked(place, MALE)
    rows = {name: split.rows for name, split in found.splits.items()}
    assert list(rows["train"]) == list(range(0, IMAGES, 4))
    assert list(rows["test"]) == list(range(3, IMAGES, 4))
    assert found.audited == ("Male",)
    assert found.columns == found.labels == LABELS
    assert found.asked == found.own == ForgetRequest((0,), (1, 2))
    for split in found.splits.values():
        np.testing.assert_array_equal(split.targets, truths()[split.rows])


def test_without_parts_they_are_drawn_as_a_run_draws_them(place):
    found = asked(place, MALE, "dataset.split_column=null", "split_seed=5")
    expected = partition(found.source, 5)
    for name, split in found.splits.items():
        np.testing.assert_array_equal(split.rows, expected[name].rows)


def test_where_all_is_unseen_nothing_is_trained_on_and_nobody_is_in_both(place):
    found = asked(place, MALE, "dataset.split_column=null", "unseen=all")
    learnt, judged = (found.splits[name] for name in ("validation", "test"))
    assert len(found.splits["train"]) == 0
    assert len(learnt) + len(judged) == IMAGES
    assert 0.65 < len(learnt) / IMAGES < 0.8
    assert not set(learnt.identities) & set(judged.identities)


def test_concepts_and_numbers_are_columns_behind_the_outputs(place):
    found = asked(place, "concept=[Tall]", "numbers=[age]")
    assert found.columns == (*LABELS, "Tall", "age")
    assert found.audited == ("Tall", "age")
    assert (found.asked.retained, found.own.forgotten) == ((0, 1, 2), ())
    learnt = found.splits["validation"]
    median = np.median(ages()[learnt.rows])
    assert found.medians == {"age": median}
    for split in found.splits.values():
        assert split.known.all()
        np.testing.assert_array_equal(split.targets[:, 3], truths()[split.rows, 1])
        np.testing.assert_array_equal(split.targets[:, 4], ages()[split.rows] > median)
    assert found.own_split("test").targets.shape[1] == len(LABELS)
    np.testing.assert_array_equal(found.amounts["age"], ages())


def test_labels_that_are_not_named_are_all_other_columns(place):
    words = ["dataset.labels=null", "concept=[odd,Tall]", "numbers=[age]"]
    with pytest.raises(UserError, match="is neither 1"):
        asked(place, *words)
    table = place / "plain.csv"
    lines = [line.rsplit(",", 1)[0] for line in (place / "labels.csv").read_text().splitlines()]
    table.write_text("\n".join(lines) + "\n")
    found = asked(
        place, "dataset.labels=null", "dataset.table=plain.csv", "concept=Tall", "numbers=age"
    )
    assert found.labels == LABELS


def test_an_empty_cell_of_a_number_is_unknown(place):
    lines = (place / "labels.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    cells[2][6], cells[4][6] = "", "n/a"
    (place / "gaps.csv").write_text("\n".join(map(",".join, cells)) + "\n")
    found = asked(place, "numbers=[age]", "dataset.table=gaps.csv")
    known = torch.cat([split.known[:, 3] for split in found.splits.values()])
    assert int((~known).sum()) == 2
    assert np.isnan(found.amounts["age"]).nonzero()[0].tolist() == [1, 3]


def test_numbers_that_are_all_the_same_have_no_two_sides(place):
    lines = (place / "labels.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    for row in cells[1:]:
        row[6] = "30"
    (place / "same.csv").write_text("\n".join(map(",".join, cells)) + "\n")
    with pytest.raises(UserError, match="no two sides"):
        asked(place, "numbers=[age]", "dataset.table=same.csv")


def test_features_stand_for_images_that_need_not_be_there(place, tmp_path):
    (tmp_path / "labels.csv").write_text((place / "labels.csv").read_text())
    words = [f"features={place / 'good.npz'}", MALE]
    found = population_of(inquiry_with(tmp_path, *words))
    assert isinstance(found.source.images, NoImages)
    assert len(found.source.images) == IMAGES
    with pytest.raises(UserError, match="stand for the images"):
        found.splits["test"][[0]]
