from dataclasses import replace

import pytest

from mlu.report.groups import curves, of_default_strength, settings_in, strength_of
from mlu.runs.read import collect
from tests.support.made_runs import composed, config_of, fail, leave
from tests.support.strengths import leave_strengths


def settings(folder):
    return settings_in(collect([folder]))


def titles(setting):
    return [group.title for group in setting.groups]


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    for seed in (3, 1, 2):
        leave(tmp_path / str(seed), seed=seed, phi=0.1)
    (setting,) = settings(tmp_path)
    (group,) = setting.groups
    assert [run.seeds.seed for run in group.runs] == [1, 2, 3]
    assert group.title == "wf"


def test_runs_that_differ_in_a_part_of_the_seed_are_one_group_that_says_so(tmp_path):
    for number in (1, 2, 3):
        own = {"method_seed": number}
        leave(tmp_path / str(number), seed=4, config=own, run=own)
    # As an earlier version would have left it: the seeds are not in the file.
    leave(tmp_path / "old", seed=4, method="head")

    (setting,) = settings(tmp_path)
    assert {group.title: len(group.runs) for group in setting.groups} == {"head": 1, "wf": 3}
    words = "spread over method_seed alone: same people, same original"
    assert {group.title: group.spread for group in setting.groups} == {"head": "", "wf": words}
    listed = "seeds 4 method_seed=1, 4 method_seed=2, 4 method_seed=3, 4"
    assert f"{listed} ({words})" in setting.budget

    for number in (5, 6):
        leave(tmp_path / str(number), seed=number, method="head")
    (setting,) = settings(tmp_path)
    assert f"(head: same images, divided anew; wf: {words})" in setting.budget


def test_failed_jobs_of_a_part_of_the_seed_stand_where_they_belong(tmp_path):
    leave(tmp_path / "0", seed=4, config={"method_seed": 1}, run={"method_seed": 1})
    written = fail(tmp_path / "1", seed=4)
    composed(written, config_of(seed=4) | {"method_seed": 2})
    ((group,),) = (setting.groups for setting in settings(tmp_path))
    assert [str(gap.seeds) for gap in group.gaps] == ["4 method_seed=2"]


def test_where_files_lie_and_who_is_told_is_no_difference(tmp_path):
    leave(tmp_path / "0", seed=1)
    changes = {
        "outputs": "/b",
        "logger": {"name": "wandb"},
        "budget": "small",
        "experiment": "table2",
        "preset": "source",
    }
    leave(tmp_path / "1", seed=2, config=changes, run={"experiment": "table2"})
    assert [len(group.runs) for group in settings(tmp_path)[0].groups] == [2]


def test_variants_are_told_apart_by_what_differs_and_in_the_order_of_their_values(tmp_path):
    for number, phi in enumerate((0.3, 0.02, 0.1)):
        leave(tmp_path / str(number), phi=phi, epsilon=0.1)
    leave(tmp_path / "other", method="wp", phi=0.1)
    leave(tmp_path / "head", method="head")
    (setting,) = settings(tmp_path)
    assert titles(setting) == ["head", "wf phi=0.02", "wf phi=0.1", "wf phi=0.3", "wp"]


def test_what_parts_are_taken_out_of_has_the_bare_name(tmp_path):
    for number, changes in enumerate(({}, {"select": "random"}, {"decorrelation": 0})):
        whole = {"select": "score", "decorrelation": 0.1}
        leave(
            tmp_path / str(number),
            config={"method": config_of(phi=0.1)["method"] | whole | changes},
        )
    assert titles(settings(tmp_path)[0]) == ["wf", "wf decorrelation=0", "wf select=random"]
    # One that differs twice: no run stands in the middle of all.
    other = config_of(phi=0.2)["method"] | whole | {"select": "random"}
    leave(tmp_path / "3", config={"method": other})
    assert titles(settings(tmp_path)[0]) == [
        "wf decorrelation=0 phi=0.1 select=score",
        "wf decorrelation=0.1 phi=0.1 select=random",
        "wf decorrelation=0.1 phi=0.1 select=score",
        "wf decorrelation=0.1 phi=0.2 select=random",
    ]


