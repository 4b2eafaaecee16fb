"""The page of evidence says what its file of figures carries."""

import re

import numpy as np
import pytest
from scipy import stats

from tests.test_docs import ROOT
from tools.evidence import (
    READINGS,
    RETAINED,
    STRONGEST,
    differences_of,
    of_all_draws,
    read,
    table_of,
    verdict_of,
)

PAGE = (ROOT / "docs" / "results" / "evidence.md").read_text()
LINES = read()
MODELS = list(dict.fromkeys(line["model"] for line in LINES))
UNLEARNED = [name for name in MODELS if name not in ("original", "retrain")]


def of(model, column):
    """A figure of a model on each draw, in their order."""
    lines = sorted(LINES, key=lambda line: int(line["draw"]))
    return np.array([float(line[column]) for line in lines if line["model"] == model])


def test_a_model_that_was_not_tried_on_every_draw_is_in_no_table(capsys):
    fewer = [line for line in LINES if (line["model"], line["draw"]) != ("wp", "1003")]
    assert of_all_draws(LINES) == LINES
    assert {line["model"] for line in of_all_draws(fewer)} == set(MODELS) - {"wp"}
    assert capsys.readouterr().out == "left out, 19 of 20 draws: wp\n"


def test_the_tables_are_those_of_the_file():
    assert table_of(LINES) in PAGE
    assert differences_of(LINES) in PAGE


@pytest.mark.parametrize(
    "model", [name for name in UNLEARNED if name.startswith(("wf ", "decorrelate"))]
)
def test_differences_are_those_of_a_paired_test(model):
    (row,) = re.findall(rf"^\| `{re.escape(model)}` \|(?:[^|]*\|){{4}}$", PAGE, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    columns = [RETAINED, *(f"strongest {place}" for place in STRONGEST)]
    for cell, column in zip(cells[1:], columns, strict=True):
        ours, theirs = (100 * of(name, column) for name in ("wf", model))
        ends = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        shown = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", cell)]
        assert shown == pytest.approx([(ours - theirs).mean(), *ends], abs=0.06)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_each_of_twenty_draws_once(model):
    draws = [int(line["draw"]) for line in LINES if line["model"] == model]
    assert sorted(draws) == list(range(1001, 1021))


@pytest.mark.parametrize("model", MODELS)
def test_the_first_numbers_of_a_row_are_what_scipy_makes_of_the_draws(model):
    (row, *_) = re.findall(rf"^\| `{re.escape(model)}` \|.*$", PAGE, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    columns = [RETAINED, *(f"strongest {place}" for place in STRONGEST)]
    for cell, column in zip(cells[1:5], columns, strict=True):
        if cell == "0":
            assert not of(model, column).any()
            continue
        values = of(model, column) * (1 if column == RETAINED else 100)
        ends = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        shown = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", cell)]
        rounding = 0.0006 if column == RETAINED else 0.06
        assert shown == pytest.approx([values.mean(), *ends], abs=rounding)


@pytest.mark.parametrize("model", UNLEARNED)
def test_the_verdict_follows_from_the_ends_of_all_intervals(model):
    columns = ["strongest outputs", "strongest features", *READINGS]
    excesses = {tuple(of(model, column)) for column in columns}
    count = len(excesses)

    def ends(values, error):
        error_of_mean = stats.sem(values)
        return stats.t.interval(1 - error, len(values) - 1, np.mean(values), error_of_mean)

    exceeded = any(ends(values, 0.05 / count)[0] > 0.02 for values in excesses)
    shown = all(ends(values, 0.05)[1] <= 0.02 for values in excesses)
    word = "exceeded" if exceeded else "shown" if shown else "not shown"
    assert verdict_of([line for line in LINES if line["model"] == model]).word == word
    assert re.search(rf"^\| `{re.escape(model)}` .*\| {word}", PAGE, re.MULTILINE)
