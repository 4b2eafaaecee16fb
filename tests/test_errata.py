"""The arithmetic of docs/errata.md, from the formulas and files that it names."""

import csv
import math
import re
from pathlib import Path

import pytest
import torchvision

from mlu.data.sets.faces.people import STATISTICS
from mlu.report.published import printed, published_values

PAGE = (Path(__file__).parents[1] / "docs" / "errata.md").read_text()


def bits(rate):
    return 1 + rate * math.log2(rate) + (1 - rate) * math.log2(1 - rate)


def test_the_commoner_answers_are_right_as_often_as_the_page_says():
    lines = (line for line in STATISTICS.read_text().splitlines() if not line.startswith("#"))
    rates = {row["attribute"]: float(row["prevalence"]) for row in csv.DictReader(lines)}
    retained = [max(rate, 1 - rate) for label, rate in rates.items() if label != "Male"]
    commoner = 100 * sum(retained) / len(retained)
    assert len(retained) == 9
    assert f"right in {commoner:.1f} % of the nine retained labels" in PAGE
    # And that is why CF-3's figures cannot be of a network that goes on learning these labels.
    for dataset in ("celeba", "vggface2"):
        for backbone in ("resnet18", "resnet50"):
            assert max(published_values("table2", dataset, backbone)["cfk"]) < commoner


def test_bits_of_success_rates():
    assert f"1 - H(0.0011) = {bits(0.0011):.3f}" in PAGE
    assert f"{100 * bits(0.65):.1f} % (`wf`) and {100 * bits(0.46):.1f} % (`wp`)" in PAGE
    assert f"{100 * bits(0.84):.1f} % at the 84 % of SalUn" in PAGE
    values = printed("table4")["values"]["celeba"]["unsaid"]
    assert (values["wf"][0], values["wp"][0], values["salun"][0]) == (65, 46, 84)
    assert f"{bits(0.65):.3f} and {bits(0.46):.3f}" in PAGE


def test_the_size_of_a_complete_hessian():
    net = torchvision.models.resnet18(num_classes=10)
    weights = sum(parameter.numel() for parameter in net.parameters())
    assert weights == pytest.approx(11.2e6, rel=0.01)
    assert f"{weights**2:.2e}".replace("e+", "e") in PAGE
    # At 4 bytes each, in units of 1e12; to the third power the operations.
    assert 4 * weights**2 / 1e12 == pytest.approx(500, rel=0.01)
    assert weights**3 == pytest.approx(1.4e21, rel=0.02)
    assert "500 TB" in PAGE
    assert "1.4e21" in PAGE


def test_one_retrain_cannot_take_both_times():
    seconds, times = zip(*printed("figure2")["values"]["celeba"]["unsaid"].values(), strict=True)
    found = [round(one * many) for one, many in zip(seconds, times, strict=True)]
    assert f"{found[0]} s and {found[1]} s" in PAGE


def test_rows_of_table_1_that_do_not_differ():
    rows = {(row["epsilon"], row["phi"]): row["values"] for row in printed("table1")["rows"]}
    assert rows[0.5, 1.0] == rows[0.5, 0.1] == [88.0, 85.0]
    assert "(0.5, 1.0 and 0.5, 0.10 both give 88.0 and 85.0)" in PAGE


def test_wp_is_above_retrain_where_the_page_says():
    values = published_values("table2", "celeba", "resnet18")
    assert (values["wp"][2], values["retrain"][2]) == (95.12, 91.78)
    assert re.search(r"95\.12 against 91\.78 %", PAGE)
