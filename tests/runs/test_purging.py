"""Nothing that knew is left behind, and what is left is named."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from mlu.runs import purging
from mlu.runs.cached import WRITTEN, CacheEntry, entries_in
from mlu.runs.ledger import Ledger
from mlu.runs.purging import forgetting_of, plan_of, purge
from mlu.system.errors import UserError
from mlu.system.store import MANIFEST, Store, checksum
from tests.support.forgotten_runs import (
    DATA,
    forgot,
    half_built,
    key_of,
    plant,
    readable_in,
    write_numbers,
)
from tests.support.made_runs import LABELS

OTHERS = tuple(label for label in LABELS if label != "Male")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "outputs"


@pytest.fixture
def one(place):
    """A run that forgot Male, with all that it has left in the cache."""
    run = forgot(place, "one")
    plant(place, "original", [run])
    plant(place, "retrain", [run], OTHERS, forgotten=[2])
    plant(place, "random", [run], ())
    plant(place, "shadow", [run], train_seed=8)
    plant(place, "shadow-retrain", [run], OTHERS, train_seed=8, forgotten=[2])
    plant(place, "shadow-unlearned", [run], OTHERS, train_seed=8, forgotten=[2])
    plant(place, "attack-aia", [run], ["Male"], forgotten=[2], of="original")
    plant(place, "attack-aia", [run], ["Male"], forgotten=[2], of="retrain")
    return run


def kinds(entries):
    return sorted(entry.kind for entry in entries)


def events(run):
    return [line["event"] for line in forgetting_of(run).ledger.lines()]


def test_what_knew_goes_and_what_never_knew_stays(place, one):
    assert len(readable_in(place / "cache", "Male")) == 4
    before = len(readable_in(place / "cache", "Bald"))
    plan = plan_of(forgetting_of(one), also_needed=False)
    knew = ["attack-aia", "attack-aia", "original", "shadow", "shadow-unlearned"]
    assert kinds(plan.removed) == knew
    assert plan.kept == ()
    assert len(readable_in(place / "cache", "Male")) == 4
    assert not (place / "requests.jsonl").exists()

    outcome = purge(forgetting_of(one), also_needed=False, who="Anna")
    assert kinds(outcome.plan.removed) == knew
    assert readable_in(place / "cache", "Male") == []
    assert 0 < len(readable_in(place / "cache", "Bald")) < before
    assert kinds(entries_in(place / "cache")) == ["random", "retrain", "shadow-retrain"]


def test_what_another_run_needs_is_kept_and_named_until_it_may_go(place, one):
    two = forgot(place, "two", "Bald")
    plant(place, "original", [two])
    plant(place, "retrain", [two], forgotten=[0])
    plan = plan_of(forgetting_of(one), also_needed=False)
    assert {(keep.entry.kind, keep.needed_by) for keep in plan.kept} == {
        ("original", ("runs/two",)),
        ("retrain", ("runs/two",)),
    }
    purge(forgetting_of(one), also_needed=False, who=None)
    assert {file.parent.parent.name for file in readable_in(place / "cache", "Male")} == {
        "original",
        "retrain",
    }
    (line,) = [line for line in Ledger(place / "requests.jsonl").lines() if "kept" in line]
    for keep in plan.kept:
        stated = line["kept"][keep.entry.name]
        assert stated["needed_by"] == ["runs/two"]
        assert stated["files"] == [file.name for file in keep.entry.files()]
        assert {"test.safetensors", MANIFEST} <= set(stated["files"])
    assert sorted(line["still_there"]) == sorted(line["kept"])

    purge(forgetting_of(one), also_needed=True, who=None)
    assert readable_in(place / "cache", "Male") == []


def test_after_all_runs_are_purged_no_label_of_theirs_can_be_read(place, one):
    two, both = forgot(place, "two", "Bald", seed=2), forgot(place, "three", "Young")
    for run, column in ((two, 0), (both, 3)):
        plant(place, "original", [run], train_seed=1 + column % 2)
        plant(place, "retrain", [run], forgotten=[column])
        plant(place, "attack-aia", [run], [LABELS[column]], forgotten=[column])
    half_built(place, "original", one, train_seed=9)
    plant(place, "original", [None], train_seed=10)
    plant(place, "original", [place / "runs" / "deleted since"], train_seed=11)
    foreign = plant(place, "original", [two], data="other data")
    for run in (one, two, both):
        purge(forgetting_of(run), also_needed=True, who="all of them")
    left = {file.parent for label in ("Male", "Bald", "Young") for file in
            readable_in(place / "cache", label)}  # fmt: skip
    assert left == {foreign}
    assert kinds(entries_in(place / "cache")) == ["original", "random"]


def test_a_run_that_was_purged_needs_nothing_any_more(place, one):
    two = forgot(place, "two", "Bald")
    shared = plant(place, "original", [two])
    purge(forgetting_of(one), also_needed=False, who=None)
    assert shared.exists()
    purge(forgetting_of(two), also_needed=False, who=None)
    assert not shared.exists()


def test_runs_of_older_versions_may_need_what_has_their_seeds(place, one):
    older = forgot(place, "older", "Bald", seed=5)
    elsewhere = forgot(place, "elsewhere", "Bald", data="other")
    for seed in (5, 6):
        plant(place, "original", [None], split_seed=5, train_seed=seed)
    plan = plan_of(forgetting_of(one), also_needed=False)
    assert [(keep.entry.key["train_seed"], keep.needed_by) for keep in plan.kept] == [
        (5, ("runs/older",))
    ]
    assert older.exists()
    assert elsewhere.exists()
    # And a run that was moved is known by no note either.
    moved = place / "runs" / "moved"
    plant(place, "original", [older], split_seed=5, train_seed=5)
    older.rename(moved)
    plan = plan_of(forgetting_of(one), also_needed=False)
    assert [keep.needed_by for keep in plan.kept] == [("runs/moved",)]


def test_an_older_entry_that_a_new_run_has_found_may_be_an_older_run_s(place, one):
    forgot(place, "older", "Bald")
    plant(place, "original", [None], train_seed=1, more=1)
    plant(place, "original", [one], train_seed=1, more=1)
    plan = plan_of(forgetting_of(one), also_needed=False)
    # The other original was noted from the first day on: nobody else has asked for it.
    assert [(keep.entry.key.get("more"), keep.needed_by) for keep in plan.kept] == [
        (1, ("runs/older",))
    ]


def test_a_run_elsewhere_is_known_by_the_note_and_named(place, one, tmp_path):
    away = forgot(tmp_path / "away", "two", "Bald")
    plant(place, "original", [away])
    plan = plan_of(forgetting_of(one), also_needed=False)
    assert [keep.needed_by for keep in plan.kept] == [(str(away),)]
    assert str(away / "unlearned.safetensors") in {thing.name for thing in plan.untouched}


def test_a_copy_of_the_run_is_the_run(place, one, tmp_path):
    copy = shutil.copytree(one, tmp_path / "outputs" / "runs" / "copy")
    plant(place, "original", [copy])
    assert plan_of(forgetting_of(one), also_needed=False).kept == ()
    assert plan_of(forgetting_of(copy), also_needed=False).kept == ()


def test_what_nobody_can_tell_is_kept_and_named_until_it_may_go(place, one):
    folder = plant(place, "original", [None], train_seed=3)
    (folder / MANIFEST).unlink()
    outcome = purge(forgetting_of(one), also_needed=False, who=None)
    assert [(keep.entry.folder, keep.needed_by) for keep in outcome.plan.kept] == [(folder, ())]
    assert outcome.line["kept"][f"original/{folder.name}"]["needed_by"] == purging.UNTOLD
    purge(forgetting_of(one), also_needed=True, who=None)
    assert not folder.exists()


def test_what_is_not_touched_is_named_with_what_it_tells(place, one):
    forgot(place, "two", "Bald")
    forgot(place, "three", "Male", method="wp")
    forgot(place, "four", "Male", method="original")
    forgot(place, "five", "Male", data="other")
    kept = one / "wandb" / "offline-run-20260102_030405-abc"
    kept.mkdir(parents=True)
    (kept / "run-abc.wandb").write_text("curves")
    found = {
        thing.name: thing.tells for thing in purge(forgetting_of(one), True, None).plan.untouched
    }
    weights = "unlearned.safetensors"
    assert found[f"runs/two/{weights}"] == (
        "a model that tells Brown_Hair, Male, Young; it was not made to forget Male"
    )
    assert found[f"runs/three/{weights}"] == "a model that tells Bald, Brown_Hair, Young"
    assert "it was not made to forget Male" in found[f"runs/four/{weights}"]
    assert f"runs/five/{weights}" not in found
    assert "curves" in found[f"runs/one/wandb/{kept.name}"]
    assert found["data faces"] == "holds the labels themselves (drawn, in cache/faces)"
    assert (kept / "run-abc.wandb").read_text() == "curves"


def test_a_given_original_is_named(place, one):
    config = yaml.safe_load((one / "config.yaml").read_text())
    config["original"] = {"weights": "/models/mine.pt"}
    (one / "config.yaml").write_text(yaml.safe_dump(config))
    plan = plan_of(forgetting_of(one), also_needed=False)
    assert (
        "the run was given: tells Male"
        in {one.name: one.tells for one in plan.untouched}["/models/mine.pt"]
    )


def test_the_run_s_folder_and_all_outside_the_cache_stay(place, one, tmp_path):
    (one / "mine.txt").write_text("mine")
    (place / "cache" / "notes.txt").write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    write_numbers(outside, "original", LABELS)
    link = place / "cache" / "original" / ("0" * 16)
    link.symlink_to(outside)
    before = {file: checksum(file) for file in tmp_path.rglob("*") if file.is_file()}
    outcome = purge(forgetting_of(one), also_needed=True, who=None)
    gone = {file for file in before if not file.is_file()}
    assert {file.relative_to(place).parts[0] for file in gone} == {"cache"}
    assert all(checksum(file) == before[file] for file in before if file not in gone)
    assert link.is_symlink()
    assert f"cache/original/{link.name}" in {one.name for one in outcome.plan.untouched}


def test_a_cache_that_is_itself_a_link_is_the_user_s_and_is_purged(place, one, tmp_path):
    (place / "cache").rename(tmp_path / "large disk")
    (place / "cache").symlink_to(tmp_path / "large disk")
    purge(forgetting_of(one), also_needed=False, who=None)
    assert readable_in(tmp_path / "large disk", "Male") == []


def test_the_ledger_says_who_asked_what_was_done_and_the_sums_of_what_is_gone(place, one):
    sums = {
        entry.name: {file.name: checksum(file) for file in entry.files()}
        for entry in plan_of(forgetting_of(one), also_needed=False).removed
    }
    purge(forgetting_of(one), also_needed=False, who="Änne, by letter")
    request, done, verified, begun, purged = forgetting_of(one).ledger.lines()
    assert (request["event"], request["who"]) == ("request", "Änne, by letter")
    assert (request["forget"], request["data"]) == (["Male"], DATA)
    assert (done["event"], done["method"], done["config"]) == ("done", "wf", "c0ffee")
    assert done["files"]["unlearned.safetensors"] == checksum(one / "unlearned.safetensors")
    assert (verified["event"], verified["verdict"]) == ("verified", "shown")
    assert begun["event"] == "purging"
    assert purged["event"] == "purged"
    assert purged["removed"] == sums
    assert purged["still_there"] == []
    for line in (request, done, verified, begun, purged):
        assert line["run"] == {"folder": "runs/one", "results": checksum(one / "results.json")}
    for name, files in begun["entries"].items():
        assert files.items() <= sums[name].items()


def test_a_second_purge_finds_nothing_and_says_nothing_twice(place, one):
    first = purge(forgetting_of(one), also_needed=False, who="Anna")
    before = (place / "requests.jsonl").read_bytes()
    again = purge(forgetting_of(one), also_needed=False, who="Anna")
    assert again.plan.removed == ()
    assert again.line == first.line
    assert (place / "requests.jsonl").read_bytes() == before
    purge(forgetting_of(one), also_needed=False, who="Ben")
    assert events(one)[5:] == ["request"]


def test_what_is_held_stays_and_goes_the_next_time(place, one):
    held = Store(place / "cache").folder("original", key_of())
    with Store(place / "cache").lock("original", key_of()):
        outcome = purge(forgetting_of(one), also_needed=True, who=None)
    assert outcome.held == (f"original/{held.name}",)
    assert outcome.line["held"] == outcome.line["still_there"] == [*outcome.held]
    assert outcome.line["removed"].keys() == {entry.name for entry in outcome.plan.removed}
    assert {file.parent for file in readable_in(place / "cache", "Male")} == {held}
    assert purge(forgetting_of(one), also_needed=True, who=None).held == ()
    assert readable_in(place / "cache", "Male") == []


def test_a_purge_that_was_ended_says_what_is_gone_and_goes_on(place, one, monkeypatch):
    remove, removed = CacheEntry.remove, []

    def ended(entry):
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(entry.name)
        return remove(entry)

    monkeypatch.setattr(CacheEntry, "remove", ended)
    with pytest.raises(KeyboardInterrupt):
        purge(forgetting_of(one), also_needed=False, who=None)
    *_, begun, line = forgetting_of(one).ledger.lines()
    assert (begun["event"], line["event"]) == ("purging", "interrupted")
    assert list(line["removed"]) == removed
    assert len(line["begun"]) == 1
    assert readable_in(place / "cache", "Male") != []

    monkeypatch.undo()
    purge(forgetting_of(one), also_needed=False, who=None)
    *_, line = forgetting_of(one).ledger.lines()
    assert line["event"] == "purged"
    assert {*line["removed"]} | {*removed} == {*begun["entries"]}
    assert not {*line["removed"]} & {*removed}
    assert readable_in(place / "cache", "Male") == []


def test_of_a_purge_that_was_killed_the_next_one_says_what_it_removed(place, one, monkeypatch):
    class Killed(BaseException):
        pass

    def no_more(ledger, event, content):
        if event in ("purged", "interrupted"):
            raise Killed
        return append(ledger, event, content)

    append = Ledger.append
    monkeypatch.setattr(Ledger, "append", no_more)
    with pytest.raises(Killed):
        purge(forgetting_of(one), also_needed=False, who=None)
    monkeypatch.undo()
    assert events(one)[-1] == "purging"
    outcome = purge(forgetting_of(one), also_needed=False, who=None)
    begun = next(line for line in forgetting_of(one).ledger.lines() if "entries" in line)
    assert outcome.line["removed"] == begun["entries"]


def test_an_entry_of_which_half_is_gone_is_still_known(place, one):
    folder = plant(place, "original", [one])
    (folder / "weights.safetensors").unlink()
    purge(forgetting_of(one), also_needed=False, who=None)
    assert not folder.exists()


def test_a_ledger_that_does_not_fit_ends_it_before_anything_is_removed(place, one):
    purge(forgetting_of(one), also_needed=False, who="Anna")
    file = place / "requests.jsonl"
    file.write_text(file.read_text().replace("Anna", "Hanna"))
    folder = plant(place, "original", [one])
    for do in (
        lambda: plan_of(forgetting_of(one), True),
        lambda: purge(forgetting_of(one), True, "B"),
    ):
        with pytest.raises(UserError, match=r"line 1 of .* does not fit"):
            do()
    assert folder.exists()


def test_outputs_are_found_by_place_and_else_by_the_configuration(place, one, tmp_path):
    assert forgetting_of(one).outputs == place
    moved = place.rename(tmp_path / "moved")
    assert forgetting_of(moved / "runs" / "one").outputs == moved
    job = moved / "sweeps" / "two" / "0"
    shutil.copytree(moved / "runs" / "one", job)
    assert forgetting_of(job).outputs == moved
    elsewhere = shutil.copytree(job, tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no folder .*/outputs: .* --outputs"):
        forgetting_of(elsewhere)
    assert forgetting_of(elsewhere, moved).outputs == moved
    place.mkdir()
    assert forgetting_of(elsewhere).outputs == place
    assert plan_of(forgetting_of(elsewhere), True).removed == ()


def test_what_cannot_be_purged_is_refused(place, one, tmp_path):
    with pytest.raises(UserError, match="there is no run in"):
        forgetting_of(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"has no results\.json"):
        forgetting_of(tmp_path)
    with pytest.raises(UserError, match="forgot nothing"):
        forgetting_of(forgot(place, "two", method="original"))
    older = forgot(place, "older", data=None)
    with pytest.raises(UserError, match="of a version that did not record the fingerprint"):
        forgetting_of(older)
    (one / "results.json").write_text("{}")
    with pytest.raises(UserError, match=r"cannot be purged: results\.json cannot be used"):
        forgetting_of(one)


def test_a_real_run_leaves_its_name_beside_all_that_it_used(finished, place):
    """What the pipeline writes is what a purge looks for."""
    run = finished("method=head", "attack=aia", "reference=retrain")
    session = forgetting_of(run)
    results = json.loads((run / "results.json").read_text())
    entries = [
        entry
        for entry in entries_in(session.cache)
        if session.results in map(checksum_of_results, entry.users)
    ]
    assert {"original", "retrain", "random", "attack-aia"} == {entry.kind for entry in entries}
    assert {entry.key["data"] for entry in entries if "data" in entry.key} == {
        results["run"]["data"]
    }

    files = {file.name for entry in entries for file in entry.folder.iterdir()}
    assert files == {*WRITTEN, MANIFEST}

    for entry in entries:
        copy = place / "cache" / entry.name
        shutil.copytree(entry.folder, copy)
        shutil.copy(entry.folder.with_suffix(".uses"), copy.with_suffix(".uses"))
    # Other tests' runs may have asked for them too.
    purge(forgetting_of(run, place), also_needed=True, who=None)
    left = kinds(entries_in(place / "cache"))
    assert left == ["random", "retrain"]


def checksum_of_results(folder):
    file = Path(folder) / "results.json"
    return checksum(file) if file.is_file() else None
