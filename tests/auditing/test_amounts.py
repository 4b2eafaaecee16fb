"""Numbers read from what models show: told where they are, and not where they are shuffled."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from mlu.auditing.amounts import TOO_FEW, amounts_findings, regressors
from mlu.auditing.exhibits import exhibits_of
from mlu.auditing.population import population_of
from tests.support.audited import (
    IMAGES,
    features_of,
    inquiry_with,
    write_archive,
    write_people,
)
from tests.support.photo_folder import write_lines

PLACES = ("outputs", "features")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_people(tmp_path_factory.mktemp("people"))
    shuffled = features_of(3.0)[np.random.default_rng(4).permutation(IMAGES)]
    write_archive(
        folder / "x.npz", retrain=None, retrain_outputs=None, before=None, before_outputs=None,
        baseline=shuffled,
    )  # fmt: skip
    return folder


def figures(place, *words):
    inquiry = inquiry_with(place, f"features={place / 'x.npz'}", "numbers=[age]", *words)
    people = population_of(inquiry)
    exhibits = exhibits_of(inquiry, people)
    return {one.path: one for one in amounts_findings(people, exhibits, 0, 10_000)}


def test_features_with_the_age_tell_it_and_shuffled_ones_do_not(place):
    found = figures(place)
    told = found["unlearned/amount/age/features/r2"]
    assert told.low > 0.3
    assert found["unlearned/amount/age/features/rank_correlation"].low > 0.5
    assert told.chosen["reader"] in ("ridge regression", "trees")
    for name in ("r2", "rank_correlation"):
        control = found[f"random/amount/age/features/{name}"]
        assert control.low <= 0.05
        assert control.value < 0.25
    # A beard goes with years: the retained labels tell that by themselves.
    assert 0 < found["proxy/amount/age/r2"].value < told.value
    assert {path.split("/")[-2] for path in found} == {*PLACES, "age"}


def test_shuffled_ages_are_not_told(place):
    lines = (place / "labels.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    years = np.random.default_rng(0).permutation([row[6] for row in cells[1:]])
    for row, year in zip(cells[1:], years, strict=True):
        row[6] = year
    write_lines(place / "shuffled.csv", *map(",".join, cells))
    found = figures(place, "dataset.table=shuffled.csv")
    for path, one in found.items():
        assert one.low < 0.1, path
        assert one.value < 0.3, path


def test_the_ridge_is_nearly_the_regression_of_scikit_learn(place):
    """With few numbers and many images the penalty hardly counts."""
    inquiry = inquiry_with(place, f"features={place / 'x.npz'}", "numbers=[age]")
    people = population_of(inquiry)
    learnt, judged = (people.splits[name].rows for name in ("validation", "test"))
    age, seen = people.amounts["age"], features_of(3.0, noise=2)
    plain = LinearRegression().fit(seen[learnt], age[learnt])
    ridge = regressors(0)[""]().fit(seen[learnt], age[learnt])
    expected = r2_score(age[judged], plain.predict(seen[judged]))
    assert r2_score(age[judged], ridge.predict(seen[judged])) == pytest.approx(expected, abs=0.02)
    assert isinstance(regressors(0)["trees"]()[-1], HistGradientBoostingRegressor)
    found = figures(place)["unlearned/amount/age/features/r2"]
    assert found.value == pytest.approx(expected, abs=0.05)


def test_too_few_numbers_are_a_reason(place):
    lines = (place / "labels.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    for number, row in enumerate(cells[1:]):
        row[6] = row[6] if number < 40 else ""
    write_lines(place / "few.csv", *map(",".join, cells))
    found = figures(place, "dataset.table=few.csv")
    assert {one.missing for one in found.values()} == {TOO_FEW}
