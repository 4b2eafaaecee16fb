"""python -m mlu.certify: what it states is what the run's files say."""

import hashlib
import html
import json
import os
import re

import pytest

from mlu import certify

FILES = ("unlearned.safetensors", "results.json", "config.yaml", "labels.json")
COLUMNS = ("original", "unlearned", "retrain")


WITH_ALL = ("method=wf", "method.tuning.steps=3", "attack=[aia,mia]", "canaries.withheld=0.3")
WITHOUT = ("method=leace", "attack=none", "reference=none")


def ended(words, capsys):
    with pytest.raises(SystemExit) as end:
        certify.main([str(word) for word in words])
    return end.value.code, *capsys.readouterr()


def issued(folder, capsys):
    code, *_ = ended([folder], capsys)
    assert code == 0
    return json.loads((folder / "certificate.json").read_text())


def text_of(folder):
    """What a reader of the page sees."""
    page = re.sub(r"<style>.*?</style>", "", (folder / "certificate.html").read_text(), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_its_numbers_are_those_of_the_results(finished, capsys):
    folder = finished(*WITH_ALL)
    stated, results = issued(folder, capsys), json.loads((folder / "results.json").read_text())
    metrics, missing, seen = results["metrics"], results["missing"], 0
    questions = [row["path"] for row in stated["figures"]]
    assert len(questions) == len(set(questions))
    assert {
        "test/retained/accuracy",
        "attack/aia/label/Male/features/folded_balanced_accuracy",
        "attack/mia/combined/auroc",
        "attack/aia/strongest/balanced_accuracy",
    } <= set(questions)
    for row in stated["figures"]:
        for model in COLUMNS:
            path = f"{model}/{row['path']}"
            assert row[model]["value"] == metrics[path]
            assert (row[model]["low"], row[model]["high"]) == (
                metrics.get(f"{path}/low"),
                metrics.get(f"{path}/high"),
            )
            assert (row[model]["value"] is None) == (row[model]["reason"] is not None)
            assert row[model]["value"] is not None or row[model]["reason"] == missing[path]
            seen += row[model]["low"] is not None
        if row["excess"]:
            path = f"unlearned/{row['path'].rpartition('/')[0]}/excess"
            assert (row["excess"]["value"], row["excess"]["low"]) == (
                metrics[path],
                metrics[f"{path}/low"],
            )
            low, high = metrics[f"{path}/low"], metrics[f"{path}/high"]
            said = "exceeded" if low > 0.02 else "shown" if high <= 0.02 else "not shown"
            assert row["verdict"] == (None if row["silent"] else said)
    assert seen > 20
    judged = stated["verdict"]
    assert judged["mean"] >= metrics["unlearned/attack/aia/strongest/excess"]
    assert (judged["replicates"], judged["alone"], judged["bound"]) == (1, True, 0.02)
    about = results["run"]
    assert stated["forgotten"] == about["forget_label"] == ["Male"]
    assert (stated["method"]["name"], stated["method"]["seed"]) == ("wf", about["seed"])
    assert stated["method"]["settings"]["tuning.steps"] == 3
    assert (stated["config_hash"], stated["device"], stated["date"], stated["versions"]) == (
        about["config_hash"], about["device"], about["date"], about["versions"])  # fmt: skip
    assert stated["data"] == {"name": "faces", "fingerprint": about["data"]}
    assert stated["seconds"] == {
        key: results["seconds"][key] for key in ("original", "unlearn", "retrain", "attack")
    }
    assert stated["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES
    }


def test_the_page_shows_every_figure_and_stands_alone(finished, capsys):
    folder = finished(*WITH_ALL)
    stated, page = issued(folder, capsys), (folder / "certificate.html").read_text()
    text = text_of(folder)
    for row in stated["figures"]:
        for model in COLUMNS:
            if row[model]["value"] is not None:
                assert f"{row[model]['value']:.3f}" in text
            if row[model]["low"] is not None:
                assert f"[{row[model]['low']:.3f}, {row[model]['high']:.3f}]" in text
    for line in (
        *stated["not_claimed"],
        stated["verdict"]["said"],
        stated["files"]["unlearned.safetensors"],
        stated["config_hash"],
        stated["data"]["fingerprint"],
        stated["device"],
    ):
        assert line in text
    proxy = json.loads((folder / "results.json").read_text())["metrics"][
        "proxy/attack/aia/folded_balanced_accuracy"
    ]
    assert any(f"balanced accuracy of {proxy:.3f} [" in line for line in stated["not_claimed"])
    assert not re.search(r"(src|href)=|<script|https?://|url\(|@import", page)
    assert "None" not in text


def test_what_was_not_measured_says_why(finished, capsys):
    folder = finished(*WITHOUT)
    stated, text = issued(folder, capsys), text_of(folder)
    claims = " ".join(stated["not_claimed"])
    assert [row["retrain"]["reason"] for row in stated["figures"]] == [
        "there is no Retrain (reference=none)"
    ] * 2
    assert "1 there is no Retrain (reference=none)" in text
    assert "Nothing is held against a model that never saw the label: there is no Retrain" in claims
    assert "attacks that were not run: reading the label" in claims
    assert "how much is not known here" in claims
    assert "who holds the weights can take it off again" in claims
    assert "who holds the weights can take it off again" not in " ".join(
        issued(finished(*WITH_ALL), capsys)["not_claimed"]
    )


def test_what_older_runs_did_not_record_is_said(finished, capsys):
    folder = finished(*WITHOUT)
    results = json.loads((folder / "results.json").read_text())
    del results["run"]["data"]
    (folder / "results.json").write_text(json.dumps(results))
    assert issued(folder, capsys)["data"]["fingerprint"] == "not recorded"
    assert "fingerprint not recorded" in text_of(folder)


def test_names_from_files_are_text_and_never_markup(finished, capsys):
    folder = finished(*WITHOUT)
    results = json.loads((folder / "results.json").read_text())
    results["run"]["forget_label"] = ["<script>alert(1)</script>"]
    (folder / "results.json").write_text(json.dumps(results))
    issued(folder, capsys)
    assert "<script" not in (folder / "certificate.html").read_text()
    assert "<script>alert(1)</script>" in text_of(folder)


def test_it_tells_nothing_of_the_machine(finished, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-key")
    folder = finished(*WITH_ALL)
    issued(folder, capsys)
    for name in ("certificate.json", "certificate.html"):
        content = (folder / name).read_text()
        assert "a-secret-key" not in content
        for place in (str(folder), os.environ["HOME"], "site-packages"):
            assert place not in content


def test_it_holds_until_a_byte_changes(finished, tmp_path, capsys):
    folder, out = finished(*WITHOUT), tmp_path / "out" / "certificates"
    code, said, _ = ended([folder, "--out", out], capsys)
    assert code == 0
    assert "certificate.json" in said
    assert not (folder / "certificate.json").exists()
    verify = [folder, "--verify", out / "certificate.json"]
    assert ended(verify, capsys)[0] == 0
    for name in FILES:
        whole = (folder / name).read_bytes()
        flipped = bytearray(whole)
        flipped[-3] ^= 1
        (folder / name).write_bytes(flipped)
        code, _, err = ended(verify, capsys)
        assert code == 1
        assert f"{name} is another file" in err
        (folder / name).unlink()
        code, _, err = ended(verify, capsys)
        assert code == 1
        assert "no such file" in err
        (folder / name).write_bytes(whole)
    assert ended(verify, capsys)[0] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda stated: stated["figures"][0]["unlearned"].update(value=0.999),
        lambda stated: stated["not_claimed"].pop(),
        lambda stated: stated.update(forgotten=["Bald"]),
        lambda stated: stated.update(more=1),
        lambda stated: stated["files"].clear(),
        lambda stated: stated["files"].pop("results.json"),
    ],
)
def test_a_certificate_that_was_changed_does_not_hold(change, finished, capsys):
    folder = finished(*WITHOUT)
    stated = issued(folder, capsys)
    change(stated)
    (folder / "certificate.json").write_text(json.dumps(stated))
    code, out, err = ended([folder, "--verify", folder / "certificate.json"], capsys)
    assert (code, out) == (1, "")
    assert err


