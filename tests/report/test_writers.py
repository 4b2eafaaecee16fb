import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlu.report.groups import settings_in
from mlu.report.paper import tables_of
from mlu.report.tables import COUNT, PERCENT, POINTS, SECONDS, general
from mlu.report.writers import (
    harmless,
    holes_of,
    latex,
    markdown,
    table_csv,
    tex,
    value_text,
)
from mlu.runs.markdown import escaped_markdown
from mlu.runs.read import collect
from tests.support.made_runs import fail, interval, leave, metrics_of


@pytest.fixture
def collected(tmp_path):
    for name, kept in (("wp", 0.9), ("wf", 0.8)):
        for seed in (1, 2):
            leave(
                tmp_path / f"{name}{seed}",
                metrics_of(retained=kept + seed / 500),
                method=name,
                seed=seed,
            )
    fail(tmp_path / "lost", error="ValueError: 50% of a|b_c", method="salun")
    return collect([tmp_path])


@pytest.fixture
def tables(collected):
    settings = settings_in(collected)
    return [*map(general, settings), *tables_of(settings)]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.95443, PERCENT, "95.4"),
        (-0.0001, PERCENT, "0.0"),
        (0.0266, POINTS, "+2.7"),
        (-0.0266, POINTS, "-2.7"),
        (0.00001, POINTS, "0.0"),
        (0.00512, SECONDS, "0.0051"),
        (4.63, SECONDS, "4.6"),
        (43.21, SECONDS, "43.2"),
        (21008, COUNT, "21,008"),
        (0.0, SECONDS, "0"),
    ],
)
def test_numbers_are_written_with_the_digits_that_count(value, unit, text):
    assert value_text(value, unit) == text


def table_lines(text):
    """Rows of Markdown tables, as lists of cells."""
    return [
        re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")
    ]


def test_csv_and_markdown_say_the_same(collected, tables, tmp_path):
    lines = list(csv.DictReader(io.StringIO(table_csv(tables, tmp_path))))
    assert len(lines) == sum(len(table.rows) * len(table.columns) for table in tables)
    by_hand = [
        line
        for line in lines
        if (line["table"], line["row"], line["column"]) == ("table2", "wp", "Dt test")
    ]
    (line,) = by_hand
    # 0.902 and 0.904: mean 0.903, sd 0.001414, t(1) = 12.706, half width 12.706 * 0.001 = 0.0127.
    assert float(line["value"]) == pytest.approx(90.3)
    assert float(line["sd"]) == pytest.approx(0.1414, abs=1e-4)
    assert (float(line["low"]), float(line["high"])) == pytest.approx((89.029, 91.571), abs=1e-3)
    assert (line["paper"], line["seeds"], line["interval_of"], line["runs"]) == (
        "95.12",
        "1 2",
        "seeds",
        "wp1 wp2",
    )
    text = markdown(tables, collected.gaps, "title", tmp_path)
    section = text.split("## Table 2")[1].split("\n## ")[0]
    row = next(cells for cells in table_lines(section) if cells[0].strip() == "wp")
    assert row[5].strip() == "**90.3 ± 0.1 [89.0, 91.6] (2)**"
    assert row[6].strip() == "95.12"


def test_markdown_tables_are_rectangles_and_reasons_stand_below(collected, tables, tmp_path):
    text = markdown(tables, collected.gaps, "title", tmp_path)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({len(cells) for cells in table_lines(block)}) == 1
    assert "Missing: salun: seed 1: ValueError: 50% of a\\|b\\_c" in text
    assert "lost: ValueError" in text.split("## Jobs without results")[1]
    assert str(tmp_path) not in text


def test_latex_is_balanced_and_every_row_has_every_cell(tables):
    text = latex(tables, "50% & more_or_less")
    assert r"\title{50\% \& more\_or\_less}" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for name in ("document", "table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
    for table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.S):
        columns, body = table
        found = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in found} == {len(columns)}
    assert r"\textbf{90.3 $\pm$ 0.1 [89.0, 91.6] (2)}" in text
    assert not set(re.findall(r"[^\x00-\x7f]", text))


@given(st.text())
def test_nothing_gets_out_of_a_cell(text):
    assert not re.search(r"(?<!\\)[&%$#_]", re.sub(r"\$\\(pm|times|geq)\$", "", tex(text)))
    assert "\n" not in tex(text)
    assert not re.search(r"(?<!\\)[|<>*`_]", escaped_markdown(text).replace(r"\\", ""))


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x"])
def test_a_spreadsheet_takes_no_text_for_a_formula(text):
    assert harmless(text) == f"'{text}"
    assert harmless(-3.0) == -3.0


def test_what_was_cut_off_says_at_least(tmp_path):
    path = "unlearned/attack/relearn/512"
    metrics = metrics_of() | {f"{path}/steps": 200.0, f"{path}/censored": 1.0} | interval("x", 1.0)
    leave(tmp_path, metrics)
    (setting,) = settings_in(collect([tmp_path]))
    assert "≥ 200 (1)" in markdown([general(setting)], (), "title", tmp_path)


def test_what_a_row_lacks_everywhere_is_said_once(tmp_path):
    metrics = metrics_of() | {"unlearned/test/retained/accuracy": None}
    leave(tmp_path / "0", metrics, {"unlearned/test/retained/accuracy": "no images"}, seed=1)
    leave(tmp_path / "1", method="wp", seed=1)
    leave(tmp_path / "2", method="wp", seed=2)
    (setting,) = settings_in(collect([tmp_path]))
    assert [
        (hole.where, hole.reason) for hole in holes_of(general(setting)) if "wf" in hole.where
    ] == [("wf: retained accuracy", "seed 1: no images"), ("wf", "seed 2: no run")]
