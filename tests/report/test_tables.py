import pytest

from mlu.report.tables import HIDDEN_BY_PENALTY, general
from tests.support.made_runs import config_of, fail, leave, metrics_of, reading
from tests.support.report_tables import best, leave_three_methods, rows, settings


def test_the_best_is_among_those_that_have_forgotten(tmp_path):
    (setting,) = settings(leave_three_methods(tmp_path))
    table = general(setting)
    # Keeping more without forgetting is no merit, nor is original's or Retrain's; forgetting alike
    # is a draw.
    assert best(table) == {("wp", "retained accuracy")}
    assert {row.title: row.verdict.word for row in table.rows if not row.reference} == {
        "wp": "shown",
        "wf": "shown",
        "cfk": "exceeded",
    }


def test_nothing_is_best_where_intervals_touch(tmp_path):
    for name, kept in (("wp", 0.90), ("wf", 0.87)):
        leave(tmp_path / name, metrics_of(retained=kept), method=name)
    assert best(general(settings(tmp_path)[0])) == set()


def test_without_an_attack_nobody_has_shown_to_forget(tmp_path):
    for name, kept in (("wp", 0.9), ("wf", 0.7)):
        metrics = {
            path: value
            for path, value in metrics_of(retained=kept).items()
            if "/attack/" not in path
        }
        leave(tmp_path / name, metrics, method=name)
    table = general(settings(tmp_path)[0])
    assert best(table) == set()
    assert all(row.verdict is None and not row.forgotten for row in table.rows)


def test_references_come_from_every_run(tmp_path):
    table = rows(general(settings(leave_three_methods(tmp_path))[0]))
    assert table["original"]["retained accuracy"][0] == 0.95
    assert table["retrain"]["time"][0] == 42.0
    assert table["random weights"]["read by the strongest reader"][0] == pytest.approx(0.8)
    assert table["random weights"]["retained accuracy"][0] is None


def test_a_spread_over_a_part_of_the_seed_is_said_below_the_table(tmp_path):
    for number in (1, 2):
        leave(tmp_path / str(number), seed=4, run={"method_seed": number})
    (setting,) = settings(tmp_path)
    words = "Seeds: spread over method_seed alone: same people, same original."
    assert words in general(setting).notes
    leave(tmp_path / "1", seed=5)
    (setting,) = settings(tmp_path)
    assert "Seeds: same images, divided anew." in general(setting).notes
    for number in (1, 2):
        leave(
            tmp_path / str(number),
            seed=number,
            config={"dataset": {**config_of()["dataset"], "seed": number}},
        )
    (setting,) = settings(tmp_path)
    assert not [note for note in general(setting).notes if note.startswith("Seeds")]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"select": "score", "decorrelation": {"linear": 0.0, "gaussian": 0.2}}, True),
        ({"select": "random", "decorrelation": {"linear": 0.1, "gaussian": 0.0}}, True),
        ({"select": "score", "decorrelation": {"linear": 0.0, "gaussian": 0.0}}, False),
        # One that chooses no weights claims nothing for them.
        ({"decorrelation": {"linear": 0.0, "gaussian": 0.2}}, False),
        ({}, False),
    ],
)
def test_what_hides_the_label_is_said_first_where_weights_are_chosen(keys, said, tmp_path):
    leave(tmp_path / "a", method="wf", config={"method": {"name": "wf", **keys}})
    notes = general(settings(tmp_path)[0]).notes
    assert (notes[:1] == (HIDDEN_BY_PENALTY,)) is said


def test_the_start_of_training_has_a_row_where_it_was_attacked(tmp_path):
    leave(tmp_path / "a", method="wp")
    assert "start of training" not in rows(general(settings(tmp_path)[0]))
    leave(tmp_path / "a", metrics_of() | reading("start", -0.2, 0.02, "Male"), method="wp")
    table = rows(general(settings(tmp_path)[0]))
    assert table["start of training"]["read by the strongest reader"][0] == pytest.approx(0.7)
    assert table["start of training"]["retained accuracy"][0] is None
    assert table["random weights"]["read by the strongest reader"][0] == pytest.approx(0.8)


def test_failed_and_missing_seeds_are_holes_with_their_reason(tmp_path):
    for seed in (1, 2, 3):
        leave(tmp_path / f"wp{seed}", method="wp", seed=seed)
    leave(tmp_path / "wf1", seed=1)
    fail(tmp_path / "wf2", error="MemoryError: too big", seed=2)
    (row,) = (row for row in general(settings(tmp_path)[0]).rows if row.title == "wf")
    assert row.cells[0].holes == ("seed 2: MemoryError: too big", "seed 3: no run")
    assert [run.seeds.seed for run in row.cells[0].runs] == [1]
