import errno
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mlu.system.disk import mapped, new_images, write_array, write_tensors


def test_tensors_come_back_as_they_were(tmp_path):
    tensors = {"a": torch.arange(6).view(2, 3).T, "b": torch.tensor([0.1, float("nan")])}
    write_tensors(tmp_path / "file.safetensors", tensors)
    found = load_file(tmp_path / "file.safetensors")
    torch.testing.assert_close(found, tensors, rtol=0, atol=0, equal_nan=True)


def test_an_array_comes_back_as_it_was_and_cannot_be_written_to(tmp_path):
    array = np.random.default_rng(0).random((3, 4))
    write_array(tmp_path / "file.npy", array)
    found = mapped(tmp_path / "file.npy")
    np.testing.assert_array_equal(found, array)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_nothing_in_an_array_is_run(tmp_path):
    np.save(tmp_path / "file.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        mapped(tmp_path / "file.npy")


def test_images_that_were_filled_are_on_disk(tmp_path):
    images = new_images(tmp_path / "images.npy", (2, 3, 4, 4))
    images[:] = np.arange(96).reshape(2, 3, 4, 4)
    images.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy").ravel(), np.arange(96))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot take room")
def test_a_full_disk_is_told_before_the_first_image(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        new_images(tmp_path / "images.npy", (2, 3, 4, 4))