def test_the_other_run_s_certificate_does_not_hold(finished, capsys):
    one, other = finished(*WITHOUT), finished(*WITH_ALL)
    issued(one, capsys)
    assert ended([other, "--verify", one / "certificate.json"], capsys)[0] == 1


def test_what_cannot_be_read_is_one_line_and_exit_code_2(finished, tmp_path, capsys):
    folder = finished(*WITHOUT)
    (tmp_path / "list.json").write_text("[]")
    words = {
        "there is no run in": [tmp_path / "nowhere"],
        "is no certificate: it states no files": [folder, "--verify", tmp_path / "list.json"],
        "is no certificate": [folder, "--verify", folder / "unlearned.safetensors"],
        "cannot be written to": [folder, "--out", folder / "config.yaml"],
    }
    for message, given in words.items():
        code, _, err = ended(given, capsys)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
    (folder / "results.json").write_text("{}")
    code, _, err = ended([folder], capsys)
    assert code == 2
    assert "cannot be certified: results.json cannot be used" in err
    (folder / "labels.json").unlink()
    assert "has no labels.json" in ended([folder], capsys)[2]


@pytest.mark.parametrize("name", ["certificate.json", "certificate.html"])
def test_a_certificate_that_somebody_has_changed_is_kept(name, finished, tmp_path, capsys):
    folder = finished(*WITHOUT)
    for _ in range(2):
        issued(folder, capsys)
    (folder / name).write_text("signed by hand")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    code, _, said = ended([folder], capsys)
    assert (code, said.count("\n")) == (2, 1)
    assert f"{folder} has files " in said
    assert f"({name})" in said
    assert "--out" in said
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert ended([folder, "--out", tmp_path / "other"], capsys)[0] == 0
