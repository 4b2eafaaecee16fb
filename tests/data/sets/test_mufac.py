import shutil

import numpy as np
import pytest

from mlu.data.divided import ImageData
from mlu.data.sets.mufac import MUFAC
from mlu.data.split import partition
from mlu.system.errors import UserError
from tests.support.mufac_folder import FOLDER, LETTERS, mufac_facts, write_mufac
from tests.support.reading import edit, put, refusal, refusal_to_train, warnings_of

EIGHT = ("0-6", "7-12", "13-19", "20-30", "31-45", "46-55", "56-66", "67-80")
FIVE = ("0-6", "13-19", "20-30", "31-45", "46-55")
TRAIN, VAL = "custom_train_dataset.csv", "custom_val_dataset.csv"
FACTS = mufac_facts()
IMAGES = len(FACTS)


@pytest.fixture
def root(tmp_path):
    return write_mufac(tmp_path / "gesichter-ä")


@pytest.fixture
def folder(root):
    return root / FOLDER


def mufac(root, labels=EIGHT, **fields):
    own = {
        "name": "mufac",
        "root": root,
        "image_size": 8,
        "labels": labels,
        "prepared": root / "prepared",
    }
    return MUFAC(**{**own, **fields})


def path_of(one):
    return f"{one.part}_images/{one.name}"


def same_person(data):
    """For each two images, whether the identities say they are one person's, shape (images,
    images)."""
    return data.identities[:, None] == data.identities[None]


def test_reads_what_was_written(root, caplog):
    data = mufac(root).load()
    assert (data.name, data.task, data.labels) == ("mufac", "singlelabel", EIGHT)
    assert list(data.paths) == [path_of(one) for one in FACTS]
    assert data.targets.dtype == np.uint8
    for one, targets in zip(FACTS, data.targets, strict=True):
        assert targets.tolist() == [int(letter == one.letter) for letter in LETTERS]
    assert data.known is None
    assert data.split is None
    assert not warnings_of(caplog)
    pixels = data.images[np.arange(IMAGES)]
    np.testing.assert_allclose(pixels[:, 0].mean((1, 2)), np.arange(IMAGES) * 2, atol=4)


@pytest.mark.parametrize("labels", [EIGHT, FIVE])
def test_a_person_is_a_family_and_a_letter(root, labels):
    data = mufac(root, labels).load()
    people = [
        (one.family, one.person) for one in FACTS if EIGHT[LETTERS.index(one.letter)] in labels
    ]
    np.testing.assert_array_equal(
        same_person(data), [[one == other for other in people] for one in people]
    )


def test_the_papers_five_groups_leave_out_the_others_and_say_so(root, caplog):
    data = mufac(root, FIVE).load()
    kept = [one for one in FACTS if one.letter in "acdef"]
    assert 0 < len(kept) < IMAGES
    assert list(data.paths) == [path_of(one) for one in kept]
    np.testing.assert_array_equal(
        data.targets.argmax(1), ["acdef".index(one.letter) for one in kept]
    )
    assert (data.targets.sum(1) == 1).all()
    left_out, not_in_files = warnings_of(caplog)
    assert f"{IMAGES - len(kept)} of the {IMAGES} images" in left_out
    assert all(group in not_in_files for group in ("13-16", "46-60", "13-19", "46-55"))


def test_labels_keep_their_order(root):
    eight, turned = mufac(root).load(), mufac(root, EIGHT[::-1]).load()
    np.testing.assert_array_equal(eight.targets[:, ::-1], turned.targets)


def test_the_letter_of_the_name_counts_and_not_the_age(root):
    assert "_57_" in FACTS[0].name
    assert FACTS[0].letter != "g"  # 56-66
    data = mufac(root).load()
    assert data.labels[data.targets[0].argmax()] == EIGHT[LETTERS.index(FACTS[0].letter)]


