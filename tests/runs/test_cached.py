"""Entries of a cache: which of them knew, and that only what is theirs is removed."""

import json
from pathlib import Path

import pytest

from mlu.data.sets import digits
from mlu.data.sets.faces import dataset
from mlu.pipeline import shadows, trained
from mlu.runs.cached import DRAWN, UNTRAINED, WITHOUT_LABEL, entries_in, entry_of, knew, links_in
from mlu.system.store import MANIFEST, Store, checksum
from tests.support.forgotten_runs import DATA, forgot, half_built, key_of, plant


def source_of(module):
    return Path(module.__file__).read_text()


@pytest.fixture
def run(tmp_path):
    return forgot(tmp_path, "one")


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        ("original", {}, True),
        ("original", {"data": "other"}, False),
        ("random", {}, False),
        ("start", {}, False),
        ("retrain", {"forgotten": [2]}, False),
        ("retrain", {"forgotten": [0, 2]}, False),
        ("retrain", {"forgotten": [0]}, True),
        ("shadow", {}, True),
        ("shadow-retrain", {"forgotten": [2]}, False),
        ("shadow-retrain", {"forgotten": [1]}, True),
        ("shadow-unlearned", {"forgotten": [2]}, True),
        ("attack-aia", {"forgotten": [2]}, True),
        ("a-kind-of-later", {}, True),
    ],
)
def test_what_knew_is_told_by_kind_and_key(tmp_path, run, kind, key, expected):
    entry = entry_of(plant(tmp_path, kind, [run], **key))
    assert entry.name == f"{kind}/{entry.folder.name}"
    assert knew(entry, DATA, [2]) is expected


def test_of_several_labels_a_model_must_be_without_all(tmp_path, run):
    entry = entry_of(plant(tmp_path, "retrain", [run], forgotten=[2]))
    assert knew(entry, DATA, [2]) is False
    assert knew(entry, DATA, [2, 3]) is True


def test_kinds_are_those_that_the_pipeline_writes():
    sources = source_of(trained) + source_of(shadows)
    for kind in (*UNTRAINED, *WITHOUT_LABEL):
        assert f'"{kind}"' in sources
    drawing = source_of(digits) + source_of(dataset)
    assert all(f'"{kind}", key' in drawing for kind in DRAWN)


def test_drawn_images_are_no_models_even_if_damaged(tmp_path):
    folder = plant(tmp_path, "faces", [None])
    (folder / MANIFEST).write_text("{}")
    assert knew(entry_of(folder), DATA, [2]) is False


def test_an_entry_names_its_users_and_its_sums(tmp_path, run):
    other = forgot(tmp_path, "two")
    entry = entry_of(plant(tmp_path, "original", [run, other, run]))
    assert entry.users == (str(run), str(other))
    assert entry.checksums == {
        name: checksum(entry.folder / name) for name in ("test.safetensors", "weights.safetensors")
    }
    assert entry.complete
    older = entry_of(plant(tmp_path, "original", [None], train_seed=2))
    assert (older.users, older.complete) == ((), False)
    again = entry_of(plant(tmp_path, "original", [run], train_seed=2))
    assert (again.users, again.complete) == ((str(run),), False)


@pytest.mark.parametrize("text", ["{}", "[]", "no", "[" * 99_999])
def test_nobody_can_tell_what_a_damaged_entry_is_unless_it_was_noted_beside(tmp_path, run, text):
    noted = plant(tmp_path, "original", [run])
    unnoted = plant(tmp_path, "original", [None], train_seed=2)
    for folder in (noted, unnoted):
        (folder / MANIFEST).write_text(text)
    assert knew(entry_of(noted), DATA, [2]) is True
    assert knew(entry_of(unnoted), DATA, [2]) is None
    uses = noted.with_suffix(".uses")
    uses.write_text(text)
    assert knew(entry_of(noted), DATA, [2]) is None


def test_a_note_of_another_key_says_nothing(tmp_path, run):
    folder = plant(tmp_path, "original", [run])
    (folder / MANIFEST).unlink()
    noted = json.loads(folder.with_suffix(".uses").read_text())
    folder.with_suffix(".uses").write_text(json.dumps(noted | {"key": key_of(data="other")}))
    assert knew(entry_of(folder), DATA, [2]) is None


def test_what_a_killed_training_left_is_an_entry(tmp_path, run):
    draft = half_built(tmp_path, "original", run)
    (entry,) = entries_in(tmp_path / "cache")
    assert entry.folder == draft
    assert knew(entry, DATA, [2]) is True
    entry.remove()
    assert not draft.exists()
    assert not draft.with_suffix(".uses").exists()


def test_removing_takes_what_is_its_own_and_leaves_what_is_not(tmp_path, run):
    folder = plant(tmp_path, "original", [run])
    (folder / "mine.txt").write_text("mine")
    (folder / "mine.npz").write_text("mine")
    (folder / "sub").mkdir()
    sums = {file.name: checksum(file) for file in entry_of(folder).files()}
    assert entry_of(folder).remove() == sums
    assert set(sums) == {"test.safetensors", "weights.safetensors", MANIFEST}
    assert {file.name for file in folder.iterdir()} == {"mine.txt", "mine.npz", "sub"}
    assert entry_of(folder).files() == []


def test_links_are_told_and_never_followed(tmp_path, run):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "weights.safetensors").write_text("mine")
    folder = plant(tmp_path, "original", [run])
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").symlink_to(outside / "weights.safetensors")
    link = folder.with_name("0" * 16)
    link.symlink_to(outside)
    (tmp_path / "cache" / "retrain").symlink_to(outside)
    assert [entry.folder for entry in entries_in(tmp_path / "cache")] == [folder]
    assert links_in(tmp_path / "cache") == [tmp_path / "cache" / "retrain", link]
    gone = entry_of(folder).remove()
    assert gone["weights.safetensors"].startswith("a link to ")
    assert not folder.exists()
    assert (outside / "weights.safetensors").read_text() == "mine"


def test_what_is_not_called_as_an_entry_is_none(tmp_path, run):
    folder = plant(tmp_path, "original", [run])
    for name in ("mine", "0" * 15, "0" * 17, "G" * 16, f"{folder.name}.mine"):
        (folder.parent / name).mkdir()
    (folder.parent / ("1" * 16)).write_text("a file")
    assert [entry.folder for entry in entries_in(tmp_path / "cache")] == [folder]


def test_a_held_entry_is_not_ours(tmp_path, run):
    folder = plant(tmp_path, "original", [run])
    lock = Store(tmp_path / "cache").lock("original", key_of())
    with entry_of(folder).claimed() as ours:
        assert ours
    with lock, entry_of(folder).claimed() as ours:
        assert not ours
    with entry_of(folder).claimed() as ours:
        assert ours
