from io import StringIO

import pytest
from rich.console import Console

from mlu.metrics.findings import part_of_path
from mlu.report.groups import settings_in
from mlu.report.tables import general
from mlu.report.writers import markdown
from mlu.runs.certificate import answers_of, not_run
from mlu.runs.plain import models_table
from mlu.runs.read import collect
from mlu.runs.rows import declaration_of, declared, rows_among, shipped, without_declarations
from mlu.runs.tables import attack_table, run_table
from mlu.system.errors import UserError
from tests.support.made_runs import config_of, interval, leave, made_run, metrics_of

MINE = {
    "_target_": "mine.Guess",
    "tries": 3,
    "about": "guessing",
    "rows": {
        "guessed right": {
            "figure": "guess/rate",
            "chance": 0.25,
            "excess": "guess/more",
            "headline": True,
        },
        "guessed of {2}, *": {"figure": "guess/*/steps"},
    },
}


def test_every_attack_that_ships_says_what_it_is_and_has_rows():
    assert list(shipped()) == ["aia", "mia", "lira", "relearn", "durability", "importance"]
    for attack in shipped().values():
        assert attack.about != attack.name
        if attack.name == "importance":
            # It is of the original: no figure is about what a method has left.
            continue
        assert attack.rows
        assert attack.columns


def test_a_run_of_before_is_shown_as_the_files_say():
    assert declared({}) == declared(config_of()) == shipped()


def test_what_an_attack_declares_decides_nothing():
    kept = without_declarations({"seed": 1, "attack": {"mine": MINE}})
    assert kept == {"seed": 1, "attack": {"mine": {"_target_": "mine.Guess", "tries": 3}}}


def test_an_attack_of_somebody_elses_is_shown_like_ours(tmp_path):
    metrics = metrics_of()
    for place, model in enumerate(("random", "original", "retrain", "unlearned")):
        metrics |= interval(f"{model}/attack/guess/rate", 0.3 + place / 10)
        metrics |= {f"{model}/attack/guess/7/steps": 40.0, f"{model}/attack/guess/7/censored": 0.0}
    metrics |= interval("unlearned/attack/guess/more", 0.1)
    config = {"attack": {**config_of()["attack"], "mine": MINE}}
    run = made_run(metrics, config_of() | config)

    text = StringIO()
    for table in (run_table(run), attack_table(run)):
        Console(file=text, width=300).print(table)
    assert "guessed right" in text.getvalue().split("what an attacker")[0]
    cells = [cell.strip() for cell in row_of(text.getvalue(), "guessed right").split("│")[2:-1]]
    assert cells == [
        *("0.250", "", "0.300", "0.400", "0.500 [0.480, 0.520]", "0.600 [0.580, 0.620]"),
        "0.100 [0.080, 0.120]",
    ]
    assert "40" in row_of(text.getvalue(), "guessed of {2}, 7")

    answer = next(found for found in answers_of(run) if found.question == "guessed right")
    assert (answer.chance, answer.unlearned.value, answer.verdict) == (0.25, 0.6, "exceeded")
    assert "guessing" not in not_run(run)
    assert "attack/guess/more/high" in models_table(run)[0]

    leave(tmp_path / "new", metrics, config=config)
    leave(tmp_path / "old", metrics, seed=2)
    (setting,) = settings_in(collect([tmp_path]))
    shown = markdown([general(setting)], (), "report", tmp_path)
    assert "| guessed right, % |" in shown
    assert "| guessed right, above Retrain, points |" in shown
    assert "60.0" in shown


def row_of(text, title):
    return next(line for line in text.splitlines() if line.startswith(f"│ {title}"))


def test_rows_stand_by_their_place_and_only_where_there_are_figures():
    rows = {name: {"figure": f"x/{name}", "place": place} for name, place in (("a", 1), ("b", 0))}
    found = declaration_of("x", {"rows": {**rows, "c": "x/c", "d": "x/d"}})
    figures = [f"unlearned/attack/x/{name}" for name in "abd"]
    assert [row.title for row in rows_among({"x": found}, figures)] == ["b", "d", "a"]


def test_a_star_is_one_part_of_a_path():
    found = declaration_of("x", {"rows": {"after * steps": {"figure": "x/tuned_*/rate"}}})
    figures = [f"unlearned/attack/x/tuned_{part}/rate" for part in ("5", "5/outputs", "70")]
    titles = [row.title for row in rows_among({"x": found}, figures)]
    assert titles == ["after 5 steps", "after 70 steps"]


@pytest.mark.parametrize("label", ["Male", "yes/no", '"quoted"', "a/b/c", "é"])
def test_a_label_of_any_name_has_its_row(label):
    found = declaration_of("x", {"rows": {"read, *": {"figure": "x/label/*/rate"}}})
    part = part_of_path(label)
    figures = [f"unlearned/attack/x/label/{part}{rest}/rate" for rest in ("", "/outputs")]
    assert [row.title for row in rows_among({"x": found}, figures)] == [f"read, {part}"]


@pytest.mark.parametrize("part", ['"open/', '"a" b/c', "a/", "/a", "a//b", '"yes/no" or'])
def test_several_parts_of_a_path_whatever_they_are_have_no_row(part):
    found = declaration_of("x", {"rows": {"read, *": {"figure": "x/label/*/rate"}}})
    assert rows_among({"x": found}, [f"unlearned/attack/x/label/{part}/rate"]) == []


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"about": 3}, "attack.x.about must be text, got 3"),
        ({"rows": ["a"]}, "attack.x.rows must have a title for each"),
        ({"rows": {"a": {"chance": 0.5}}}, "attack.x.rows.a has no figure: name its path"),
        ({"rows": {"a": 3}}, "attack.x.rows.a has no figure: name its path"),
        ({"rows": {"a": {"figure": "p", "chanse": 1}}}, "no key 'chanse', did you mean 'chance'"),
        ({"rows": {"a": {"figure": "p", "chance": "x"}}}, "attack.x.rows.a.chance cannot be 'x'"),
        ({"rows": {"a": {"figure": "p", "chance": float("nan")}}}, "must be a finite number"),
        ({"rows": {"a": {"figure": "p", "headline": 1}}}, "attack.x.rows.a.headline cannot be 1"),
        ({"columns": {"a": {"figure": "p", "unit": "m"}}}, "unit must be one of share, points"),
        ({"dashboard": "p"}, "attack.x.dashboard must be a list of paths, got 'p'"),
    ],
)
def test_a_row_of_another_shape_is_one_line(settings, line):
    with pytest.raises(UserError) as fault:
        declaration_of("x", settings)
    assert line in str(fault.value)
    assert "\n" not in str(fault.value)
    assert "x" not in declared({"attack": {"x": {"rows": {}, **settings}}})
