"""python -m mlu.purge: it shows before it removes, and says what is wrong in one line."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlu import certify, purge
from mlu.runs.cached import CacheEntry
from mlu.runs.ledger import Ledger
from mlu.system.store import Store
from tests.support.forgotten_runs import forgot, key_of, plant, readable_in
from tests.support.made_runs import LABELS

ROOT = Path(__file__).parents[1]
OTHERS = tuple(label for label in LABELS if label != "Male")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "outputs"


@pytest.fixture
def run(place):
    run, other = forgot(place, "one"), forgot(place, "two", "Bald")
    plant(place, "original", [run, other])
    plant(place, "retrain", [run], OTHERS, forgotten=[2])
    plant(place, "attack-aia", [run], ["Male"], forgotten=[2])
    return run


def ended(words, capsys, main=purge.main):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code, *capsys.readouterr()


def everything(place):
    return {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}


def test_without_the_word_it_only_shows(run, place, capsys):
    before = everything(place)
    code, out, err = ended([run], capsys)
    assert (code, err) == (0, "")
    assert everything(place) == before
    original, evidence = (next((place / "cache" / kind).glob("*/")) for kind in
                          ("original", "attack-aia"))  # fmt: skip
    removed, kept, untouched = (
        out.index(title) for title in ("to be removed:", "kept (--also-needed", "not touched:")
    )
    assert removed < out.index(f"attack-aia/{evidence.name}  0.0 MB") < kept
    assert kept < out.index(f"original/{original.name} (test.safetensors, weights.safetensors, ")
    assert "because runs/two needs it" in out[kept:untouched]
    assert "runs/two/unlearned.safetensors: a model that tells " in out[untouched:]
    assert "retrain/" not in out
    assert out.endswith("nothing was removed: that takes --remove\n")


def test_also_what_is_needed_is_shown_where_it_would_go(run, capsys):
    _, out, _ = ended([run, "--also-needed"], capsys)
    assert "  original/" in out[: out.index("not touched:")]
    assert "kept" not in out


def test_it_removes_and_the_ledger_it_names_fits(run, place, capsys):
    code, out, err = ended([run, "--remove", "--also-needed", "--who", "Anna, by letter"], capsys)
    assert (code, err) == (0, "")
    assert readable_in(place / "cache", "Male") == []
    last = Ledger(place / "requests.jsonl").lines()[-1]
    assert f"line 5 of {place / 'requests.jsonl'}, hash {last['hash']}" in out
    code, out, _ = ended(["--check", place / "requests.jsonl"], capsys)
    assert code == 0
    assert (
        out == f"{place / 'requests.jsonl'}: 5 lines fit, the last one with hash {last['hash']}\n"
    )


def test_the_check_names_the_first_line_that_does_not_fit(run, place, capsys):
    ended([run, "--remove", "--who", "Anna"], capsys)
    file = place / "requests.jsonl"
    file.write_text(file.read_text().replace('"event": "verified"', '"event": "Verified"'))
    code, out, err = ended(["--check", file], capsys)
    assert (code, out) == (1, "")
    assert err == (
        f"line 3 of {file} does not fit: its hash is another than that of what it says\n"
    )


def test_what_is_held_is_code_1_and_named(run, place, capsys):
    with Store(place / "cache").lock("original", key_of()):
        code, out, _ = ended([run, "--remove", "--also-needed"], capsys)
    assert code == 1
    assert "still there, since a running process holds it: original/" in out
    assert "  original/" not in out
    assert "  attack-aia/" in out
    assert ended([run, "--remove", "--also-needed"], capsys)[0] == 0


def test_what_is_wrong_is_one_line_and_code_2(run, place, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (place / "link.jsonl").symlink_to(place / "other.jsonl")
    (place / "other.jsonl").write_text("")
    words = {
        "give either RUN, or --check": [],
        "or --check and a ledger": [run, "--check", place / "other.jsonl"],
        "there is no run in": [tmp_path / "nowhere"],
        "has no results.json": [tmp_path / "empty"],
        "unrecognized arguments": [run, "--delete"],
        "no folder": [run, "--outputs", tmp_path / "nowhere"],
        "there is no ledger": ["--check", tmp_path / "nowhere"],
        "is a link": ["--check", place / "link.jsonl"],
        "forgot nothing": [forgot(place, "three", method="original")],
        "did not record the fingerprint": [forgot(place, "older", data=None)],
    }
    for message, given in words.items():
        code, out, err = ended([*given, *(["--remove"] if run in given else [])], capsys)
        assert (code, out, err.count("\n")) == (2, "", 1), message
        assert message in err
    assert not (place / "requests.jsonl").exists()
    (place / "requests.jsonl").write_text("mine\n")
    code, _, err = ended([run, "--remove"], capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "line 1 of" in err


def test_a_ledger_that_cannot_be_written_ends_it_before_anything_is_removed(run, place, capsys):
    before = everything(place)
    (place / "requests.jsonl").mkdir()
    code, _, err = ended([run, "--remove"], capsys)
    assert (code, err.count("\n")) == (2, 1)
    (place / "requests.jsonl").rmdir()
    assert everything(place).items() >= before.items()


def test_names_from_files_move_no_cursor(run, place, capsys):
    forgot(place, "a\x1b[31mb\n", "Bald")
    out = ended([run], capsys)[1]
    assert "\x1b" not in out
    assert "a\\x1b[31mb\\n" in out


@pytest.fixture
def hearing_ctrl_c():
    """This process hears Ctrl-C, also where tests run in the background of a shell's script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hearing_ctrl_c")
