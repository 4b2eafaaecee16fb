"""The part of a configuration by which runs are told apart."""

import pytest

from mlu.launch.compose import composed, values_of
from mlu.runs.identity import identity


@pytest.fixture(scope="module")
def plain():
    return identity(values_of(composed([])))


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("outputs=elsewhere", True),
        ("logger=none", True),
        ("objective=speedup", True),
        ("trainer.workers=3", True),
        ("seed=43", False),
        ("method_seed=43", False),
        ("train_seed=42", True),
        ("phi=0.2", False),
        ("training.epochs=1", False),
        ("dataset.images=200", False),
        ("trainer.precision=bf16-mixed", False),
        ("trace=5", True),
        ("trace=5 keep=best", False),
    ],
)
def test_what_decides_figures_is_told_apart(override, same, plain):
    assert (identity(values_of(composed(override.split()))) == plain) == same
