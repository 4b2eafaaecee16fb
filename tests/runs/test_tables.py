from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from mlu.runs.tables import attack_table, run_table, show_sweep, sweep_table, verdict_line
from tests.support.made_runs import made_run, metrics_of

SIDES = ("random", "original", "retrain", "unlearned")


def shown(table):
    """Its rows as lists of cells, by the first cell."""
    text = StringIO()
    Console(file=text, width=300).print(table)
    lines = [line.strip() for line in text.getvalue().replace("┃", "│").splitlines()]
    rows = [line[1:-1].split("│") for line in lines if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}


def run_with(**metrics):
    seconds = {"original": 40.0, "retrain": 120.4, "unlearn": 4.0}
    return made_run(metrics, seconds=seconds, speedup=30.1)


def figure(path, value, low=None, high=None):
    return {path: value} | ({} if low is None else {f"{path}/low": low, f"{path}/high": high})


def test_each_attack_that_was_run_has_a_row_beside_its_references():
    path = "attack/aia/strongest/balanced_accuracy"
    metrics = figure("proxy/attack/aia/folded_balanced_accuracy", 0.8214)
    for place, side in enumerate(SIDES):
        metrics |= figure(f"{side}/{path}", 0.6 + place / 10, 0.5, 0.95)
    metrics |= figure("unlearned/attack/aia/strongest/excess", 0.1, -0.05, 0.2)
    metrics |= figure("unlearned/attack/lira/auroc", None)
    rows = shown(attack_table(run_with(**metrics)))
    assert rows["read by the strongest reader"] == [
        "0.500",
        "0.821",
        "0.600",
        "0.700",
        "0.800 [0.500, 0.950]",
        "0.900 [0.500, 0.950]",
        "0.100 [-0.050, 0.200]",
    ]
    assert rows["member, LiRA"] == ["0.500", "", "–", "–", "–", "–", ""]
    assert set(rows) == {"attack", "read by the strongest reader", "member, LiRA"}


def test_the_start_of_training_has_a_column_where_it_was_attacked():
    path = "attack/aia/strongest/balanced_accuracy"
    without = {}
    for place, side in enumerate(SIDES):
        without |= figure(f"{side}/{path}", 0.6 + place / 10)

    with_start = without | figure(f"start/{path}", 0.55)
    before, after = (shown(attack_table(run_with(**one))) for one in (without, with_start))
    assert "start" not in before["attack"]
    assert after["attack"][2:5] == ["random", "start", "original"]
    assert after["read by the strongest reader"][2:5] == ["0.600", "0.550", "0.700"]


def test_what_is_chance_by_construction_is_marked():
    metrics = metrics_of() | {"unlearned/attack/aia/label/Male/output/constant": 1.0}
    rows = shown(attack_table(run_with(**metrics)))
    assert rows["… logistic regression, output, Male"][-1] == "silent by construction: no evidence"
    assert rows["read by the strongest reader"][-1] == "-0.010 [-0.030, 0.010]"
    muted = {
        "unlearned/test/forgotten/auroc": 0.5,
        "unlearned/test/forgotten/positive_rate": 1.0,
    }
    rows = shown(run_table(run_with(**metrics, **muted)))
    assert rows["unlearned (wf)"][1].endswith(" (silent)")
    assert not rows["original"][1].endswith(" (silent)")


def test_where_what_was_forgotten_is_no_output_the_floor_is_the_mark():
    path = "attack/aia/strongest/balanced_accuracy"
    metrics = metrics_of() | figure(f"original/{path}", 0.9, 0.85, 0.95)
    metrics |= figure("unlearned/attack/aia/strongest/above_floor", 0.031, 0.01, 0.05)
    metrics |= figure(f"unlearned/{path}", 0.83, 0.8, 0.86)
    run = run_with(**metrics)
    facts = replace(run.results.run, concept=True)
    concept = replace(run, results=replace(run.results, run=facts))
    plain, found = shown(attack_table(run)), shown(attack_table(concept))
    assert plain["attack"][-3:] == ["retrain", "unlearned", "excess over retrain"]
    assert found["attack"][-3:] == ["original", "unlearned", "above the floor"]
    assert found["read by the strongest reader"][-3:] == [
        "0.900 [0.850, 0.950]",
        "0.830 [0.800, 0.860]",
        "0.031 [0.010, 0.050]",
    ]
    assert "retrain" not in shown(run_table(concept))
    assert "retrain" in shown(run_table(run))
    assert verdict_line(concept) == (
        "forgetting Male, which is no output: read to 0.900 before and 0.830 afterwards; +3.1 "
        "points above the floor of the true retained labels, 95 % interval [+1.0, +5.0]. There "
        "is no Retrain to hold it against."
    )
    # In a table of both each has its own column.
    both = shown(sweep_table([("0", run), ("1", concept)]))
    assert [title for title in both["job"] if "retrain" in title or "floor" in title]


