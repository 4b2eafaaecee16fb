import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dct

from mlu.data.base import LabelledImages
from mlu.data.examination import (
    NEAR_BITS,
    equal_groups,
    examine,
    images_by_side,
    label_correlations,
    look_at,
    near_pairs,
    perceptual_hash,
    small_grey,
)
from mlu.data.sets.faces.dataset import Faces
from mlu.data.split import partition
from mlu.system.errors import UserError

IMAGES, SIZE = 300, 64


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    data = Faces(
        name="faces", root=root, image_size=SIZE, images=IMAGES, labels=("Male", "Young")
    ).load()
    return replace(
        data,
        images=np.array(data.images[np.arange(IMAGES)]),
        split=np.arange(IMAGES) % 3,
        identities=None,
    )


def diagnosis(data):
    return examine(data, partition(data, seed=0), look_at(data))


def with_image(data, row, image):
    images = data.images.copy()
    images[row] = image
    return replace(data, images=images)


def jpeg(image, quality):
    """The image after it was saved a little larger, and lossily."""
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).resize((100, 100)).save(
        stream, "JPEG", quality=quality
    )
    return np.asarray(Image.open(stream).resize((SIZE, SIZE), Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )


def test_clean_data_has_nothing_wrong(faces):
    found = diagnosis(faces)
    assert found.faults == found.warnings == []
    assert found.leave_out == {}


def test_the_perceptual_hash_is_a_plain_cosine_transform(faces):
    def plain(image):
        grey = np.tensordot([0.2989, 0.587, 0.114], image / 255, 1)
        small = grey.reshape(32, 2, 32, 2).mean((1, 3))
        np.testing.assert_allclose(small_grey(image[None])[0], small, atol=1e-6)
        low = dct(dct(small, axis=0), axis=1)[:8, :8].ravel()
        return int("".join("1" if value > np.median(low) else "0" for value in low), 2)

    found = perceptual_hash(faces.images[:20])
    assert found.tolist() == [plain(image) for image in faces.images[:20]]
    assert perceptual_hash(faces.images[:0]).shape == (0,)


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_a_resized_and_compressed_copy_in_another_split_is_found(faces, quality):
    found = diagnosis(with_image(faces, 7, jpeg(faces.images[3], quality)))
    assert found.faults == []
    assert found.leave_out == {"near_duplicates": [7 if faces.split[7] > faces.split[3] else 3]}
    assert (
        "1 images of a later split look like one of an earlier split, such as row 3 and row 7"
        in found.warnings[0]
    )


def test_an_exact_copy_in_another_split_is_found_and_one_in_the_same_split_is_none_of_our_business(
    faces,
):
    found = diagnosis(with_image(faces, 8, faces.images[3]))
    assert found.leave_out == {"duplicates": [8]}
    assert "such as row 3 and row 8" in found.warnings[-1]
    within = with_image(faces, 9, faces.images[3])
    within.targets[9] = within.targets[3]
    assert diagnosis(within).leave_out == {}


def test_a_copy_with_other_labels_is_found(faces):
    data = replace(with_image(faces, 9, faces.images[3]), targets=faces.targets.copy())
    data.targets[9] = 1 - data.targets[3]
    assert diagnosis(data).warnings == [
        "1 images occur again with other labels, such as row 3 and row 9"
    ]


class Broken:
    """Images of which some cannot be read."""

    def __init__(self, images, rows):
        self.images, self.rows = images, rows

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        for row in rows:
            if row in self.rows:
                raise UserError(f"cannot read the image {row}")
        return self.images[rows]


def test_unreadable_images_are_listed_and_the_others_still_looked_at(faces):
    copied = with_image(faces, 8, faces.images[3])
    data = replace(
        copied, images=Broken(copied.images, {0, 100, 299}), unreadable={100: "known before"}
    )
    scan = look_at(data)
    assert scan.unreadable == {
        0: "cannot read the image 0",
        100: "known before",
        299: "cannot read the image 299",
    }
    found = examine(data, partition(data, seed=0), scan)
    assert found.faults == ["3 images cannot be read"]
    assert found.leave_out == {"duplicates": [8]}


def test_people_in_two_splits_are_a_fault(faces):
    own = np.where(np.arange(IMAGES) < 10, 5, 1000 + np.arange(IMAGES))
    faults = diagnosis(replace(faces, identities=own)).faults
    assert len(faults) == 3
    assert faults[0].startswith("1 people are both in train and in validation, such as number 5")
    apart = replace(faces, identities=faces.split * 1000 + np.arange(IMAGES) // 6)
    assert diagnosis(apart).faults == []


def test_labels_that_do_not_vary_are_a_fault_and_rare_ones_a_warning(faces):
    data = replace(faces, targets=faces.targets.copy(), known=np.ones(faces.targets.shape, bool))
    data.targets[:, 0] = np.isin(np.arange(IMAGES), [*range(90), 92])  # 92 % 3 == 2: the test split
    data.targets[faces.split == 2, 1] = 1
    found = diagnosis(data)
    assert found.faults == [
        "Young: test has 100 images with it, 0 without: leave the label out of dataset.labels"
    ]
    assert found.warnings == []
    data.targets[90:, 0] = 0
    data.targets[:90, 0] = np.arange(90) < 12
    assert diagnosis(data).warnings == [
        f"Male: {name} has 4 images with it, 96 without: too few to say much"
        for name in ("train", "validation", "test")
    ]
    # What is not known does not count on either side.
    data.known[12:, 0] = False
    assert (
        "Male: test has 4 images with it, 0 without: leave the label out of dataset.labels"
        in diagnosis(data).faults
    )


def test_people_of_each_side_are_counted_with_their_known_images(faces):
    data = replace(
        faces,
        targets=faces.targets.copy(),
        known=np.ones(faces.targets.shape, bool),
        identities=faces.split * 1000 + np.arange(IMAGES) // 30,
    )
    test = faces.split == 2
    data.targets[test, 0] = np.arange(100) < 45
    data.known[np.flatnonzero(test)[95:], 0] = False
    split = partition(data, seed=0)["test"]
    # Ten images of each: the fifth person has both, the last one five of whom nothing is known.
    having, lacking = images_by_side(split, 0)
    assert having.tolist() == [10, 10, 10, 10, 5]
    assert lacking.tolist() == [5, 10, 10, 10, 10, 5]


@given(seed=st.integers(0, 999), close=st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_near_pairs_are_those_of_all_comparisons(seed, close):
    rng = np.random.default_rng(seed)
    look = rng.integers(0, 2**63, 60).astype(np.uint64)
    look[30:] = look[:30]
    for row in range(30, 60):
        for bit in rng.choice(64, close, replace=False):
            look[row] ^= np.uint64(1) << np.uint64(bit)
    content, part, rows = np.arange(60) // 2 * 2, rng.integers(0, 3, 60), rng.permutation(60)[:50]
    expected = sorted(
        (int(one), int(other))
        for one in np.sort(rows)
        for other in np.sort(rows)
        if one < other
        and part[one] != part[other]
        and content[one] != content[other]
        and bin(int(look[one]) ^ int(look[other])).count("1") <= NEAR_BITS
    )
    pairs, complete = near_pairs(look, content, part, rows)
    assert complete
    assert [tuple(pair) for pair in pairs.tolist()] == expected


def test_equal_groups():
    groups = equal_groups(np.array([5, 7, 5, 9, 7, 5, 1]), np.array([0, 1, 2, 3, 4, 6]))
    assert sorted(group.tolist() for group in groups) == [[0, 2], [1, 4]]


def test_correlations_are_those_of_numpy_over_what_is_known():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (200, 4)).astype(np.uint8)
    targets[:, 1] = targets[:, 0] ^ (rng.random(200) < 0.1)
    targets[:, 3] = 1
    known = rng.random((200, 4)) < 0.7
    data = LabelledImages(
        "a",
        "multilabel",
        np.zeros((200, 3, 2, 2), np.uint8),
        targets * known,
        tuple("abcd"),
        "0",
        known,
    )
    found = label_correlations(data)
    for one in range(3):
        for other in range(3):
            both = known[:, one] & known[:, other]
            assert found[one, other] == pytest.approx(
                np.corrcoef(targets[both, one], targets[both, other])[0, 1]
            )
    assert np.isnan(found[3]).all()