def test_a_part_may_be_a_group_of_keys(tmp_path):
    whole = {"select": "score", "decorrelation": {"linear": 0, "stages": 2}}
    plain = {"decorrelation": {"linear": 0.1, "stages": 1}}
    for number, changes in enumerate(({}, {"select": "random"}, plain)):
        method = config_of()["method"] | whole | changes
        leave(tmp_path / str(number), config={"method": method})
    assert titles(settings(tmp_path)[0]) == [
        "wf",
        "wf select=random",
        "wf decorrelation.linear=0.1 decorrelation.stages=1",
    ]


def test_an_attack_that_only_one_run_made_divides_nothing_but_another_attacker_does(tmp_path):
    leave(tmp_path / "0", seed=1, attacks=("aia",))
    leave(tmp_path / "1", seed=1, attacks=("aia", "mia"))
    leave(tmp_path / "2", seed=2, attacks=())
    assert titles(settings(tmp_path)[0]) == ["wf"]
    leave(tmp_path / "3", seed=3, config={"attack": {"aia": {"strength": 9.0}}})
    assert titles(settings(tmp_path)[0]) == [
        "wf attack.aia.strength=1.0",
        "wf attack.aia.strength=9.0",
    ]


def test_who_watches_divides_nothing_and_who_chooses_a_step_by_it_does(tmp_path):
    leave(tmp_path / "0", seed=1)  # of a version that knew neither
    leave(tmp_path / "1", seed=2, config={"trace": None, "keep": "last"})
    leave(tmp_path / "2", seed=3, config={"trace": 5, "keep": "last"})
    assert titles(settings(tmp_path)[0]) == ["wf"]
    leave(tmp_path / "3", seed=1, config={"trace": 5, "keep": "best"})
    assert titles(settings(tmp_path)[0]) == ["wf keep=best", "wf keep=last"]
    leave(tmp_path / "4", seed=1, config={"trace": 10, "keep": "best"})
    (setting,) = settings(tmp_path)
    assert [len(group.runs) for group in setting.groups] == [1, 1, 3]


def test_data_network_training_and_labels_make_a_setting(tmp_path):
    leave(tmp_path / "0")
    leave(tmp_path / "1", correlation=0.5)
    leave(tmp_path / "2", forget="Bald")
    leave(tmp_path / "3", method="head")
    found = {setting.title: titles(setting) for setting in settings(tmp_path)}
    assert found == {
        "faces, tiny, forget Male, correlation=1.0": ["head", "wf"],
        "faces, tiny, forget Male, correlation=0.5": ["wf"],
        "faces, tiny, forget Bald": ["wf"],
    }


def leave_draw(folder, seed, images, data, **more):
    """A run on faces that were drawn by a seed of their own."""
    changes = {"dataset": {**config_of()["dataset"], "seed": images, "keep_draws": False}}
    leave(folder, seed=seed, config=changes, run={"data": data}, **more)


def test_other_drawn_images_are_another_replicate(tmp_path):
    for seed in (1, 2, 3):
        for method in ("wf", "head"):
            leave_draw(tmp_path / f"{method}{seed}", seed, 1000 + seed, f"d{seed}", method=method)
    (setting,) = settings(tmp_path)
    assert [(group.title, len(group.runs)) for group in setting.groups] == [("head", 3), ("wf", 3)]
    assert "seeds 1 to 3, dataset.seed 1001 to 1003" in setting.budget
    assert setting.spread == ""


def test_images_that_one_seed_draws_otherwise_today_are_not_the_same_setting(tmp_path):
    leave_draw(tmp_path / "0", 1, 1001, "once")
    leave_draw(tmp_path / "1", 1, 1001, "today")
    leave_draw(tmp_path / "2", 2, 1002, "another")
    found = settings(tmp_path)
    assert sorted(setting.distinction for setting in found) == [
        "data=another",
        "data=once",
        "data=today",
    ]


