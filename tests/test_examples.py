"""The examples run as they stand, and say what they promise."""

import re
from pathlib import Path

import pytest
import timm
import torch

from mlu.audit import audit
from mlu.models.network import WHOLE
from mlu.models.timm_backbone import Timm
from tests.support.audited import data_words, few_readers, write_people
from tests.support.forked import warm
from tests.support.photo_folder import write_lines

EXAMPLES = Path(__file__).parents[1] / "examples"


def said_by(folder: Path, name: str, *words: str) -> list[list[float]]:
    """The figures of the lines `before` and `after`."""
    done = warm(str(EXAMPLES / name), words, folder)
    assert done.code == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("before", "after"))]
    return [[float(figure) for figure in re.findall(r"\d\.\d{3}", line)] for line in lines]


def test_a_model_of_one_s_own_forgets_a_label(tmp_path):
    (known, kept_before), (forgotten, kept_after) = said_by(
        tmp_path, "own_model.py", "--epochs", "4"
    )
    assert known > 0.85
    assert forgotten == pytest.approx(0.5, abs=0.02)
    assert kept_after > kept_before - 0.08


def test_a_transformer_forgets_a_class(tmp_path):
    (known, kept_before), (forgotten, kept_after) = said_by(
        tmp_path, "torchvision_model.py", "--epochs", "8", "--steps", "40"
    )
    assert known > 0.4
    assert forgotten == 0
    assert kept_after > kept_before - 0.1


def test_an_audit_finds_what_a_reset_output_leaves(tmp_path):
    """The features of the reset model are those of the model before."""
    folder = write_people(tmp_path / "photos")
    lines = [",".join(line.split(",")[:6]) for line in (folder / "labels.csv").read_text().split()]
    write_lines(folder / "labels.csv", *lines)
    words = (str(folder), "--label", "Male", "--epochs", "3")
    done = warm(str(EXAMPLES / "foreign_unlearning.py"), words, tmp_path / "said")
    assert done.code == 0, done.stderr

    files = [f"{name}={folder / name}.pt" for name in ("before", "after", "retrain")]
    shared = [*data_words(folder), "backbone=resnet18", "forget_label.names=[Male]"]
    with few_readers():
        found = audit(*shared, *files, f"out={tmp_path / 'audit'}")

    read = "attack/aia/label/Male/strongest/features/balanced_accuracy"
    assert found.run.figures[f"unlearned/{read}"] == found.run.figures[f"original/{read}"]
    assert found.word in ("broken", "not shown", "kept")
    assert (folder / "again.pt").is_file()


def test_every_example_is_tested():
    tested = Path(__file__).read_text()
    assert all(f'"{file.name}"' in tested for file in EXAMPLES.glob("*.py"))


def test_weights_of_another_library_get_the_names_of_timms_model(tmp_path):
    """And are what a backbone starts from; those of another model are refused."""
    model = "test_efficientnet"
    torch.manual_seed(0)
    state = timm.create_model(model).state_dict()
    values = [torch.rand_like(value) if value.is_floating_point() else value for value in
              state.values()]  # fmt: skip
    torch.save({f"_layer{number}": value for number, value in enumerate(values)}, tmp_path / "a.pt")
    torch.save({"_layer": torch.ones(2)}, tmp_path / "b.pt")
    out = tmp_path / "out.safetensors"
    for file, code in (("b.pt", 1), ("a.pt", 0)):
        words = (str(tmp_path / file), model, str(out))
        assert warm(str(EXAMPLES / "ordered_weights.py"), words, tmp_path / "said").code == code
        assert out.exists() == (code == 0)

    net = Timm(name=model, weights=str(out), image_size=64).build(3)
    found = dict(net.body.state_dict())
    for name, value in zip(state, values, strict=True):
        if not name.startswith("classifier"):
            assert torch.equal(found[f"{WHOLE}.{name}"], value), name
