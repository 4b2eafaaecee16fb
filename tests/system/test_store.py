import errno
import hashlib
import importlib
import json
import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import mlu.system.errors
from mlu.models.backbones import Tiny
from mlu.system.errors import UserError
from mlu.system.store import MANIFEST, Store, code_digest, digest, outside_code, part_key

KEY = {"seed": 1, "labels": ["Bald", "Young"]}


class Build:
    """Writes one file, and counts how often."""

    def __init__(self, text="weights"):
        self.text, self.calls = text, 0

    def __call__(self, folder):
        self.calls += 1
        assert list(folder.iterdir()) == []
        (folder / "weights.txt").write_text(self.text)
        return {"accuracy": 0.9, "call": self.calls}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def test_an_entry_is_built_once_and_found_again(store):
    build = Build()
    first, second = store.get("original", KEY, build), store.get("original", KEY, build)
    assert (first.fresh, second.fresh, build.calls) == (True, False, 1)
    assert (first.folder, first.facts) == (second.folder, second.facts)
    assert first.facts["accuracy"] == 0.9
    assert (first.folder / "weights.txt").read_text() == "weights"
    assert Store(str(store.root)).get("original", KEY, build).fresh is False


def test_another_key_or_stage_is_another_entry(store):
    entries = [
        store.get(stage, key, Build(f"{stage} {key}"))
        for stage in ("original", "retrain")
        for key in (
            KEY,
            KEY | {"seed": 2},
            KEY | {"more": None},
            KEY | {"labels": ["Young", "Bald"]},
        )
    ]
    assert all(entry.fresh for entry in entries)
    assert len({entry.folder for entry in entries}) == 8
    assert len({(entry.folder / "weights.txt").read_text() for entry in entries}) == 8


def test_the_order_of_keys_does_not_count(store):
    store.get("original", {"a": 1, "b": {"c": 2, "d": 3}}, Build())
    assert store.get("original", {"b": {"d": 3, "c": 2}, "a": 1}, Build()).fresh is False


def swap(folder):
    (folder / "weights.txt").write_text("wEights")


def lose(folder):
    (folder / "weights.txt").unlink()


def lose_manifest(folder):
    (folder / MANIFEST).unlink()


def cut_manifest(folder):
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:-9])


def empty_manifest(folder):
    (folder / MANIFEST).write_text("{}")


def list_manifest(folder):
    (folder / MANIFEST).write_text("[]")


def manifest_without_facts(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["facts"]
    (folder / MANIFEST).write_text(json.dumps(manifest))


def flip_a_fact(folder):
    manifest = (folder / MANIFEST).read_text()
    assert '"accuracy": 0.9,' in manifest
    (folder / MANIFEST).write_text(manifest.replace('"accuracy": 0.9,', '"accuracy": 0.8,'))


def nest_manifest(folder):
    (folder / MANIFEST).write_text("[" * 100_000)


def put_a_file_there(folder):
    shutil.rmtree(folder)
    folder.write_text("no folder")


def link(folder):
    elsewhere = folder.parent.parent / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (swap, "weights.txt has another checksum"),
        (lose, "weights.txt is missing"),
        (lose_manifest, f"{MANIFEST} is missing"),
        (cut_manifest, f"unreadable {MANIFEST}"),
        (empty_manifest, f"unreadable {MANIFEST}"),
        (list_manifest, f"unreadable {MANIFEST}"),
        (manifest_without_facts, f"unreadable {MANIFEST}"),
        (flip_a_fact, f"{MANIFEST} has another checksum"),
        (nest_manifest, f"unreadable {MANIFEST}"),
        (put_a_file_there, f"{MANIFEST} is missing"),
        (link, "it is a link"),
    ],
)
def test_a_damaged_entry_is_named_and_built_again(store, caplog, spoil, says):
    build = Build()
    entry = store.get("original", KEY, build)
    spoil(entry.folder)
    with caplog.at_level(logging.WARNING):
        again = store.get("original", KEY, build)
    assert says in caplog.text
    assert str(entry.folder) in caplog.text
    assert (again.fresh, again.facts["call"]) == (True, 2)
    assert (again.folder / "weights.txt").read_text() == "weights"
    caplog.clear()
    assert store.get("original", KEY, build).fresh is False
    assert not caplog.records


