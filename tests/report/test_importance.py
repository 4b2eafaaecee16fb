from mlu.report.importance import SCORE_TITLES, layers_in
from tests.support.made_runs import interval, leave, metrics_of
from tests.support.report_tables import rows, settings, table_of, tables

START = "original/attack/importance/label"


def importances(shift=0.0):
    """What a run measures of two layers and two labels."""
    found = metrics_of()
    for label in ("Male", "Bald"):
        for score in SCORE_TITLES:
            start = f"{START}/{label}/filters/{score}"
            for side, value in (("own", 0.5), ("others", 0.4), ("selective", 0.1)):
                found |= interval(f"{start}/{side}/spearman", value + shift)
            found |= interval(f"{start}/halves/spearman", 0.9)
    for layer in ("block1.conv", "block2.conv"):
        found |= interval(f"{START}/Male/filters/fisher/layer/{layer}/own/spearman", 0.3 + shift)
    return found


def test_each_score_has_a_row_and_each_layer_by_some_of_them(tmp_path):
    leave(tmp_path / "0", importances(), method="original", attacks=("importance",), seed=1)
    leave(tmp_path / "1", importances(0.2), method="original", attacks=("importance",), seed=2)
    table = table_of(tmp_path, "importance")
    found = rows(table)
    assert found["Male: Fisher"]["own, rank"] == (0.6, None)
    assert found["Male: Fisher"]["own less others"][0] == 0.2
    assert found["Male: Fisher, block2.conv"]["own, rank"][0] == 0.4
    assert found["Male: Fisher, block2.conv"]["single weights"][0] is None
    assert found["Bald: Fisher"]["most there is"][0] == 0.9
    assert "Bald: size of the weight" not in found
    assert table.best == frozenset()
    assert "no figure" in table.theirs
    assert layers_in(settings(tmp_path)[0].runs, "Male") == ["block1.conv", "block2.conv"]


def test_runs_that_did_not_ask_have_no_such_table(tmp_path):
    leave(tmp_path)
    assert tables(tmp_path, "importance") == []