def test_the_verdict_is_a_line_below_the_table_of_attacks():
    assert verdict_line(run_with(**metrics_of())).startswith(
        "forgetting Male: Shown of this one model, over test people; other seeds may differ: "
    )
    assert verdict_line(run_with(**figure("unlearned/test/retained/accuracy", 0.9))) == ""


def test_steps_to_relearn_say_where_they_were_cut_off():
    metrics = {}
    for side, steps, censored in zip(
        SIDES, (200.0, 0.0, 50.0, 75.0), (1.0, 0.0, 0.0, 0.4), strict=True
    ):
        start = f"{side}/attack/relearn/64"
        metrics |= {
            f"{start}/steps": steps,
            f"{start}/censored": censored,
            f"{start}/balanced_accuracy": 0.7743,
        }
    metrics["unlearned/attack/relearn/64/ratio"] = 1.5
    rows = shown(attack_table(run_with(**metrics)))
    assert rows["steps to relearn, 64 images"] == ["", "", ">200 (0.774)", "0", "50", "75", "1.5×"]


def test_columns_of_attacks_are_there_only_where_they_were_run():
    plain = figure("unlearned/test/retained/accuracy", 0.95) | figure(
        "unlearned/test/forgotten/balanced_accuracy", 0.5
    )
    attacked = plain | figure("unlearned/attack/aia/strongest/excess", -0.06, -0.09, -0.04)
    assert shown(run_table(run_with(**plain)))["unlearned (wf)"] == [
        "0.950",
        "0.500",
        "4.0 s",
        "30.1×",
    ]
    rows = shown(
        sweep_table([("method=wf", run_with(**attacked)), ("method=head", run_with(**plain))])
    )
    assert rows["method=wf"] == ["0.950", "0.500", "-0.060 [-0.090, -0.040]", "4.0 s", "30.1×"]
    assert rows["method=head"] == ["0.950", "0.500", "–", "4.0 s", "30.1×"]


FAMILY = "forget_label.names=[Bald,Young]"
SWEEPS = {
    "two methods": (
        {0: ["method=wf", "seed=1"], 1: ["method=head", "seed=1"]},
        "seed=1",
        ["0 method=wf", "1 method=head"],
    ),
    "one that failed": (
        {0: ["method=wf", "seed=1"], 2: ["method=wf", "seed=2"]},
        "method=wf",
        ["0 seed=1"],
    ),
    "one job": ({0: ["method=wf", "seed=1"]}, "method=wf seed=1", ["0"]),
    "the same twice": ({0: ["seed=1"], 1: ["seed=1"]}, "seed=1", ["0", "1"]),
    "nothing given": ({0: [], 1: []}, None, ["0", "1"]),
    "nothing shared": ({0: ["seed=1"], 1: ["seed=2"]}, None, ["0 seed=1", "1 seed=2"]),
    "a key that others lack": (
        {0: ["seed=1"], 1: ["seed=1", "method.phi=0.5"]},
        "seed=1",
        ["0", "1 method.phi=0.5"],
    ),
    "lists, quotes and blanks": (
        {0: [FAMILY, "+note='a, b'", "seed=1"], 1: [FAMILY, "+note='[c]'", "seed=1"]},
        f"{FAMILY} seed=1",
        ["""0 '+note='"'"'a, b'"'"''""", "1 +note='[c]'"],
    ),
}


@pytest.mark.parametrize(("jobs", "shared", "names"), SWEEPS.values(), ids=SWEEPS)
def test_a_job_is_named_by_what_others_do_not_have(jobs, shared, names, capsys):
    run = run_with(**figure("unlearned/test/retained/accuracy", 0.95))
    runs = {number: run for number in sorted(jobs, reverse=True) if number < 2}
    show_sweep(runs, jobs)
    said = capsys.readouterr().out.splitlines()
    assert [line.split("│")[1].strip() for line in said if "0.950" in line] == names
    assert [line for line in said if "all jobs" in line] == (
        [] if shared is None else [f"all jobs: {shared}"]
    )


def test_no_name_is_cut_in_a_narrow_terminal(monkeypatch, capsys):
    long = f"forget_label.names=[{','.join(map(str, range(100)))}]"
    path = "unlearned/test/retained/accuracy"
    console = Console
    monkeypatch.setattr(
        "mlu.runs.tables.Console", lambda width=80: console(width=80, force_terminal=True)
    )
    show_sweep({0: run_with(**figure(path, 0.95, 0.9, 0.99))}, {0: [long], 1: ["x=[red]"]})
    said = capsys.readouterr().out
    cells = [line.split("│")[1].strip() for line in said.split("\n") if line.count("│") > 2]
    assert "".join(cells).removeprefix("0") == long
    assert "[red]" not in said