def test_a_number_as_age_class_says_nothing_against_the_letter(root, folder):
    before = mufac(root).load().fingerprint
    for row, age in enumerate(("57", "", "1")):
        edit(folder / TRAIN, put(row, "age_class", age))
    assert mufac(root).load().fingerprint == before


def test_rows_are_joined_by_name_not_by_position(root, folder):
    before = mufac(root).load()
    edit(folder / TRAIN, lambda lines: lines.__setitem__(slice(1, None), lines[:0:-1]))
    after = mufac(root).load()
    place = [list(after.paths).index(path) for path in before.paths]
    np.testing.assert_array_equal(before.targets, after.targets[place])
    np.testing.assert_array_equal(same_person(before), same_person(after)[np.ix_(place, place)])
    pixels = after.images[np.array(place)]
    np.testing.assert_array_equal(before.images[np.arange(IMAGES)], pixels)


def test_columns_may_stand_in_any_order_and_lines_end_as_in_windows(root, folder):
    before = mufac(root).load().fingerprint
    for part in ("train", "val", "test"):
        file = folder / f"custom_{part}_dataset.csv"
        lines = [",".join(line.split(",")[::-1]) for line in file.read_text().splitlines()]
        file.write_bytes("\r\n".join([*lines, ""]).encode("utf-8-sig"))
    assert mufac(root).load().fingerprint == before


def test_root_may_be_the_folder_itself(root, folder):
    assert mufac(root).load().fingerprint == mufac(folder).load().fingerprint


def test_the_papers_split_pools_all_three_and_parts_the_people(root):
    data = mufac(root).load()
    first_parts = set()
    for seed in range(8):
        splits = partition(data, seed)
        people = [set(split.identities.tolist()) for split in splits.values()]
        assert all(people)
        assert sum(map(len, people)) == len(set.union(*people))
        assert sum(len(split) for split in splits.values()) == IMAGES
        first_parts |= {FACTS[row].part for row in splits["train"].rows}
    assert first_parts == {"train", "val", "test"}


def test_the_official_split_is_that_of_the_files(root):
    data = mufac(root, split="official").load()
    for number, (name, part) in enumerate(
        [("train", "train"), ("validation", "val"), ("test", "test")]
    ):
        rows = partition(data, 0)[name].rows
        np.testing.assert_array_equal(rows, np.flatnonzero(data.split == number))
        assert rows.tolist() == [row for row, one in enumerate(FACTS) if one.part == part]


def copy(folder, one, other):
    """Give one image the bytes of another."""
    shutil.copyfile(folder / path_of(one), folder / path_of(other))


def test_copies_in_another_part_are_counted(root, folder, caplog):
    train, val, test = (
        next(one for one in FACTS if one.part == part) for part in ("train", "val", "test")
    )
    copy(folder, train, val)
    copy(folder, train, test)
    copy(folder, FACTS[4], FACTS[8])  # of one part: no matter
    mufac(root, split="official").load()
    (message,) = warnings_of(caplog)
    assert f"3 of the {IMAGES} images" in message
    assert "another part" in message
    assert path_of(train) in message


def test_copies_of_another_person_are_counted_for_the_papers_split(root, folder, caplog):
    copy(folder, FACTS[0], FACTS[1])  # of one person: no matter
    mufac(root).load()
    assert not warnings_of(caplog)
    copy(folder, FACTS[0], FACTS[4])
    mufac(root).load()
    (message,) = warnings_of(caplog)
    assert f"3 of the {IMAGES} images" in message
    assert "another person" in message
    assert path_of(FACTS[0]) in message


