import numpy as np
import pytest
from scipy import stats

from mlu.metrics.correlation import FEWEST_PAIRS, correlation_findings, row_correlations


def pairs(things=80, slope=0.7, seed=0):
    random = np.random.default_rng(seed)
    one = random.lognormal(size=things)
    return one, slope * one + random.normal(size=things)


def found_of(*args, **kwargs):
    return {finding.path: finding for finding in correlation_findings("any", *args, **kwargs)}


@pytest.mark.parametrize("seed", range(3))
def test_coefficients_are_scipys_also_with_ties(seed):
    one, other = pairs(seed=seed)
    tied = np.round(other)
    for side in (other, tied, -one):
        ranks = row_correlations("spearman", one[None], side[None])[0]
        linear = row_correlations("pearson", one[None], side[None])[0]
        assert ranks == pytest.approx(stats.spearmanr(one, side).statistic)
        assert linear == pytest.approx(stats.pearsonr(one, side).statistic)


def test_intervals_are_those_of_scipys_bootstrap():
    one, other = pairs()
    found = found_of(one, other, 0)
    for name, measure in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        wanted = stats.bootstrap(
            (one, other),
            lambda x, y, measure=measure: measure(x, y).statistic,
            paired=True,
            vectorized=False,
            n_resamples=1000,
            method="percentile",
            random_state=1,
        ).confidence_interval
        finding = found[f"any/{name}"]
        assert (finding.low, finding.high) == pytest.approx(tuple(wanted), abs=0.04)
        assert finding.low < finding.value < finding.high


def test_what_is_unrelated_has_an_interval_around_nothing():
    """Of 40 such pairs about one in twenty may miss it."""
    missed = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        finding = found_of(*random.normal(size=(2, 60)), seed, names=("spearman",))["any/spearman"]
        missed += not finding.low < 0 < finding.high
    assert missed <= 6


def test_few_things_and_constant_sides_have_a_reason_instead():
    one, other = pairs(FEWEST_PAIRS - 1)
    assert all("things to compare" in found.missing for found in found_of(one, other, 0).values())
    one, _ = pairs()
    flat = found_of(one, np.full(len(one), 0.1), 0)
    assert {found.missing for found in flat.values()} == {"one side is the same of all"}
    assert list(found_of(one, one, 0, names=("pearson",))) == ["any/pearson"]
