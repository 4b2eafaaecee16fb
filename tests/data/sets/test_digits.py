import math

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mlu.data.sets import digits as module
from mlu.data.sets.digits import DIGITS, Digits, MultiDigits, paste, tent
from mlu.system.errors import UserError
from mlu.system.store import Store

CANVASES = 4000
SIGMAS = 5  # of a binomial or of a correlation under its law: one in a million and a half
PAIRS = [(a, b) for a in range(10) for b in range(a)]


def single(**fields):
    return Digits(**{"name": "digits", "root": "", "image_size": 8, "labels": DIGITS, **fields})


def multi(root, **fields):
    given = {
        "name": "multidigits",
        "root": root,
        "image_size": 16,
        "labels": DIGITS,
        "images": CANVASES,
        **fields,
    }
    return MultiDigits(**given)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("canvases")


def sources_of(dataset):
    """Numbers of the handwritten images on each canvas, as the build kept them; -1 where a digit is
    absent."""
    return np.load(
        Store(dataset.root).get("multidigits", dataset.key(), dataset.build).folder / "sources.npy"
    )


def sorted_rows(images, classes):
    return sorted(map(tuple, np.column_stack([images.reshape(len(images), -1), classes]).tolist()))


def test_digits_equal_sklearns():
    data, theirs = single().load(), load_digits()
    grey = data.images[np.arange(1797)]
    assert (data.task, data.labels, grey.dtype, data.targets.dtype) == (
        "singlelabel",
        DIGITS,
        np.uint8,
        np.uint8,
    )
    np.testing.assert_array_equal(grey[:, 0], grey[:, 1])
    np.testing.assert_array_equal(grey[:, 0], grey[:, 2])
    expected = np.floor(theirs.images / 16 * 255 + 0.5).astype(int)
    assert sorted_rows(grey[:, 0].astype(int), data.targets.argmax(1)) == sorted_rows(
        expected, theirs.target
    )
    np.testing.assert_array_equal(data.targets.sum(0), np.bincount(theirs.target))
    np.testing.assert_array_equal(data.targets.sum(1), 1)
    assert data.identities is None
    assert data.split is None


def test_digits_are_enlarged_as_pillow_does():
    small, large = single(images=50).load().images, single(images=50, image_size=32).load().images
    for row in range(50):
        exact = Image.fromarray(small[row, 0].astype(np.float32))
        expected = np.asarray(exact.resize((32, 32), Image.Resampling.BILINEAR))
        assert (
            np.abs(large[row, 0] - expected).max() <= 1
        )  # each side is rounded once, by half a level


def test_a_subset_of_classes_keeps_only_their_images():
    data = single(labels=("7", "1")).load()
    counts = np.bincount(load_digits().target)
    np.testing.assert_array_equal(data.targets.sum(0), counts[[7, 1]])
    np.testing.assert_array_equal(data.targets.sum(1), 1)
    assert data.labels == ("7", "1")


def test_fewer_digits_are_the_front_of_all():
    few, whole = single(images=100).load(), single().load()
    np.testing.assert_array_equal(few.images[np.arange(100)], whole.images[np.arange(100)])
    np.testing.assert_array_equal(few.targets, whole.targets[:100])
    assert few.fingerprint != whole.fingerprint


def test_digits_repeat_with_the_seed():
    one, two, other = single().load(), single().load(), single(seed=1).load()
    np.testing.assert_array_equal(one.images[np.arange(99)], two.images[np.arange(99)])
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert not np.array_equal(one.targets, other.targets)


def test_labels_say_which_digits_are_on_the_canvas(root):
    data, sources = multi(root).load(), sources_of(multi(root))
    target = load_digits().target
    np.testing.assert_array_equal(data.targets, sources >= 0)
    for digit in range(10):
        assert set(target[sources[:, digit][sources[:, digit] >= 0]]) == {digit}


def test_no_handwritten_image_is_in_two_splits(root):
    data, sources = multi(root).load(), sources_of(multi(root))
    np.testing.assert_array_equal(
        np.bincount(data.split), [0.65 * CANVASES, 0.25 * CANVASES, 0.1 * CANVASES]
    )
    used = [set(sources[data.split == part].ravel()) - {-1} for part in range(3)]
    assert used[0].isdisjoint(used[1] | used[2])
    assert used[1].isdisjoint(used[2])
    # Of each class a split holds its share of the images, to within one.
    target = load_digits().target
    for digit, count in enumerate(np.bincount(target)):
        shares = [sum(target[source] == digit for source in part) for part in used]
        for share, part in zip(shares, (0.65, 0.25, 0.1), strict=True):
            assert share <= part * count + 1


def phi(table, first, second):
    return np.corrcoef(table[:, first], table[:, second])[0, 1]


@pytest.mark.parametrize(
    ("correlation", "prevalence"), [(0.5, 0.3), (-0.4, 0.3), (0.0, 0.5), (-0.25, 0.8), (1.0, 0.3)]
)
def test_the_pair_has_its_phi_and_every_label_its_prevalence(correlation, prevalence):
    n = 40_000
    table = module.draw_labels(np.random.default_rng(3), n, prevalence, (3, 8), correlation)
    spread = math.sqrt(prevalence * (1 - prevalence) / n)
    assert np.abs(table.mean(0) - prevalence).max() <= SIGMAS * spread
    # Large-sample variance of a phi coefficient (Yule 1912), here for two labels of the same
    # prevalence.
    tilt = (1 - 2 * prevalence) ** 2 / (prevalence * (1 - prevalence))
    variance = 1 - correlation**2 + tilt * correlation * (1 - correlation) * (1 - correlation / 2)
    assert abs(phi(table, 3, 8) - correlation) <= SIGMAS * math.sqrt(variance / n) + 1e-12
    for a, b in PAIRS:
        if (a, b) != (8, 3):
            assert abs(phi(table, a, b)) <= SIGMAS / math.sqrt(n)


