"""People: their labels follow the copula, and nothing else follows their labels."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from mlu.data.labels import PAPER
from mlu.data.sets.faces.people import label_statistics, labels_from_normals
from mlu.data.sets.faces.traits import PALETTES, SCENE_TRAITS
from tests.support.drawn_faces import cast_of

PEOPLE = 40_000


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
        if trait in (*SCENE_TRAITS, *PALETTES):
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
