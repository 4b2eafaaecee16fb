import numpy as np
import pytest

from mlu.report.pictures.curves import arrays_of_run, entropy_picture, rates
from mlu.runs.read import collect
from tests.support.made_runs import draw, leave
from tests.support.report_tables import settings


@pytest.fixture
def folder(tmp_path):
    for seed in (2, 1):
        leave(tmp_path / str(seed), seed=seed)
    draw(tmp_path / "2")
    return tmp_path


def test_only_rows_of_finite_numbers_are_read(folder):
    rows = {
        "good": np.array([1, 2]),
        "infinite": np.array([1.0, np.inf]),
        "words": np.array(["a"]),
        "table": np.ones((2, 2)),
    }
    np.savez(folder / "2" / "roc.npz", **rows)
    run = next(run for run in collect([folder]).runs if run.seeds.seed == 2)
    assert list(arrays_of_run(run, "roc.npz")) == ["good"]
    assert arrays_of_run(run, "nothing.npz") == {}


def test_distributions_are_of_the_lowest_seed_and_curves_of_the_first_that_has_them(folder):
    (setting,) = settings(folder)
    assert entropy_picture(setting) is None
    assert "mia/combined" in rates(setting).alt
    draw(folder / "1")
    assert "seed 1." in entropy_picture(setting).caption
