"""The beginning of a file of tensors says what torch reads, and a pickle is never opened."""

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from mlu.runs.tensor_files import tensors_in
from mlu.system.errors import UserError


class Harm:
    """What a pickle can have done."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_names_kinds_and_shapes_are_those_that_torch_reads(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(2, 3), "b": torch.tensor(4), "c": torch.ones(1).half()}, file)
    kinds = {torch.float32: "F32", torch.int64: "I64", torch.float16: "F16"}
    read = {name: (kinds[one.dtype], tuple(one.shape)) for name, one in load_file(file).items()}
    assert tensors_in(file) == read


@pytest.mark.parametrize("content", [b"", b"text", b"\x00" * 40, b"\xff" * 8 + b"{}"])
def test_what_is_no_safetensors_is_one_line(content, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"is no safetensors file .* nothing else is read: save"):
        tensors_in(file)


def test_a_pickle_is_not_run(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(UserError, match="is no safetensors file"):
        tensors_in(file)
    torch.save({"a": torch.ones(2)}, file)
    with pytest.raises(UserError, match="is no safetensors file"):
        tensors_in(file)
