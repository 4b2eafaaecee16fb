import json
import os

import pytest

from mlu.system.errors import UserError
from mlu.system.owned import HIDDEN, Owned

NAME = "results.json"


def edited(file):
    file.write_text("edited")


def replaced_by_a_link(file):
    content = file.read_bytes()
    other = file.with_name("other")
    other.write_bytes(content)
    file.unlink()
    file.symlink_to(other)


def left_a_dangling_link(file):
    file.unlink()
    file.symlink_to("nowhere")


def made_a_folder(file):
    file.unlink()
    file.mkdir()


def lost_the_list(file):
    (file.parent / HIDDEN / "files.json").unlink()


def broke_the_list(file):
    (file.parent / HIDDEN / "files.json").write_text("[" * 100_000)


def forged_another_list(file):
    (file.parent / HIDDEN / "files.json").write_text('{"files": {"results.json": 3}}')


@pytest.fixture
def place(tmp_path):
    """A folder with a file of ours."""
    place = Owned(tmp_path)
    place.write(NAME, "ours")
    return place


@pytest.mark.parametrize(
    "somebody",
    [
        edited,
        replaced_by_a_link,
        left_a_dangling_link,
        made_a_folder,
        lost_the_list,
        broke_the_list,
        forged_another_list,
    ],
)
def test_what_is_not_as_it_was_written_is_somebody_s(somebody, place):
    assert place.foreign([NAME, "none"]) == []
    somebody(place.folder / NAME)
    assert place.foreign([NAME, "none"]) == [NAME]
    said = rf"{place.folder} has files .* overwrite \({NAME}\): go away"
    with pytest.raises(UserError, match=said):
        place.refuse_foreign([NAME], "go away")


def test_what_was_written_is_ours_also_in_a_copy_and_when_written_again(place, tmp_path):
    place.write(NAME, "newer")
    place.folder.rename(copy := tmp_path.parent / f"{tmp_path.name} moved")
    assert Owned(copy).foreign([NAME]) == []
    (copy / NAME).write_text("ours")
    assert Owned(copy).foreign([NAME]) == []


@pytest.mark.parametrize("kept", range(3))
def test_whoever_is_killed_while_replacing_leaves_what_is_ours(kept, place, monkeypatch):
    """Between the list and each of the renames."""
    place.fresh_drafts()
    for name in ("a", "b", NAME):
        (place.drafts / name).write_text("new")
    rename, left = os.replace, iter(range(kept))

    def replace(source, target):
        if HIDDEN not in str(target):
            next(left)
        rename(source, target)

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises(StopIteration):
        place.replace(["a", "b", NAME], last=NAME)
    assert place.foreign(["a", "b", NAME]) == []
    assert not (place.folder / NAME).exists()


def test_what_is_replaced_is_gone_and_the_last_comes_last(place):
    place.write("old", "old")
    (place.fresh_drafts() / "new").write_text("new")
    (place.drafts / NAME).write_text("new")
    place.replace(["old", "new", NAME], last=NAME)
    assert {file.name for file in place.folder.iterdir()} == {HIDDEN, "new", NAME}
    assert place.foreign(["old", "new", NAME]) == []


def test_what_a_library_writes_is_ours_until_it_is_noted_and_then_as_it_was(place):
    place.claim(["log"])
    (place.folder / "log").write_text("a")
    assert place.is_claimed("log")
    assert place.foreign(["log"]) == []
    place.seal(["log", "none"])
    (place.folder / "log").write_text("b")
    assert not place.is_claimed("log")
    assert place.foreign(["log"]) == ["log"]


def test_a_name_that_is_taken_gets_a_number(place):
    assert place.free_name(NAME) == NAME
    edited(place.folder / NAME)
    assert place.free_name(NAME) == "results_2.json"
    place.write("results_2.json", "ours")
    assert place.free_name(NAME) == "results_2.json"
    edited(place.folder / "results_2.json")
    assert place.free_name(NAME) == "results_3.json"


def test_half_a_pair_of_surrogates_is_written_as_a_question_mark(place):
    place.write("text", "a\udcff")
    assert (place.folder / "text").read_text() == "a?"
    assert json.loads((place.folder / HIDDEN / "files.json").read_text())["files"].keys() == {
        NAME,
        "text",
    }
