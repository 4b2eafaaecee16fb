"""A ledger whose lines hang together: no byte of it changes unseen."""

import json
import threading

import pytest

from mlu.runs.ledger import BEFORE_ALL, Ledger, hash_of, lines_about
from mlu.system.errors import UserError

EVENTS = ("request", "done", "verified", "purging", "purged")


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "requests.jsonl")
    for number, event in enumerate(EVENTS):
        ledger.append(event, {"run": {"results": "ab"[number % 2]}, "who": "Änne, §17"})
    return ledger


def test_each_line_holds_the_hash_of_the_line_before(ledger):
    lines = ledger.lines()
    assert [line["event"] for line in lines] == list(EVENTS)
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["before"] for line in lines] == [
        BEFORE_ALL,
        *(line["hash"] for line in lines[:-1]),
    ]
    assert all(line["hash"] == hash_of(line) for line in lines)
    assert ledger.examine()[1] is None
    assert [line["line"] for line in lines_about(lines, "a")] == [1, 3, 5]


def test_one_that_is_not_there_is_empty(tmp_path):
    assert Ledger(tmp_path / "none.jsonl").lines() == []


@pytest.mark.parametrize("number", range(len(EVENTS)))
@pytest.mark.parametrize("place", [3, 20, 60, -70, -3])
def test_a_byte_changed_in_any_line_is_found_in_that_line(ledger, number, place):
    lines = ledger.file.read_bytes().splitlines(keepends=True)
    changed = bytearray(lines[number])
    changed[place] ^= 1
    lines[number] = bytes(changed)
    ledger.file.write_bytes(b"".join(lines))
    misfit = ledger.examine()[1]
    assert misfit is not None
    assert misfit.number == number + 1
    with pytest.raises(UserError, match=f"line {number + 1} of .* does not fit"):
        ledger.append("request", {})


@pytest.mark.parametrize("number", range(len(EVENTS) - 1))
def test_a_line_written_anew_with_a_hash_of_its_own_is_found_behind_it(ledger, number):
    lines = ledger.lines()
    forged = lines[number] | {"who": "nobody"}
    forged["hash"] = hash_of(forged)
    lines[number] = forged
    ledger.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ledger.examine()[1].number == number + 2


@pytest.mark.parametrize("number", range(len(EVENTS) - 1))
def test_a_line_left_out_put_in_twice_or_moved_is_found(ledger, number):
    lines = ledger.file.read_text().splitlines(keepends=True)
    without = [*lines[:number], *lines[number + 1 :]]
    twice = [*lines[: number + 1], *lines[number:]]
    moved = [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]
    for changed, found in ((without, number + 1), (twice, number + 2), (moved, number + 1)):
        ledger.file.write_text("".join(changed))
        assert ledger.examine()[1].number == found


@pytest.mark.parametrize(
    "text", ["{}\n", "[]\n", "1\n", "no\n", "\n", '{"a": 1, "a": 1}\n', "[" * 99_999 + "\n"]
)
def test_a_file_that_is_no_ledger_does_not_fit_in_its_first_line(tmp_path, text):
    ledger = Ledger(tmp_path / "requests.jsonl")
    ledger.file.write_text(text)
    assert ledger.examine()[1].number == 1


def test_spaces_between_are_a_change_too(ledger):
    text = ledger.file.read_text()
    ledger.file.write_text(text.replace('"line": 2', '"line":  2'))
    assert ledger.examine()[1].number == 2


def test_half_a_line_is_cut_off_and_that_is_written_down(ledger):
    before = ledger.file.read_bytes()
    ledger.file.write_bytes(before + b'{"line": 6, "da')
    assert ledger.examine()[1].number == 6
    ledger.mend()
    *kept, mended = ledger.lines()
    assert len(kept) == 5
    assert (mended["event"], mended["bytes"]) == ("mended", 15)
    assert mended["cut"] == '{"line": 6, "da'
    assert ledger.file.read_bytes().startswith(before)
    ledger.mend()
    assert len(ledger.lines()) == 6


def test_what_does_not_fit_before_is_not_mended(ledger):
    ledger.file.write_bytes(b"mine\n" + ledger.file.read_bytes() + b"half")
    before = ledger.file.read_bytes()
    ledger.mend()
    assert ledger.file.read_bytes() == before


def test_a_full_disk_leaves_no_half_of_a_line(ledger, monkeypatch):
    before = ledger.file.read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlu.runs.ledger.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        ledger.append("request", {})
    assert ledger.file.read_bytes() == before


def test_a_link_is_no_ledger(ledger, tmp_path):
    link = tmp_path / "link.jsonl"
    link.symlink_to(ledger.file)
    with pytest.raises(UserError, match="is a link"):
        Ledger(link).append("request", {})


def test_those_who_write_at_once_take_turns(tmp_path):
    def write(name):
        ledger = Ledger(tmp_path / "requests.jsonl")
        for number in range(8):
            with ledger.held():
                ledger.append("request", {"who": f"{name} {number}"})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = Ledger(tmp_path / "requests.jsonl").lines()
    assert len({line["who"] for line in lines}) == 24
