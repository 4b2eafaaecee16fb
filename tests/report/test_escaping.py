"""Whatever text a run's files hold, what is written of it shows that text and gives it no other
meaning."""

import base64
import csv
import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from mlu.report.__main__ import main
from mlu.report.groups import settings_in
from mlu.report.page import Report, report_page
from mlu.report.paper import tables_of
from mlu.report.pictures.of_setting import pictures_of
from mlu.report.tables import general
from mlu.report.writers import FORMULA, harmless, latex, markdown, table_csv, tex
from mlu.runs import certificate
from mlu.runs.markdown import escaped_markdown
from mlu.runs.read import collect
from mlu.runs.tables import run_table
from tests.support.made_runs import draw, fail, leave, metrics_of
from tests.support.reading_page import Page

MISSING = "unlearned/test/retained/accuracy"
NASTY = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--",
    "--><b>",
    "]]>",
    "\" onmouseover='x'",
    "&lt;b&gt;&#0;",
    "{{ 7*7 }}{% raw %}",
    "a=b",
    "=cmd()",
    "|a|b|",
    "\\",
    "$x_{y}^2$ %&",
    "[/b]",
    "\x00\x1b[2J\x9b",
    "line\r\nline",
    "javascript:alert(1)",
    "\u202eevil",
    "[x](javascript:1)",
    "é’“”…",
)
texts = st.one_of(st.sampled_from(NASTY), st.text(min_size=1))
law = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def found(folder, text):
    """A run and a lost job whose files say `text` wherever they can."""
    metrics = metrics_of(labels=("Bald", text)) | {MISSING: None}
    facts = {"commit": text, "experiment": text, "date": text, "backbone": text, "dataset": text}
    leave(folder / "1", metrics, {MISSING: text}, method=text, forget=text, device=text, run=facts)
    fail(folder / "2", error=text, command=text, method=text)
    return collect([folder])


def written(collection, folder):
    """The page without pictures."""
    runs = settings_in(collection)
    paper, overviews = tables_of(runs), [general(one) for one in runs]
    return report_page(
        Report("title", collection, runs, overviews, paper, (), [()] * len(runs), ()), folder
    )


def shape(found):
    """Which elements there are, with which attributes."""
    return {(tag, *sorted(attrs)) for tag, attrs in found.tags}


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("usual")
    return shape(Page(written(found(folder, "wf a=b"), folder)))


@law
@given(text=texts)
def test_the_page_shows_any_text_as_it_is_and_gets_no_element_of_it(text, usual, tmp_path):
    seen = Page(written(found(tmp_path, text), tmp_path))
    assert seen.open == []
    assert shape(seen) <= usual
    assert [tag for tag, _ in seen.tags].count("script") == 1
    said, titles = "".join(seen.text), seen.attributes("title")
    assert said.count(text) > 3
    assert any(text in title for title in titles)


def replaced(value, text):
    """A certificate that says `text` wherever a file may."""
    kept = ("files", "path", "task", "schema", "event")
    if isinstance(value, dict):
        return {key: one if key in kept else replaced(one, text) for key, one in value.items()}
    if isinstance(value, list):
        return [replaced(one, text) for one in value]
    return text if isinstance(value, str) else value


@pytest.fixture(scope="module")
def stated():
    figure = {"value": None, "low": None, "high": None, "reason": "why", "censored": False}
    row = {
        "question": "q",
        "path": "p",
        "chance": 0.5,
        "original": figure,
        "unlearned": figure,
        "retrain": figure,
    }
    return {
        "schema": 1,
        "issued": "now",
        "forgotten": ["Male"],
        "labels": ["Male", "Bald"],
        "task": "multilabel",
        "method": {"name": "wf", "settings": {"phi": "x"}, "seed": 1, "method_seed": 2},
        "config_hash": "c",
        "model": "tiny",
        "data": {"name": "faces", "fingerprint": "f"},
        "files": {"unlearned.safetensors": "0" * 64, "labels.json": "1"},
        "verdict": {"word": None, "said": "no"},
        "figures": [{**row, "excess": None, "verdict": None}],
        "not_run": ["mia"],
        "seconds": {"original": 1.0},
        "device": "d",
        "date": "d",
        "commit": "c",
        "versions": {"torch": "1"},
        "ledger": [
            {
                "line": 1,
                "date": "d",
                "event": "request",
                "who": "w",
                "forget": ["Male"],
                "hash": "h",
            },
            {"line": 2, "date": "d", "event": "done", "method": "wf", "on": "d", "hash": "h"},
            {"line": 3, "date": "d", "event": "verified", "said": "no", "hash": "h"},
            {
                "line": 4,
                "date": "d",
                "event": "purged",
                "removed": {"original/0": {}},
                "kept": {"shadow/0": {"needed_by": ["runs/two"]}, "x": {"needed_by": "why"}},
                "held": ["attack-aia/0"],
                "hash": "h",
            },
        ],
        "not_claimed": ["nothing"],
    }


