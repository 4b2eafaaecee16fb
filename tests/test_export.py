"""python -m mlu.export: a folder that can be used by itself, and says what the model says."""

import json
import re

import numpy as np
import onnxruntime  # noqa: F401
import pytest
import torch
import yaml
from PIL import Image

import mlu
from mlu import export
from mlu.models import onnx_files
from mlu.models.onnx_files import load_onnx
from mlu.system.store import checksum

RUN = ("method=leace", "attack=none", "reference=none")
FILES = {"README.md", "config.yaml", "labels.json"}


_WRITTEN: dict[tuple[str, ...], bytes] = {}


@pytest.fixture(autouse=True)
def written_once(monkeypatch):
    """To write a network as ONNX takes seconds: each is written once in this file."""
    write = onnx_files.onnx_content

    def written(net, image_size, facts):
        key = tuple(f"{value.double().sum():.9f}" for value in net.state_dict().values())
        if key not in _WRITTEN:
            _WRITTEN[key] = write(net, image_size, facts)
        return _WRITTEN[key]

    monkeypatch.setattr(onnx_files, "onnx_content", written)


def ended(words, capsys):
    with pytest.raises(SystemExit) as end:
        export.main([str(word) for word in words])
    return end.value.code, *capsys.readouterr()


def names_in(folder):
    return {file.name for file in folder.iterdir() if file.is_file()}


def code_in(folder):
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    files = [str(tmp_path / f"{number}.png") for number in range(3)]
    for file in files:
        pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return files


def test_the_folder_is_used_as_its_card_says(finished, photos, tmp_path, capsys, monkeypatch):
    run, out = finished(*RUN), tmp_path / "to publish"
    code, said, err = ended([run, "--out", out], capsys)
    assert (code, err) == (0, "")
    assert str(out) in said
    assert names_in(out) == FILES | {"unlearned.safetensors"}
    assert checksum(out / "unlearned.safetensors") == checksum(run / "unlearned.safetensors")
    monkeypatch.chdir(out)
    (code,) = code_in(out)
    names = {"files": photos}
    exec(code, names)
    expected = mlu.load(run).predict(photos)
    assert names["probs"].keys() == expected.keys()
    for label, probs in names["probs"].items():
        torch.testing.assert_close(probs, expected[label], rtol=0, atol=0)
    assert mlu.load(out).forgotten == ("Male",)


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_the_onnx_file_gives_the_same_probabilities_as_its_card_says(
    dataset, finished, tmp_path, capsys, monkeypatch
):
    classes = ("method=head", "attack=none", "reference=none", "forget_label.names=['3']")
    run = finished(*(RUN if dataset == "faces" else classes), dataset=dataset)
    out, model = run / "export", mlu.load(run)
    code, said, _ = ended([run, "--onnx"], capsys)
    assert code == 0
    assert "unlearned.onnx says what the network says" in said
    assert names_in(out) == FILES | {"unlearned.onnx"}
    monkeypatch.chdir(out)
    (code,) = code_in(out)
    size = model.image_size
    images = torch.rand(7, 3, size, size, generator=torch.Generator().manual_seed(0))
    names = {"images": images.numpy()}
    exec(code, names)
    expected = torch.stack([*model.predict(images).values()], 1)
    torch.testing.assert_close(torch.from_numpy(names["probs"]), expected, rtol=0, atol=1e-4)
    facts = load_onnx(out / "unlearned.onnx").facts
    assert facts == {
        "labels": list(model.labels),
        "forgotten": list(model.forgotten),
        "task": "multilabel" if dataset == "faces" else "singlelabel",
        "image_size": size,
    }


def test_one_folder_holds_both_and_its_card_knows(finished, tmp_path, capsys):
    run, out = finished(*RUN), tmp_path / "out"
    for flags in ([], ["--onnx"], []):
        assert ended([run, "--out", out, *flags], capsys)[0] == 0
    assert names_in(out) == FILES | {"unlearned.onnx", "unlearned.safetensors"}
    card = (out / "README.md").read_text()
    for name in ("unlearned.onnx", "unlearned.safetensors"):
        assert f"`{name}`, SHA-256 `{checksum(out / name)}`" in card
    assert len(code_in(out)) == 2


def test_it_tells_nothing_of_the_machine(finished, tmp_path, capsys):
    run, out = finished(*RUN), tmp_path / "out"
    ended([run, "--out", out], capsys)
    config = yaml.safe_load((run / "config.yaml").read_text())
    for name in FILES:
        text = (out / name).read_text()
        for place in (str(run), str(tmp_path), config["outputs"], config["dataset"]["root"]):
            assert place not in text
    assert json.loads((out / "labels.json").read_text()).keys() == {"labels", "task"}


def test_files_of_somebody_else_stay(finished, tmp_path, capsys):
    run, out = finished(*RUN), tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    code, _, err = ended([run, "--out", out], capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "(README.md)" in err
    assert "--out" in err
    assert names_in(out) == {"README.md"}
    (out / "README.md").unlink()
    ended([run, "--out", out], capsys)
    edited = (out / "README.md").read_text() + "license: mine"
    (out / "README.md").write_text(edited)
    assert ended([run, "--out", out], capsys)[0] == 2
    assert (out / "README.md").read_text() == edited


def test_what_says_something_else_is_refused_and_not_left(finished, tmp_path, capsys, monkeypatch):
    run, out = finished(*RUN), tmp_path / "out"
    content = onnx_files.onnx_content

    def of_another(net, image_size, facts):
        found = content(net, image_size, facts)
        with torch.no_grad():
            net.head.bias[0] += 1e-3
        return found

    monkeypatch.setattr(onnx_files, "onnx_content", of_another)
    code, _, err = ended([run, "--onnx", "--out", out], capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "says something else than the network" in err
    assert names_in(out) == set()


def test_what_is_wrong_is_one_line_and_code_2(finished, tmp_path, capsys, monkeypatch):
    run = finished(*RUN)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    (tmp_path / "file").write_text("mine")
    words = {
        "there is no run in": [tmp_path / "nowhere"],
        "has no": [tmp_path],
        "is the folder of a run": [run, "--out", run],
        "cannot read or write": [run, "--out", tmp_path / "file"],
        "unrecognized arguments": [run, "--pickle"],
    }
    for message, given in words.items():
        code, out, err = ended(given, capsys)
        assert (code, out, err.count("\n")) == (2, "", 1), message
        assert message in err
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None)
    code, _, err = ended([run, "--onnx"], capsys)
    assert (code, err) == (
        2,
        "ONNX needs onnx and onnxscript and onnxruntime: pip install 'mlu[onnx]'\n",
    )
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
