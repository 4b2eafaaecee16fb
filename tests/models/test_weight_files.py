"""Files of weights by what is in them."""

import argparse
import io
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from torch import nn

from mlu.models.weight_files import read_weights
from mlu.system.errors import UserError

STATE = {"a": torch.ones(2), "b.c": torch.zeros(1)}
OTHER = {"a": torch.zeros(2)}
OPTIMISER = {"state": {0: {"step": torch.tensor(1)}}, "param_groups": [{"lr": 0.1}]}


def torch_bytes(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return stream.getvalue()


def scripted():
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # That it is going out of use: files of it stay.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), stream)
    return stream.getvalue()


def arrays():
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(2))
    return stream.getvalue()


CONTAINERS = {
    "plain": STATE,
    "lightning": {"state_dict": STATE, "optimizer_states": [OPTIMISER], "epoch": 3},
    "model": {"model": STATE, "optimizer": OPTIMISER, "epoch": 3},
    "model_state_dict": {"model_state_dict": STATE, "optimizer_state_dict": OPTIMISER},
    "net": {"net": STATE, "acc": 93.1},
    "twice": {"checkpoint": {"model": STATE}, "epoch": 1},
    "twice, known": {"model": {"state_dict": STATE}},
    "with an average": {"model": STATE, "ema": OTHER},
    "of timm": {"state_dict": STATE, "state_dict_ema": OTHER, "args": argparse.Namespace(lr=1)},
    "own name": {"resnet": STATE, "epoch": 3},
    "with what a module keeps besides": {**STATE, "b._extra_state": None},
}


@pytest.mark.parametrize("form", CONTAINERS)
def test_a_state_dict_is_taken_out_of_what_a_trainer_saves(form, tmp_path):
    torch.save(CONTAINERS[form], tmp_path / "model.pt")
    torch.testing.assert_close(read_weights(tmp_path / "model.pt"), STATE)


def test_several_state_dicts_are_refused_by_their_names(tmp_path):
    torch.save({"student": STATE, "teacher": OTHER}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="several state dicts, 'student' and 'teacher'"):
        read_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.bin", "model"])
@pytest.mark.parametrize("content", [torch_bytes(STATE), safetensors_bytes(STATE)])
def test_what_is_in_a_file_counts_and_not_its_ending(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    torch.testing.assert_close(read_weights(tmp_path / name), STATE)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
STRANGERS = {
    "nothing": (b"", "empty"),
    "TorchScript": (scripted(), "TorchScript"),
    "cut torch": (torch_bytes(STATE)[:-200], "cut short or damaged"),
    "cut safetensors": (safetensors_bytes(STATE)[:-4], "cut short or damaged"),
    "page": (b"<!DOCTYPE html>\n<html><body>Sign in", "a web page"),
    "page with blanks": (b"\n  <HTML><head>", "a web page"),
    "answer": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "XML"),
    "words": (b"Entry not found", "text, which begins with 'Entry not found'"),
    "json": (b'{"error": "Not authorised"}', "text"),
    "pointer": (LFS, "git lfs pull"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(600), "Keras"),
    "new Keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "Keras"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.0.1" + bytes(600), "ONNX"),
    "TensorFlow Lite": (b"\x1c\x00\x00\x00TFL3" + bytes(600), "TensorFlow Lite"),
    "GGUF": (b"GGUF\x03" + bytes(600), "GGUF"),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(600), "NumPy"),
    "NumPy's archive": (arrays(), "NumPy"),
    "gzip": (b"\x1f\x8b\x08" + bytes(600), "compressed (gzip)"),
    "zip": (zipped("model.pt", "readme.txt"), "zip archive"),
    "exported": (zipped("m/archive_format", "m/models/model.json"), "torch.export"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(600), "picture"),
}


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("kind", STRANGERS)
def test_a_file_that_is_no_state_dict_is_told_what_it_is(kind, name, tmp_path):
    content, says = STRANGERS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / name)
    line = str(caught.value)
    assert str(tmp_path / name) in line
    assert says in line
    assert "\n" not in line
    assert "weights_only" not in line


def test_a_pickled_model_is_named_and_no_unsafe_advice_is_given(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "model.pt")
    line = str(caught.value)
    assert "torch.nn.modules.linear.Linear" in line
    assert "save `model.state_dict()`" in line
    assert "weights_only" not in line