def test_the_correlated_pair_can_be_chosen(root):
    targets = multi(root, correlated=["0", "5"], correlation=0.9, images=2000).load().targets
    assert phi(targets, 0, 5) > 0.8 > 0.2 > abs(phi(targets, 3, 8))


def test_pasting_equals_pillows_affine_sampling():
    glyph = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    top, left, height, size = 3.3, 7.8, 16.5, 32
    ours = paste(glyph[None], np.array([top]), np.array([left]), np.array([height]), size)[0]
    framed = Image.fromarray(np.pad(glyph, 2))
    step = 8 / height
    to_glyph = (step, 0, 2 - left * step, 0, step, 2 - top * step)
    theirs = framed.transform(
        (size, size), Image.Transform.AFFINE, to_glyph, Image.Resampling.BILINEAR
    )
    inside = np.s_[int(top) + 1 : int(top + height) - 1, int(left) + 1 : int(left + height) - 1]
    np.testing.assert_allclose(ours[inside], np.asarray(theirs)[inside], atol=1e-5)
    assert ours[: int(top) - 2].max() == 0
    assert ours[:, int(left + height) + 3 :].max() == 0


@pytest.mark.parametrize(("source", "target"), [(8, 32), (8, 9), (8, 8)])
def test_bilinear_weights_keep_constants_and_ramps(source, target):
    weights = tent(source, target, inside=True)
    np.testing.assert_allclose(weights.sum(1), 1)
    centres = ((np.arange(target) + 0.5) * source / target - 0.5).clip(0, source - 1)
    np.testing.assert_allclose(weights @ np.arange(source), centres)


def test_every_present_digit_brightens_its_canvas():
    # On empty paper nothing is brighter than the paper and six times the noise; every digit's
    # stroke is.
    glyphs, _ = module.handwriting()
    sources = np.full((30, 10), -1, dtype=np.int16)
    sources[np.arange(10, 30), np.arange(20) % 10] = np.arange(20)
    ((_, canvases),) = module.paint(np.random.default_rng(0), glyphs, sources, 48)
    brightest = canvases.max((1, 2, 3)) / 255
    assert (brightest[:10] < module.BACKGROUND[1] + 6 * module.PIXEL_NOISE).all()
    assert (brightest[10:] > module.BACKGROUND[1] + 6 * module.PIXEL_NOISE).all()


def test_canvases_repeat_with_the_seed_and_are_drawn_once(tmp_path, monkeypatch):
    one = multi(tmp_path / "a", images=300).load()
    two = multi(tmp_path / "b", images=300).load()
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.split, two.split)
    other = multi(tmp_path / "a", images=300, seed=1).load()
    assert not np.array_equal(one.images, other.images)
    assert one.fingerprint == two.fingerprint != other.fingerprint
    monkeypatch.setattr(module, "paint", None)
    again = multi(tmp_path / "a", images=300).load()
    np.testing.assert_array_equal(one.images, again.images)
    assert isinstance(again.images, np.memmap)
    assert again.images[np.array([5, 2])].shape == (2, 3, 16, 16)


def test_a_subset_of_labels_is_a_choice_of_columns(tmp_path):
    whole, part = (
        multi(tmp_path, images=300).load(),
        multi(tmp_path, images=300, labels=["8", "0"]).load(),
    )
    np.testing.assert_array_equal(part.targets, whole.targets[:, [8, 0]])
    np.testing.assert_array_equal(part.images, whole.images)
    assert part.fingerprint != whole.fingerprint
    assert len(list(tmp_path.rglob("images.npy"))) == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"images": 1798}, ["1798", "1,797"]),
        ({"images": 0}, ["at least 1", "got 0"]),
        ({"images": 500, "labels": ("0", "1")}, ["500", "360"]),
        ({"image_size": 7}, ["image_size", "got 7"]),
        ({"labels": ("0", "truck")}, ["'truck'", "0 to 9"]),
        ({"labels": ("4", "4")}, ["labels", "['4', '4']"]),
        ({"labels": ("4",)}, ["labels", "['4']"]),
    ],
)
def test_wrong_fields_of_digits_are_named(fields, says):
    with pytest.raises(UserError) as error:
        single(**fields).load()
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in says), error.value


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"images": 0}, ["images", "got 0"]),
        ({"image_size": 4}, ["image_size", "got 4"]),
        ({"labels": ("0", "A")}, ["'A'"]),
        ({"prevalence": 0.0}, ["prevalence", "0.0"]),
        ({"prevalence": 1}, ["prevalence", "1"]),
        ({"correlation": 1.1}, ["1.1", "-0.429"]),
        ({"correlation": -0.5}, ["-0.5", "-0.429"]),
        ({"correlated": ("3", "3")}, ["correlated"]),
        ({"correlated": ("3",)}, ["correlated"]),
        ({"correlated": ("3", "8", "9")}, ["correlated"]),
        ({"correlated": ("3", "x")}, ["correlated", "'x'"]),
    ],
)
def test_wrong_fields_of_multidigits_are_named(tmp_path, fields, says):
    with pytest.raises(UserError) as error:
        multi(tmp_path, **fields).load()
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in says), error.value
