import math

import numpy as np
import pytest

from mlu.report.groups import METHODS
from mlu.report.published import beside, errata, printed, published, published_values, same_label


@pytest.mark.parametrize(
    ("table", "dataset", "backbone", "method", "values"),
    [
        ("table2", "celeba", "resnet18", "wp", [93.67, 94.23, 95.12]),
        ("table2", "celeba", "resnet50", "cfk", [37.89, 42.11, 39.76]),
        ("table2", "vggface2", "resnet18", "retrain", [91.98, 92.65, 93.23]),
        ("table2", "vggface2", "resnet50", "wf", [94.23, 92.98, 93.78]),
        ("table3", "mufac", "resnet50", "scrub", [65.78, 63.21, 67.54]),
        ("table3", "mufac", "resnet50", "wp", [93.12, 92.87, 94.12]),
        ("table4", "celeba", "unsaid", "wp", [46.0, 50.06]),
        ("table4", "celeba", "unsaid", "salun", [84.0, 79.1]),
        ("figure2", "celeba", "unsaid", "wf", [34, 9.15]),
        ("figure2", "vggface2", "unsaid", "wp", [None, 35.5]),
        ("appendix_single_label", "cifar10", "resnet50", "salun", [94.4, 96.3, 95.4, 5.3]),
        ("appendix_single_label", "svhn", "resnet50", "wp", [97.4, 97.1, 96.8, 0.04]),
    ],
)
def test_cells_that_were_read_from_the_paper_once_more(table, dataset, backbone, method, values):
    assert list(published_values(table, dataset, backbone)[method]) == values


def test_the_grid_and_the_labels_of_the_appendix():
    assert {(row["epsilon"], row["phi"]): row["values"] for row in printed("table1")["rows"]} == {
        (0.1, 1.0): [85, 95],
        (0.5, 1.0): [88, 85],
        (1.0, 1.0): [90, 70],
        (0.5, 0.01): [87, 86],
        (0.5, 0.1): [88, 85],
    }
    table = printed("appendix_labels")
    assert (
        dict(zip(table["columns"], table["values"]["Oval_Face"]["wp"], strict=True))["Oval_Face"]
        == 0.04
    )
    assert dict(zip(table["columns"], table["values"]["Male"]["wf"], strict=True))["Male"] == 0.12


@pytest.mark.parametrize("table", published()["tables"])
def test_every_row_has_a_number_for_every_column_and_a_method_of_ours(table):
    rows = printed(table).get("values", {})
    rows = (
        {name: found for values in rows.values() for name, found in values.items()} if rows else {}
    )
    for name, found in rows.items():
        for method, values in found.items() if isinstance(found, dict) else [(name, found)]:
            assert method in METHODS
            assert len(values) == len(printed(table)["columns"])


def test_tables_have_as_many_rows_as_are_printed():
    assert all(
        len(published_values("table2", d, b)) == 8
        for d in ("celeba", "vggface2")
        for b in ("resnet18", "resnet50")
    )
    assert len(published_values("table3", "mufac", "resnet50")) == 7
    assert len(published_values("table4", "celeba", "unsaid")) == 7
    assert all(
        len(published_values("appendix_single_label", d, "resnet50")) == 8
        for d in ("cifar10", "mnist", "svhn")
    )


def test_the_arithmetic_of_the_errata_holds():
    def bits(p):
        return 1 + p * math.log2(p) + (1 - p) * math.log2(1 - p)

    checks = [erratum["check"] for erratum in published()["errata"] if "check" in erratum]
    for check in checks:
        for p, said in zip(
            np.atleast_1d(check.get("probability", [])),
            np.atleast_1d(check.get("bits", [])),
            strict=True,
        ):
            assert bits(p) == pytest.approx(said, abs=6e-4)
    (clock,) = (check for check in checks if "retrain" in check)
    for seconds, speedup, retrain in zip(*clock.values(), strict=True):
        assert round(seconds * speedup) == retrain


def test_ours_stand_beside_the_same_data_and_network_or_else_the_nearest():
    assert beside("table2", "vggface2", "resnet50") == ("vggface2", "resnet50")
    assert beside("table2", "faces", "tiny") == ("celeba", "resnet18")
    assert beside("table3", "digits", "tiny") == ("mufac", "resnet50")
    assert beside("appendix_single_label", "digits", "tiny") == ("mnist", "resnet50")
    assert beside("table4", "celeba", "resnet18") == ("celeba", "unsaid")


def test_errata_stand_with_what_they_are_about():
    assert any("0.066 and 0.005" in line for line in errata("table4"))
    assert any("311 s and 329 s" in line for line in errata("figure2"))
    assert any("0.988 bits" in line for line in errata("appendix_labels"))
    assert errata("table3") == ()
    assert (same_label("Gender"), same_label("Bald")) == ("Male", "Bald")