@pytest.mark.parametrize("suffix", ["", ".draft"])
def test_links_in_the_cache_lead_nowhere_that_is_emptied(store, tmp_path, suffix):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("keep")
    place = store.folder("original", KEY)
    place.parent.mkdir(parents=True)
    place.with_suffix(suffix).symlink_to(elsewhere)
    assert store.get("original", KEY, Build()).fresh
    assert not place.is_symlink()
    assert [file.name for file in elsewhere.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("number", "lasts"), [(errno.EMFILE, True), (errno.ENOENT, False), (None, False)]
)
def test_a_fault_of_the_machine_costs_no_entry(store, number, lasts):
    """Also where somebody else's words were put around it."""
    build, opened = Build(), []

    def read(entry):
        opened.append(entry)
        if len(opened) == 2:
            raise ValueError("cannot be read") from (
                OSError(number, "why") if number else OSError("why")
            )

    store.read("original", KEY, build, read)
    if lasts:
        with pytest.raises(ValueError, match="cannot be read"):
            store.read("original", KEY, build, read)
    else:
        store.read("original", KEY, build, read)
    assert build.calls == (1 if lasts else 2)


def test_a_sound_entry_gives_no_warning(store, caplog):
    store.get("original", KEY, Build())
    store.get("original", KEY, Build())
    assert not caplog.records


def test_a_build_that_fails_leaves_no_entry(store):
    def fail(folder):
        (folder / "weights.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get("original", KEY, fail)
    assert not list(store.root.rglob(MANIFEST))
    entry = store.get("original", KEY, Build("whole"))
    assert entry.fresh
    assert (entry.folder / "weights.txt").read_text() == "whole"


def test_an_entry_is_not_seen_before_it_is_finished(store):
    place = store.get("original", KEY, Build()).folder
    shutil.rmtree(place)

    def build(folder):
        (folder / "weights.txt").write_text("weights")
        assert not place.exists()
        return {}

    assert store.get("original", KEY, build).folder == place


def test_what_a_killed_build_left_is_ignored(store):
    place = store.get("original", KEY, Build()).folder
    shutil.copytree(place, place.with_suffix(".draft"))
    (place.with_suffix(".draft") / "old.txt").write_text("left over")
    shutil.rmtree(place)
    entry = store.get("original", KEY, Build("new"))
    assert entry.fresh
    assert sorted(file.name for file in entry.folder.iterdir()) == [MANIFEST, "weights.txt"]
    assert not place.with_suffix(".draft").exists()


CHILD = """
import sys, time
from pathlib import Path
from mlu.system.store import Store
root = Path(sys.argv[1])

def build(folder):
    with (root / "builds").open("a") as log:
        log.write("x")
    time.sleep(1)
    (folder / "weights.txt").write_text("weights")
    return {}

print("ready", flush=True)
sys.stdin.readline()
entry = Store(root / "cache").get("original", {"seed": 1}, build)
print(entry.fresh, (entry.folder / "weights.txt").read_text())
"""


def test_two_processes_build_once(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as two,
    ):
        assert [one.stdout.readline(), two.stdout.readline()] == ["ready\n", "ready\n"]
        for child in (one, two):
            child.stdin.write("go\n")
            child.stdin.flush()
        said = sorted(child.communicate(timeout=60)[0] for child in (one, two))
    assert said == ["False weights\n", "True weights\n"]
    assert (tmp_path / "builds").read_text() == "x"


def in_a_thread(function):
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function).result(timeout=60)


def test_a_claim_is_one_s_own_or_refused_at_once_and_ends_with_its_block(store):
    def claimed(key=KEY):
        with store.claim("original", key) as ours:
            return ours

    with store.claim("original", KEY) as ours:
        assert ours
        assert not in_a_thread(claimed)
        assert in_a_thread(lambda: claimed(KEY | {"seed": 2}))
        # Who holds it may build.
        assert store.get("original", KEY, Build()).fresh
        assert not in_a_thread(claimed)
    assert in_a_thread(claimed)
    with pytest.raises(KeyError), store.claim("original", KEY):
        raise KeyError
    assert in_a_thread(claimed)
    # Nobody else can while it is built.
    other = KEY | {"seed": 3}
    entry = store.get(
        "original", other, lambda folder: {"claimed": in_a_thread(lambda: claimed(other))}
    )
    assert entry.facts["claimed"] is False


def test_what_is_dropped_is_unwanted_sound_and_in_nobodys_hands(store):
    keys = [KEY | {"seed": seed} for seed in range(5)]
    folders = [store.get("faces", key, Build()).folder for key in keys]
    (folders[1] / "weights.txt").write_text("spoilt")
    # Of another place, though it says that it is of this.
    shutil.copytree(folders[2], folders[2].with_name("copy"))

    held = store.lock("faces", keys[0])
    with held:
        in_a_thread(lambda: store.drop("faces", lambda key: key["seed"] < 4))
    assert [folder.is_dir() for folder in folders] == [True, True, False, False, True]
    assert folders[2].with_name("copy").is_dir()
    store.drop("no such kind", lambda key: True)