NAME = FACTS[3].name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(3, "age_class", "z"), [NAME, "'z'", f"'{FACTS[3].letter}'"]),
        (put(3, "image_path", "F0001_AGE_F_57_z1.jpg"), ["F0001_AGE_F_57_z1.jpg", "from a to h"]),
        (put(3, "image_path", "F0001.jpg"), ["F0001.jpg", "F0001_AGE_D_18_a1.jpg"]),
        (put(3, "image_path", f"../{NAME}"), [f"../{NAME}"]),
        (put(3, "image_path", f"/{NAME}"), [f"/{NAME}"]),
        (put(3, "image_path", f"..\\{NAME}"), [f"..\\{NAME}"]),
        (put(3, "image_path", ""), ["image_path"]),
        (put(3, "family_id", ""), [NAME, "family_id", "''"]),
        (put(3, "person_id", ""), [NAME, "person_id", "''"]),
        (lambda lines: lines.append(lines[4]), [NAME, "twice"]),
        (lambda lines: lines.__setitem__(0, lines[0].replace("age_class", "age")), ["'age_class'"]),
        (lambda lines: lines.__setitem__(4, lines[4] + ",1"), ["4", "5"]),
        (lambda lines: lines.clear(), []),
    ],
)
def test_a_malformed_table_is_named_with_row_and_value(root, folder, change, says):
    edit(folder / TRAIN, change)
    message = refusal(mufac(root))
    assert all(word in message for word in (str(folder / TRAIN), *says)), message


def test_the_class_of_every_image_must_agree_with_its_column(root, folder):
    wrong = LETTERS[(LETTERS.index(FACTS[3].letter) + 1) % 8]
    edit(folder / TRAIN, put(3, "age_class", wrong))
    message = refusal(mufac(root))
    assert all(word in message for word in (TRAIN, NAME, f"'{wrong}'", f"'{FACTS[3].letter}'")), (
        message
    )


@pytest.mark.parametrize("split", ["paper", "official"])
def test_a_missing_table_is_named(root, folder, split):
    (folder / VAL).unlink()
    message = refusal(mufac(root, split=split))
    assert str(folder / VAL) in message
    assert "MUFAC" in message


def test_a_missing_folder_says_what_is_expected_where(tmp_path):
    message = refusal(mufac(tmp_path / "nowhere"))
    assert all(
        word in message for word in (str(tmp_path / "nowhere" / FOLDER), TRAIN, "dataset.root=")
    ), message


def test_missing_images_are_counted_and_one_is_named(root, folder):
    for row in (4, 5):
        (folder / path_of(FACTS[row])).unlink()
    message = refusal_to_train(mufac(root))
    assert f"2 of the {IMAGES}" in message
    assert path_of(FACTS[4]) in message


@pytest.mark.parametrize(("label", "nearest"), [("13-16", "13-19"), ("31-44", "31-45")])
def test_an_unknown_class_is_named_with_the_nearest(root, label, nearest):
    message = refusal(mufac(root, ["0-6", label]))
    assert repr(label) in message
    assert f"did you mean {nearest!r}?" in message


def test_a_truncated_image_is_named_when_its_row_is_read(root, folder):
    file = folder / path_of(FACTS[5])
    file.write_bytes(file.read_bytes()[:-200])
    images = mufac(root).load().images
    with pytest.raises(UserError, match=FACTS[5].name):
        images[np.arange(8)]
    assert images[np.array([4, 6])].shape == (2, 3, 8, 8)


def test_an_empty_split_is_named(root, folder):
    edit(folder / VAL, lambda lines: lines.__delitem__(slice(1, None)))
    with pytest.raises(UserError, match="validation split of mufac has 0 images"):
        ImageData(mufac(root, split="official").load(), seed=0, batch_size=4)


def test_the_fingerprint_follows_the_content(root, folder):
    prints = {mufac(root).load().fingerprint, mufac(root, split="official").load().fingerprint}
    prints.add(mufac(root, FIVE).load().fingerprint)
    assert mufac(root).load().fingerprint in prints
    edit(folder / TRAIN, put(0, "person_id", "M"))  # another person
    prints.add(mufac(root).load().fingerprint)
    image = folder / path_of(FACTS[0])
    image.write_bytes(image.read_bytes() + b"x")
    prints.add(mufac(root).load().fingerprint)
    assert len(prints) == 5