@law
@given(text=texts)
def test_so_does_the_certificate(text, stated):
    seen = Page(certificate.certificate_page(replaced(stated, text)))
    assert seen.open == []
    assert shape(seen) == shape(Page(certificate.certificate_page(stated)))
    assert "".join(seen.text).count(text) > 10
    assert ", seed 1, method_seed 2, configuration" in "".join(seen.text)


def test_pictures_are_drawings_whatever_the_names(tmp_path):
    text = '<a>]]>--><!--"&\x1b\0$x'
    draw(
        leave(tmp_path, metrics_of(labels=("Bald", text), forget=text), method=text, forget=text),
        ("Bald", text),
    )
    (setting,) = settings_in(collect([tmp_path]))
    drawn = list(pictures_of(setting))
    assert len(drawn) > 3
    for picture in drawn:
        svg = ElementTree.fromstring(
            base64.b64decode(picture.light.removeprefix("data:image/svg+xml;base64,"))
        )
        names = {element.tag.rpartition("}")[2] for element in svg.iter()}
        assert not names & {"script", "foreignObject", "a", "animate", "set"}
        for element in svg.iter():
            assert not [name for name in element.attrib if name.lower().startswith("on")]
            links = [value for name, value in element.attrib.items() if name.endswith("href")]
            assert all(value.startswith(("#", "data:image/png;base64,")) for value in links)


def test_names_that_are_no_utf_8_are_written_and_linked(tmp_path):
    """As they are in file systems; in JSON there may be half of a pair of surrogates."""
    folder = tmp_path / "l\udce4bel"
    leave(folder, seed=1)
    leave(
        tmp_path / "other",
        metrics_of(labels=("Bald", "\ud800")),
        method="\udfff",
        forget="\ud800",
        seed=1,
    )
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    seen = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert any("l%E4bel" in link for link in seen.attributes("href"))
    assert "1 run in 1 setting, made 2026-01-02; 1 job without results." in " ".join(seen.text)


MARKDOWN = MarkdownIt("commonmark").enable("table")


@law
@given(text=texts)
def test_markdown_shows_any_text_in_one_line_as_it_is(text):
    (line,) = MARKDOWN.parseInline(escaped_markdown(text))
    assert {piece.type for piece in line.children} <= {"text", "text_special"}
    assert "".join(piece.content for piece in line.children) == " ".join(text.split()).replace(
        "\0", "\ufffd"
    )


@law
@given(text=texts)
@example(text="\r")
@example(text="a\rb")
def test_tables_keep_their_rows_and_columns_in_every_form(text, tmp_path):
    collection = found(tmp_path, text)
    tables = [general(one) for one in settings_in(collection)]
    rows, columns = sum(len(table.rows) for table in tables), len(tables[0].columns)
    lines = list(csv.DictReader(io.StringIO(table_csv(tables, tmp_path), newline="")))
    assert len(lines) == rows * columns
    assert any(harmless(text.strip()).removeprefix("'") in line["row"] for line in lines)
    for line in lines:
        assert not any(
            cell.startswith(FORMULA)
            for key, cell in line.items()
            if key in ("row", "missing", "ours")
        )
    (block,) = re.findall(r"(?:^\|.*\n)+", markdown(tables, (), text, tmp_path), re.M)
    assert block.count("\n") == rows + 2
    body = latex(tables, text).split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == rows
    assert not [row for row in body if row.startswith(("[", "*"))]


@given(st.text())
def test_latex_gets_no_control_character(text):
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", tex(text))


@pytest.mark.parametrize("text", NASTY)
def test_a_terminal_shows_a_name_as_text(text, tmp_path):
    run = found(tmp_path, text).runs[0]
    console = Console(file=io.StringIO(), width=10_000)
    bare = replace(run, results=replace(run.results, speedup=None, metrics={}))
    console.print(run_table(bare))
    said = console.file.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)
    assert text not in NASTY[:10] or said.count(text) > 2
