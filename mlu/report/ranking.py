"""The page that ranks all that was made to forget in a challenge."""

from collections.abc import Sequence
from typing import Any

from mlu.report.page import VERDICT_MARKS, filled_template
from mlu.runs.ratings import RANKING_COLUMNS, Placed, order_of_rating, ranking_cells


def ranking_page(title: str, about: str, rules: Sequence[str], placed: Sequence[Placed],
                 notes: Sequence[str]) -> str:  # fmt: skip
    """The page's HTML.

    Args:
        title: Of the page.
        about: What is ranked, in a line.
        rules: Of the ranking, in paragraphs.
        placed: All ratings, in order.
        notes: What else one must know.
    """
    return filled_template(
        "ranking.html.j2",
        title=title,
        about=about,
        rules=rules,
        columns=RANKING_COLUMNS,
        rows=[ranking_row(one) for one in placed],
        notes=notes,
    )


def ranking_row(placed: Placed) -> dict[str, Any]:
    """A row as the template takes it."""
    rating = placed.rating
    name, *others = ranking_cells(placed)
    mark = "" if rating.copied else VERDICT_MARKS[rating.word]
    by_number = {
        "place": placed.place,
        "forgotten?": order_of_rating(rating)[2],
        "above Retrain, points": rating.mean,
        "retained accuracy, %": rating.retained,
        "seconds": rating.seconds,
        "image passes": rating.passes,
    }

    cells = []
    for column, text in zip(list(RANKING_COLUMNS)[1:], others, strict=True):
        number = by_number.get(column, text)
        cells.append({"column": column, "text": text, "sort": "" if number is None else number})

    return {
        "name": name,
        "cells": cells,
        "mark": mark,
        "said": rating.said,
        "reference": placed.place is None,
    }
