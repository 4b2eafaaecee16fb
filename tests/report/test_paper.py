import pytest

from mlu.report.paper import tables_of
from tests.support.made_runs import LABELS, interval, leave, metrics_of
from tests.support.report_tables import best, leave_three_methods, rows, settings, table_of, tables


def test_table_2_has_the_papers_rows_beside_ours_and_says_what_each_side_is(tmp_path):
    table = table_of(leave_three_methods(tmp_path), "table2")
    found = rows(table)
    assert list(found) == ["original", "retrain", "cfk", "scrub", "unsir", "salun", "wf", "wp"]
    assert found["wp"]["Dt test"] == (0.9, 95.12)
    assert found["original"]["D train"] == (0.95, 96.87)
    assert found["scrub"]["Dv validation"] == (None, 81.45)
    assert table.rows[3].cells[0].holes == ("no run",)
    assert table.ours.startswith("faces, tiny, forget Male; 2,000 images")
    assert table.theirs.startswith("CelebA, ResNet-18, forget Gender; 50 epochs")


def test_runs_made_for_a_table_fill_it_alone(tmp_path):
    leave(tmp_path / "0", run={"experiment": "table2"})
    leave(tmp_path / "1", correlation=0.5)
    assert "correlation=1.0" in table_of(tmp_path, "table2").ours
    # Others take runs of no experiment before those of another.
    assert "correlation=0.5" in table_of(tmp_path, "figure2").ours
    (tmp_path / "1" / "results.json").unlink()
    assert len(tables(tmp_path, "figure2")) == 1


def test_a_grid_of_another_table_does_not_fill_this_one(tmp_path):
    leave(tmp_path / "0", run={"experiment": "table2"}, phi=0.02)
    for number, phi in enumerate((0.1, 0.3), start=1):
        leave(tmp_path / str(number), run={"experiment": "table1"}, phi=phi)
    leave(tmp_path / "3", run={"experiment": "figure2"}, method="salun")
    assert [title for title in rows(table_of(tmp_path, "table2")) if title.startswith("wf")] == [
        "wf"
    ]
    assert rows(table_of(tmp_path, "table2"))["salun"]["Dt test"][0] is not None
    # Where none was made for it, all of them count.
    assert (
        len([title for title in rows(table_of(tmp_path, "figure2")) if title.startswith("wf")]) == 3
    )


def test_table_1_joins_both_grids(tmp_path):
    strengths = {"reading": "printed", "epsilon_mode": "absolute"}
    for number, (epsilon, phi) in enumerate(((0.1, 1.0), (0.5, 0.3))):
        leave(tmp_path / str(number), metrics_of(), epsilon=epsilon, phi=phi, **strengths)
    table = table_of(tmp_path, "table1")
    found = rows(table)
    assert found["wf epsilon=0.1 phi=1"]["Brown_Hair"] == (0.9, 85.0)
    assert found["wf epsilon=0.1 phi=1"]["forgotten output wrong"] == (pytest.approx(0.4), 95.0)
    assert found["wf epsilon=0.5 phi=0.3"]["Brown_Hair"] == (0.9, None)
    assert found["wf epsilon=1 phi=1"]["Brown_Hair"] == (None, 90.0)
    assert "reading printed, epsilon absolute" in table.notes[0]
    assert [column.called for column in table.columns if column.printed == 1] == ["forgetting"]
    assert any("exclude each other" in line for line in table.errata)


def test_no_run_of_a_pair_is_dropped(tmp_path):
    for number, soft in enumerate((0.0, 0.5)):
        leave(
            tmp_path / str(number),
            metrics_of(retained=0.8 + soft / 10),
            epsilon=0.1,
            phi=1.0,
            soft=soft,
        )
    found = rows(table_of(tmp_path, "table1"))
    assert {title: row["Brown_Hair"] for title, row in found.items() if "soft" in title} == {
        "wf soft=0.0": (0.8, 85.0), "wf soft=0.5": (pytest.approx(0.85), 85.0)
    }  # fmt: skip


def test_one_pair_of_strengths_is_no_grid(tmp_path):
    leave(tmp_path, epsilon=0.1, phi=0.02)
    assert tables(tmp_path, "table1") == []


def test_table_4_has_random_weights_and_both_attacks(tmp_path):
    metrics = metrics_of() | interval(
        "unlearned/attack/mia/combined/folded_balanced_accuracy", 0.55
    )
    leave(tmp_path, metrics, method="wp", attacks=("aia", "mia"))
    found = rows(table_of(tmp_path, "table4"))
    assert found["wp"]["MIA"] == (0.55, 50.06)
    assert found["wp"]["AIA: features"] == (pytest.approx(0.89), 46.0)
    assert "random weights" in found