def test_code_digest_of_a_module_is_that_of_its_file():
    source = Path(mlu.system.errors.__file__).read_bytes()
    named = f"errors.py {len(source)}\n".encode() + source
    assert code_digest("mlu.system.errors") == hashlib.sha256(named).hexdigest()[:16]
    assert code_digest("mlu.system.errors") != code_digest(
        "mlu.system.errors", "mlu.system.seeding"
    )


def test_code_digest_changes_with_every_source_of_a_package(tmp_path, monkeypatch):
    package = tmp_path / "roadside"
    (package / "deep" / "deeper").mkdir(parents=True)
    sources = [package / "__init__.py", package / "one.py", package / "deep" / "deeper" / "two.py"]
    for source in sources:
        source.write_text(f"NAME = {source.name!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    first, digest = (
        code_digest("roadside"),
        code_digest.__wrapped__,
    )  # without the cache, as another process
    seen = [digest("roadside")]
    for source in sources:
        source.write_text(source.read_text() + "# changed\n")
        seen.append(digest("roadside"))
    (package / "deep" / "three.py").write_text("NEW = 1\n")
    seen.append(digest("roadside"))
    assert len(set(seen)) == 5
    (package / "notes.txt").write_text("no source")
    assert digest("roadside") == seen[-1]
    # In a process the code is what it was.
    assert code_digest("roadside") == first == seen[0]


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "one"
    sizes: tuple[int, ...] | list[int] = (1, 2)
    inner: Inner = Inner()
    jobs: int = field(default=1, compare=False)


@dataclass(frozen=True, kw_only=True)
class Reordered:
    jobs: int = field(default=1, compare=False)
    inner: Inner = Inner()
    sizes: tuple[int, ...] | list[int] = (1, 2)
    name: str = "one"


def test_equal_settings_have_the_same_key():
    same = [Outer(jobs=7), Outer(sizes=[1, 2]), Outer(sizes=(1.0, 2.0)), Outer(inner=Inner())]
    assert {digest(part_key(one)) for one in same} == {digest(part_key(Outer()))}


def test_the_order_of_fields_does_not_count_and_the_class_does():
    one, other = part_key(Outer()), part_key(Reordered())
    assert digest(one["fields"]) == digest(other["fields"])
    assert digest(one) != digest(other)


def test_every_other_setting_has_another_key():
    others = [
        Outer(),
        Outer(name="two"),
        Outer(name=None),
        Outer(sizes=(2, 1)),
        Outer(sizes=()),
        Outer(inner=Inner(rate=0.25)),
        Outer(inner=None),
        Outer(sizes={"a": 1}),
    ]
    assert len({digest(part_key(one)) for one in others}) == len(others)


def test_a_path_stands_for_what_its_file_holds(tmp_path):
    for name, content in (("one", b"1"), ("same", b"1"), ("two", b"2")):
        (tmp_path / name).write_bytes(content)
    one, same, two = (part_key(Outer(name=tmp_path / name)) for name in ("one", "same", "two"))
    assert one == same != two


def test_what_does_not_say_what_it_holds_is_refused_with_its_name():
    class Opaque:
        """No dataclass."""

    with pytest.raises(UserError, match=r"Opaque does not say .*: make it a dataclass") as fault:
        part_key(Outer(name=Opaque()))
    assert len(str(fault.value).splitlines()) == 1


def test_code_of_a_class_outside_this_package_is_part_of_its_key(tmp_path, monkeypatch):
    """That of its bases outside, too; that of this package is named by who builds the entry."""
    base, source = tmp_path / "strangers_base.py", tmp_path / "strangers.py"
    base.write_text("class Base:\n    pass\n")
    source.write_text(
        "from dataclasses import dataclass\n"
        "from strangers_base import Base\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Base):\n"
        "    rate: float = 1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("strangers").Mine()
    monkeypatch.setattr("mlu.system.store.code_digest", code_digest.__wrapped__)

    seen = [part_key(mine)]
    for file in (source, base):
        file.write_text(file.read_text() + "# changed\n")
        seen.append(part_key(mine))
    assert len({digest(one) for one in seen}) == 3
    assert seen[0]["class"] == "strangers.Mine"
    assert outside_code(Tiny(name="tiny")) is None