def test_images_that_nobody_draws_are_told_apart_by_what_they_are(tmp_path):
    for number, data in enumerate(("mine", "yours")):
        leave(tmp_path / str(number), seed=number, dataset="csv", run={"data": data})
    assert [setting.distinction for setting in settings(tmp_path)] == ["data=mine", "data=yours"]


def test_failed_jobs_stand_where_they_belong(tmp_path):
    leave(tmp_path / "0", seed=1, phi=0.1)
    leave(tmp_path / "1", seed=1, phi=0.2)
    fail(tmp_path / "2", seed=2, phi=0.1)
    fail(tmp_path / "3", seed=1, method="boundary")
    fail(tmp_path / "4", seed=1, dataset="celeba")
    (setting,) = settings(tmp_path)
    assert {group.title: [gap.folder.name for gap in group.gaps] for group in setting.groups} == {
        "boundary": ["3"], "wf phi=0.1": ["2"], "wf phi=0.2": []
    }  # fmt: skip


def test_methods_of_which_nothing_is_left_are_told_apart_too(tmp_path):
    leave(tmp_path / "0", phi=0.1)
    fail(tmp_path / "1", phi=0.2)
    fail(tmp_path / "2", phi=0.3)
    assert titles(settings(tmp_path)[0]) == ["wf", "wf phi=0.2", "wf phi=0.3"]


def test_a_run_without_its_configuration_is_known_by_its_results(tmp_path):
    for seed in (1, 2):
        (leave(tmp_path / str(seed), seed=seed) / "config.yaml").unlink()
    (setting,) = settings(tmp_path)
    assert [len(group.runs) for group in setting.groups] == [2]
    assert "not known" in setting.budget


def test_the_budget_is_said(tmp_path):
    leave(tmp_path)
    (setting,) = settings(tmp_path)
    assert setting.budget == "2,000 images, 64 pixels, 8 epochs, seed 1, on a CPU"
    assert replace(setting, distinction="x").title.endswith(", x")


def test_groups_that_differ_in_strength_alone_are_one_curve_and_say_no_more(tmp_path):
    leave_strengths(tmp_path, "wf", {10: 0.8, 0: 0.95, 1.0: 0.9})
    leave_strengths(tmp_path, "wf", {1.0: 0.9}, seed=2)
    (setting,) = settings(tmp_path)
    found = [group.title for group in setting.methods]
    assert found == ["wf strength=0", "wf strength=1", "wf strength=10"]
    (curve,) = curves(setting)
    assert [group.title for group in curve] == found
    assert [len(group.runs) for group in curve] == [1, 2, 1]
    assert [group.title for group in of_default_strength(setting)] == ["wf strength=1"]


def test_a_run_from_before_there_was_a_strength_is_one_of_strength_1(tmp_path):
    leave_strengths(tmp_path, "wf", {1.0: 0.9})
    leave(tmp_path / "old", method="wf", seed=2, weight=0.1)
    (group,) = settings(tmp_path)[0].methods
    assert len(group.runs) == 2
    leave(tmp_path / "other", method="wf", seed=2, weight=0.3)
    assert len(settings(tmp_path)[0].methods) == 2


@pytest.mark.parametrize("value", [None, "much", [1], 10**400])
def test_a_strength_that_is_no_number_counts_as_the_default(value, tmp_path):
    leave(tmp_path, method="wf", config={"strength": value})
    (setting,) = settings(tmp_path)
    assert strength_of(setting.runs[0]) == 1.0


def test_a_failed_job_stands_with_its_strength(tmp_path):
    leave_strengths(tmp_path, "wf", {0.0: 0.95, 3.0: 0.8})
    lost = tmp_path / "lost" / ".hydra" / "config.yaml"
    lost.parent.mkdir(parents=True)
    asked = (tmp_path / "wf-3.0-1-1.0" / ".hydra" / "config.yaml").read_text()
    lost.write_text(asked.replace("seed: 1", "seed: 2"))
    (lost.parent / "overrides.yaml").write_text("[]")
    gaps = {group.title: len(group.gaps) for group in settings(tmp_path)[0].methods}
    assert gaps == {"wf strength=0": 0, "wf strength=3": 1}
