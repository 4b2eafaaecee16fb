"""The page of a ranking: what it ranks, in order, with nothing that a name could do to it."""

from dataclasses import replace

from mlu.report.ranking import ranking_page
from mlu.runs.ratings import RANKING_COLUMNS, Limits, Rating, in_order, rules_of_ranking
from tests.support.reading_page import Page

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"
GOOD = Rating(name="good", word="shown", said="Shown: all is well.", mean=0.001, low=-0.01,
              high=0.012, retained=0.94, reference=0.95, seconds=3.0)  # fmt: skip
RATINGS = (
    GOOD,
    replace(GOOD, name=HOSTILE, word="not shown", said=HOSTILE, lost=("Young 30.0",)),
    replace(GOOD, name="still", word="exceeded", unchanged=(1,)),
    replace(GOOD, name="retrain", ours=True, copied=(1,), seconds=None),
)


def page_of(ratings=RATINGS, notes=("One note.",)):
    rules = rules_of_ranking(Limits(), 5, 0.02)
    return Page(ranking_page("A challenge", "About it.", rules, in_order(ratings), notes))


def test_rows_stand_in_the_order_of_the_rule_with_their_words():
    page = page_of()
    (table,) = page.tables
    header, *rows = table.rows
    assert [cell["text"] for cell in header] == list(RANKING_COLUMNS)
    assert [row[0]["text"] for row in rows] == ["good", HOSTILE, "still", "retrain"]
    assert [row[1]["text"] for row in rows] == ["1", "2", "3", "–"]
    marks = [row[3]["attrs"]["class"].split() for row in rows]
    assert marks == [["standing", "yes"], ["standing"], ["standing", "no"], ["standing"]]
    assert rows[0][3]["attrs"]["title"] == "Shown: all is well."


def test_numbers_are_sorted_as_numbers_and_what_there_is_not_stays_below():
    header, *rows = page_of().tables[0].rows
    assert [row[1]["attrs"]["data-sort"] for row in rows] == ["1", "2", "3", ""]
    assert float(rows[0][4]["attrs"]["data-sort"]) == 0.001
    assert rows[3][7]["attrs"]["data-sort"] == ""
    assert [row[3]["attrs"]["data-sort"] for row in rows] == ["0", "1", "2", "0"]
    assert len(header) == len(rows[0])


def test_a_name_is_shown_and_does_nothing():
    page = page_of()
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.open == []
    assert any(attrs.get("title") == HOSTILE for _, attrs in page.tags)
    assert "default-src 'none'" in next(
        attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv")
    )
