"""python -m mlu.predict."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import mlu
from mlu import predict


@pytest.fixture
def run(finished):
    return finished(
        "method=head", "reference=none", "attack=none", "forget_label.names=[Male,Bald]"
    )


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Names of files in the current folder; rich would take a part of them for markup."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    files = [f"[bold]{number}.png" for number in range(6)]
    for file in files:
        Image.fromarray(generator.integers(0, 255, (48, 40, 3), dtype=np.uint8)).save(
            tmp_path / file
        )
    return files


def ended(words, capsys):
    """Exit code and what was written; 0 where the command just ended."""
    try:
        predict.main([str(word) for word in words])
        code = 0
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def test_json_holds_what_the_network_says_by_hand(run, photos, capsys):
    code, out, _ = ended([run, *photos, "--json"], capsys)
    model, said = mlu.load(run), json.loads(out)
    assert code == 0
    assert [one["image"] for one in said] == photos
    probs = torch.sigmoid(model.net(model.read(photos).float() / 255))
    for row, one in enumerate(said):
        assert sorted(one["forgotten"]) == ["Bald", "Male"]
        assert sorted(one["probabilities"]) == sorted(set(model.labels) - {"Bald", "Male"})
        for label, value in one["probabilities"].items():
            assert value == pytest.approx(probs[row, model.labels.index(label)].item(), abs=1e-6)
    assert len({json.dumps(one["probabilities"]) for one in said}) == 6


def test_the_table_shows_each_image_and_marks_what_was_forgotten(run, photos, capsys):
    code, out, _ = ended([run, *photos], capsys)
    said = mlu.load(run).predict(photos)
    assert code == 0
    for label, probs in said.items():
        rows = [line for line in out.splitlines() if re.match(rf"│ {label} ", line)]
        assert len(rows) == 2  # four images side by side, then two
        cells = [cell.strip() for line in rows for cell in line.strip("│").split("│")[1:]]
        expected = [f"{prob:.3f}" for prob in probs.tolist()]
        assert cells == (["forgotten"] * 6 if label in ("Male", "Bald") else expected)
    for number in range(6):
        assert f" [bold]{number}.png " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "photo.png"], "there is no run in nowhere: give the folder"),
        (["RUN", "missing.png"], "cannot read the image missing.png"),
        (["RUN", "RUN/config.yaml"], "cannot read the image"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_code_2(words, message, run, capsys):
    code, out, err = ended([word.replace("RUN", str(run)) for word in words], capsys)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_without_words_it_says_how_it_is_used(capsys):
    code, _, err = ended([], capsys)
    assert code == 2
    assert "python -m mlu.predict" in err
