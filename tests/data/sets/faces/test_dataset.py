"""Drawn faces: the labels follow the copula, the pixels follow the labels, and one seed gives one
set of bytes."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from mlu.data.labels import PAPER
from mlu.data.sets.faces import dataset as synthetic
from mlu.data.sets.faces import drawing, preview, traits
from mlu.data.sets.faces.dataset import Faces
from mlu.data.sets.faces.drawing import looks_of, render
from mlu.data.sets.faces.people import Cast, cast, label_statistics, labels_from_normals
from mlu.data.sets.faces.traits import CUES, Looks
from mlu.system.errors import UserError

PEOPLE = 40_000


@pytest.fixture
def faces(tmp_path):
    return Faces(name="faces", root=tmp_path, image_size=32, labels=PAPER, images=60)


def cast_of(faces: Faces) -> Cast:
    return cast(faces.images, faces.seed, faces.images_per_identity, faces.correlation)


def look(people: Cast, labels: np.ndarray) -> Looks:
    """Looks of the first images, had their people these labels and nothing else changed."""
    rows, person = slice(len(labels)), people.identities[: len(labels)]
    return looks_of(
        labels,
        people.cues[person],
        people.persons[person],
        people.scenes[rows],
        people.palettes[rows],
    )


def labels_of_people(correlation: float) -> np.ndarray:
    normals = np.random.default_rng(0).standard_normal((PEOPLE, len(PAPER)))
    return labels_from_normals(normals, correlation).astype(float)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_labels_are_as_common_as_on_celeba_hq(correlation):
    prevalence, _ = label_statistics()
    error = np.sqrt(prevalence * (1 - prevalence) / PEOPLE)
    assert (np.abs(labels_of_people(correlation).mean(axis=0) - prevalence) < 4 * error).all()


def test_images_keep_the_prevalence_of_their_people(faces):
    # People, not images, are the sample: a mean over clusters of uneven size has a variance of
    # sum(size^2) / N^2.
    many = cast_of(dataclasses.replace(faces, images=20_000))
    prevalence, _ = label_statistics()
    sizes = np.bincount(many.identities)
    error = np.sqrt(prevalence * (1 - prevalence) * (sizes**2).sum()) / sizes.sum()
    assert (np.abs(many.labels[many.identities].mean(axis=0) - prevalence) < 4 * error).all()


@pytest.mark.parametrize("correlation", [0.5, 1.0])
def test_pairs_of_labels_follow_the_bivariate_normal(correlation):
    prevalence, latent = label_statistics()
    labels = labels_of_people(correlation)
    for i, j in itertools.combinations(range(len(PAPER)), 2):
        rho = correlation * latent[i, j]
        both = multivariate_normal(cov=[[1, rho], [rho, 1]]).cdf(norm.ppf(prevalence[[i, j]]))
        error = math.sqrt(both * (1 - both) / PEOPLE)
        assert abs((labels[:, i] * labels[:, j]).mean() - both) < 4.5 * error + 1e-4, (
            PAPER[i],
            PAPER[j],
        )


def test_correlation_0_gives_independent_labels():
    phi = np.corrcoef(labels_of_people(0.0), rowvar=False)
    assert np.abs(phi[~np.eye(len(PAPER), dtype=bool)]).max() < 4.5 / math.sqrt(PEOPLE)


def test_the_statistics_are_those_of_a_covariance():
    prevalence, latent = label_statistics()
    assert ((prevalence > 0) & (prevalence < 1)).all()
    np.testing.assert_array_equal(latent, latent.T)
    np.testing.assert_array_equal(latent.diagonal(), 1)
    assert np.linalg.eigvalsh(latent).min() > -1e-2


@pytest.mark.parametrize("mean", [1, 4])
def test_people_have_about_as_many_images_as_asked_for(faces, mean):
    sizes = np.bincount(
        cast_of(dataclasses.replace(faces, images=20_000, images_per_identity=mean)).identities
    )[:-1]
    assert sizes.min() == 1
    assert abs(sizes.mean() - mean) <= 4 * math.sqrt((mean - 1) / len(sizes))


def test_images_of_a_person_share_labels_and_lasting_traits_but_no_scene(faces):
    people = cast_of(faces)
    drawn = people.rows(slice(None))
    twins = np.flatnonzero(np.diff(people.identities) == 0)
    assert len(twins) > 10
    for trait, values in drawn.items():
        same = (values[twins] == values[twins + 1]).flatten()
        if trait in (*traits.SCENE, *traits.PALETTES):
            assert not same.any(), trait
        else:
            assert same.all(), trait


def test_people_differ_in_traits_that_have_no_label(faces):
    people = cast_of(dataclasses.replace(faces, images=40_000, images_per_identity=1))
    labels = people.labels.astype(float)
    for normals in (people.persons, people.scenes, people.palettes.reshape(len(labels), -1)):
        with_labels = np.corrcoef(normals, labels, rowvar=False)[
            : normals.shape[1], normals.shape[1] :
        ]
        assert np.abs(with_labels).max() < 5 / math.sqrt(len(labels))


def test_no_single_cue_tells_male():
    cues = {trait: cue for trait, cue in CUES.items() if cue.label == "Male"}
    apart = {trait: abs(cue.with_ - cue.without) / cue.spread for trait, cue in cues.items()}
    together = norm.sf(math.hypot(*apart.values()) / 2)
    # The best single cue errs many times as often as all of them together, and even these err.
    assert min(norm.sf(distance / 2) for distance in apart.values()) > 10 * together > 0


@pytest.mark.parametrize("label", PAPER)
@pytest.mark.parametrize(("size", "least"), [(16, 0.02), (64, 0.08)])
def test_each_label_shows(faces, label, size, least):
    people = cast_of(faces)
    labels = people.labels[people.identities[:24]]
    flipped = labels.copy()
    flipped[:, PAPER.index(label)] ^= 1
    before, after = (render(look(people, each), size).clamp(0, 1) for each in (labels, flipped))
    change = (after - before).abs().amax(dim=(1, 2, 3))
    assert (change > least).float().mean() > 0.9


def test_labels_change_only_their_own_cues(faces):
    people = cast_of(faces)
    labels = people.labels[people.identities[:24]]
    before = look(people, labels)
    for column, label in enumerate(PAPER):
        flipped = labels.copy()
        flipped[:, column] ^= 1
        after = look(people, flipped)
        changed = {trait for trait in CUES if not torch.equal(before[trait], after[trait])}
        assert changed == {trait for trait, cue in CUES.items() if cue.label == label}
        assert all(
            torch.equal(before[trait], after[trait]) for trait in (*traits.PERSON, *traits.SCENE)
        )


def test_every_scene_keeps_the_face_on_the_image(faces):
    drawn = cast_of(dataclasses.replace(faces, images=5_000)).rows(slice(None))
    sheet = drawing.lay_out(
        {trait: value[:, None, None] for trait, value in drawn.items() if value.ndim == 1}, 16
    )
    border = torch.stack(
        [sheet.head[:, 0].amin(1), sheet.head[:, :, 0].amin(1), sheet.head[:, :, -1].amin(1)]
    )
    assert (border > 1).all()


def test_pictures_are_finite_and_neither_black_nor_white(faces):
    pictures = render(cast_of(dataclasses.replace(faces, images=500)).rows(slice(None)), 24)
    assert pictures.shape == (500, 3, 24, 24)
    assert pictures.isfinite().all()
    assert ((pictures < 0) | (pictures > 1)).float().mean() < 0.05
    assert (pictures.std(dim=(1, 2, 3)) > 0.05).all()


def test_noise_has_the_deviation_asked_for():
    flat = torch.full((20, 3, 32, 32), 0.5)
    noisy = drawing.noisy_bytes(flat, 0.05, seed=(0, 0))
    assert noisy.std() / 255 == pytest.approx(0.05, rel=0.02)
    assert noisy.mean() / 255 == pytest.approx(0.5, abs=0.002)


def test_load_gives_uint8_images_and_the_chosen_labels(faces):
    data = faces.load()
    assert data.images[np.arange(5)].shape == (5, 3, 32, 32)
    assert data.images[np.arange(5)].dtype == data.targets.dtype == np.uint8
    assert data.targets.shape == (60, 10)
    assert data.identities.shape == (60,)
    some = dataclasses.replace(faces, labels=["Young", "Male"]).load()
    np.testing.assert_array_equal(
        some.targets, data.targets[:, [PAPER.index("Young"), PAPER.index("Male")]]
    )
    assert some.labels == ("Young", "Male")
    assert some.fingerprint != data.fingerprint


def test_one_seed_gives_one_set_of_bytes(faces, tmp_path):
    one, same, other = (
        dataclasses.replace(faces, root=tmp_path / root, seed=seed).load()
        for root, seed in (("one", 7), ("same", 7), ("other", 8))
    )
    np.testing.assert_array_equal(one.images, same.images)
    np.testing.assert_array_equal(one.targets, same.targets)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert (one.images != other.images).mean() > 0.5


def test_fewer_images_are_the_first_of_more(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "PIXELS_AT_ONCE", 16 * 32**2)
    few, more = (
        dataclasses.replace(faces, images=images, root=tmp_path / str(images)).load()
        for images in (39, 60)
    )
    np.testing.assert_array_equal(few.images, more.images[:39])
    np.testing.assert_array_equal(few.targets, more.targets[:39])
    np.testing.assert_array_equal(few.identities, more.identities[:39])


def test_only_a_chunk_is_in_float_at_a_time(faces, monkeypatch):
    monkeypatch.setattr(synthetic, "PIXELS_AT_ONCE", 16 * 32**2)
    sizes = []
    monkeypatch.setattr(
        synthetic,
        "render",
        lambda looks, size: sizes.append(len(looks["x"])) or render(looks, size),
    )
    faces.load()
    assert sizes == [16, 16, 16, 12]


def test_the_number_of_threads_does_not_matter_and_is_left_alone(faces, tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        three = dataclasses.replace(faces, root=tmp_path / "three").load()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(three.images, faces.load().images)


def test_what_was_drawn_is_found_again(faces, monkeypatch):
    first = faces.load()
    monkeypatch.setattr(synthetic, "render", lambda looks, size: pytest.fail("drawn again"))
    again = dataclasses.replace(faces, labels=PAPER[:3]).load()
    np.testing.assert_array_equal(first.images, again.images)


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("labels", ["Male", "Blad"], "did you mean 'Bald'?"),
        ("labels", [], "at least one"),
        ("labels", ["Male", "Male"], "twice"),
        ("image_size", 15, "at least 16"),
        ("images", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("correlation", 1.5, "from 0 to 1"),
        ("correlation", math.nan, "from 0 to 1"),
        ("noise", -0.1, "at least 0"),
        ("images_per_identity", 0, "at least 1"),
    ],
)
def test_a_field_that_cannot_be_drawn_ends_in_one_line(faces, field, value, hint):
    with pytest.raises(UserError) as fault:
        dataclasses.replace(faces, **{field: value}).load()
    assert hint in str(fault.value)
    assert "\n" not in str(fault.value)


def test_the_preview_is_a_picture(tmp_path):
    sheet = tmp_path / "faces.png"
    assert preview.main(["--preview", str(sheet), "--images", "3", "--image-size", "16"]) == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "wrong", [["--images", "0"], ["--correlation", "2"], ["--preview", "no/such/folder/a.png"]]
)
def test_a_bad_argument_ends_in_one_line(tmp_path, capsys, wrong):
    assert (
        preview.main(["--preview", str(tmp_path / "faces.png"), "--image-size", "16", *wrong]) == 2
    )
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