def test_ctrl_c_in_between_leaves_a_ledger_that_tells(run, place, capsys, monkeypatch):
    remove = CacheEntry.remove

    def and_then_ctrl_c(entry):
        gone = remove(entry)
        signal.raise_signal(signal.SIGINT)
        return gone

    monkeypatch.setattr(CacheEntry, "remove", and_then_ctrl_c)
    monkeypatch.setattr("mlu.system.interruption.logging.disable", lambda: None)
    code, _, err = ended([run, "--remove", "--also-needed"], capsys)
    assert code == 130
    assert "ended by Ctrl-C" in err
    line = Ledger(place / "requests.jsonl").lines()[-1]
    assert line["event"] == "interrupted"
    assert [name.partition("/")[0] for name in line["begun"]] == ["attack-aia"]
    monkeypatch.undo()
    assert ended([run, "--remove", "--also-needed"], capsys)[0] == 0
    line = Ledger(place / "requests.jsonl").lines()[-1]
    assert sorted(name.partition("/")[0] for name in line["removed"]) == ["attack-aia", "original"]
    assert readable_in(place / "cache", "Male") == []


def test_two_at_once_share_the_work(run, place):
    for seed in range(20):
        plant(place, "shadow", [run], train_seed=seed)
    names = {f"{entry.parent.name}/{entry.name}" for kind in ("original", "attack-aia", "shadow")
             for entry in (place / "cache" / kind).glob("*/")}  # fmt: skip
    command = [sys.executable, "-m", "mlu.purge", str(run), "--remove", "--also-needed"]
    both = [
        subprocess.Popen([*command, "--who", who], cwd=ROOT, stdout=subprocess.DEVNULL)
        for who in ("Anna", "Ben")
    ]
    assert [one.wait(timeout=60) for one in both] == [0, 0]
    lines = Ledger(place / "requests.jsonl").lines()
    assert {line["who"] for line in lines if line["event"] == "request"} == {"Anna", "Ben"}
    removed = [name for line in lines for name in line.get("removed", ())]
    assert sorted(removed) == sorted(names)
    assert readable_in(place / "cache", "Male") == []


def test_the_certificate_shows_it(finished, place, capsys):
    run = finished("method=leace", "attack=none", "reference=none")
    given = ["--outputs", place]
    place.mkdir()
    sums = key_of(data=json.loads((run / "results.json").read_text())["run"]["data"])
    plant(place, "original", [run], **sums)
    ledger = ["--ledger", place / "requests.jsonl"]
    early = run / "early"
    assert ended([run, "--out", early], capsys, certify.main)[0] == 0
    assert ended([run, *given, "--remove", "--who", "<b>Änne</b>"], capsys)[0] == 0
    assert ended([run, *ledger], capsys, certify.main)[0] == 0
    stated = json.loads((run / "certificate.json").read_text())
    lines = Ledger(place / "requests.jsonl").lines()
    assert [line["hash"] for line in stated["ledger"]] == [line["hash"] for line in lines]
    assert stated["ledger"][-1]["removed"] == lines[-1]["removed"]
    (name,) = lines[-1]["removed"]
    page = (run / "certificate.html").read_text()
    assert "by &lt;b&gt;Änne&lt;/b&gt;: to forget Male" in page
    assert name in page
    assert "The cache was read again: no model and no evidence in it knew" in page
    assert "None" not in page
    assert any("than those that the ledger names" in line for line in stated["not_claimed"])
    assert str(run) not in json.dumps(stated)

    verify = [run, "--verify", run / "certificate.json"]
    assert ended([*verify, *ledger], capsys, certify.main)[0] == 0
    assert (
        ended([run, "--verify", early / "certificate.json", *ledger], capsys, certify.main)[0] == 0
    )
    # Lines that came since change nothing.
    ended([run, *given, "--remove", "--who", "Ben"], capsys)
    assert ended([*verify, *ledger], capsys, certify.main)[0] == 0
    code, _, err = ended(verify, capsys, certify.main)
    assert code == 1
    assert "name it with --ledger" in err
    # A ledger that was written anew, with hashes that fit each other, is not the one quoted.
    (place / "requests.jsonl").unlink()
    ended([run, *given, "--remove", "--who", "Carl"], capsys)
    assert ended([*verify, *ledger], capsys, certify.main)[0] == 1
    (place / "requests.jsonl").write_text("mine\n")
    assert ended([*verify, *ledger], capsys, certify.main)[0] == 2
    assert ended([run, "--ledger", place / "none"], capsys, certify.main)[0] == 2


def test_help_and_refusals_need_no_torch(tmp_path):
    code = (
        "import sys\nfrom mlu import purge\n"
        "try: purge.main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
    )
    for words, expected in ((["--help"], 0), ([str(tmp_path)], 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, env=os.environ
        )
        assert done.returncode == expected, done.stderr
