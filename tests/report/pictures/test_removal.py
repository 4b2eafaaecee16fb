from mlu.report.pictures.removal import without_images
from tests.support.made_runs import leave, metrics_of
from tests.support.report_tables import rows, settings, table_of, tables


def leave_removals(folder):
    """Leave a run for each share and way to choose."""
    for select, kept in (("influential", (0.9, 0.8)), ("random", (0.94, 0.93))):
        for share, value in zip((0.5, 0.1), reversed(kept), strict=True):
            leave(
                folder / f"{select}{share}",
                metrics_of(retained=value),
                method="removal",
                select=select,
                share=share,
            )
    return folder


def test_each_way_to_choose_is_a_line_by_the_share_removed(tmp_path):
    picture = without_images(settings(leave_removals(tmp_path))[0])
    assert "most influential first 90.0 without 10, 80.0 without 50" in picture.alt
    assert "drawn at random 94.0 without 10, 93.0 without 50" in picture.alt


def test_the_table_has_the_original_and_a_row_for_each(tmp_path):
    found = rows(table_of(leave_removals(tmp_path), "influential"))
    assert len(found) == 5
    assert found["original"]["retained accuracy"][0] == 0.95
    (row,) = (title for title in found if "influential" in title and "0.5" in title)
    assert found[row]["retained accuracy"][0] == 0.8


def test_runs_of_other_methods_have_neither(tmp_path):
    leave(tmp_path)
    assert without_images(settings(tmp_path)[0]) is None
    assert tables(tmp_path, "influential") == []