def test_single_label_runs_fill_their_tables_and_no_other(tmp_path):
    metrics = metrics_of(labels=("2", "3"), forget="3") | interval(
        "unlearned/test/forgotten/recall", 0.0
    )
    leave(tmp_path / "0", metrics, dataset="digits", forget="3")
    leave(tmp_path / "1", metrics, dataset="mufac", forget="31-45")
    names = [(table.name, table.ours.split(",")[0]) for table in tables_of(settings(tmp_path))]
    assert names == [
        ("table3", "mufac"),
        ("figure3", "digits"),
        ("figure3", "mufac"),
        ("appendix_single_label", "digits"),
    ]
    table = table_of(tmp_path, "appendix_single_label")
    assert rows(table)["wf"]["forgotten class"] == (0.0, 0.06)
    assert table.theirs.startswith("MNIST, ResNet-50")


def test_other_labels_share_one_table_whatever_the_paper_calls_them(tmp_path):
    leave(tmp_path / "0", metrics_of(forget="Male"), forget="Male", run={"data": "x"})
    leave(
        tmp_path / "1",
        metrics_of(forget="Oval_Face"),
        forget="Oval_Face",
        method="wp",
        run={"data": "x"},
    )
    found = rows(table_of(tmp_path, "appendix_labels"))
    assert found["Male: wf"]["Male"] == (0.5, 0.12)
    assert found["Oval_Face: wp"]["Brown_Hair"] == (0.9, 93.21)
    assert found["Male: retrain"]["Bald"] == (0.94, None)
    assert list(found["Male: wf"]) == list(LABELS)


def test_correlation_has_a_row_for_each_and_needs_two(tmp_path):
    leave(tmp_path / "0", correlation=0.5, run={"data": "x"})
    assert tables(tmp_path, "appendix_correlation") == []
    leave(tmp_path / "1", metrics_of(excess=0.02), correlation=0.0, run={"data": "y"})
    table = table_of(tmp_path, "appendix_correlation")
    assert [title for title in rows(table) if title.endswith("wf")] == [
        "correlation 0: wf",
        "correlation 0.5: wf",
    ]
    assert rows(table)["correlation 0: wf"]["strongest above Retrain"][0] == 0.02
    assert table.best == frozenset()


def asked(folder, requests, method="wf", **kind):
    """A run whose labels came in these requests."""
    names = [name for request in requests for name in request]
    told = {"requests": requests, "forget_label": names, "experiment": "requests"}
    return leave(
        folder,
        run=told,
        config={"requests": requests, "forget_label": {"names": names}},
        method=method,
        **kind,
    )


def test_requests_in_turn_and_at_once_stand_in_one_table(tmp_path):
    for number, (requests, kept) in enumerate(
        [([["Male"]], 0.95), ([["Male"], ["Young"]], 0.91), ([["Male", "Young"]], 0.93)]
    ):
        asked(tmp_path / str(number), requests, metrics=metrics_of(retained=kept))
    found = rows(table_of(tmp_path, "requests"))
    assert [title for title in found if title.endswith("wf")] == [
        "Male: wf",
        "Male, then Young: wf",
        "Male + Young: wf",
    ]
    kept = [
        found[f"{order}: wf"]["retained accuracy"][0]
        for order in ("Male", "Male, then Young", "Male + Young")
    ]
    assert kept == pytest.approx([0.95, 0.91, 0.93])
    assert best(table_of(tmp_path, "requests")) == set()


def test_labels_forgotten_at_once_are_no_requests_over_time(tmp_path):
    asked(tmp_path / "1", [["Male"]])
    asked(tmp_path / "2", [["Male", "Young"]])
    assert tables(tmp_path, "requests") == []


def test_requests_of_other_data_stand_apart(tmp_path):
    for number, correlation in enumerate((0.0, 1.0)):
        asked(tmp_path / f"a{number}", [["Male"], ["Young"]], correlation=correlation)
        asked(tmp_path / f"b{number}", [["Male", "Young"]], correlation=correlation)
    assert len(tables(tmp_path, "requests")) == 2


def test_the_paper_has_nothing_beside_an_audit(tmp_path):
    leave(tmp_path / "audited", metrics_of(), method="audit")
    assert tables_of(settings(tmp_path)) == []
    leave(tmp_path / "run", metrics_of(), method="wp")
    assert tables_of(settings(tmp_path))
