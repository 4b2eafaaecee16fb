import builtins
import io
import os
import pickle
import warnings

import numpy as np
import pytest

from mlu.data.sets.cifar import CIFAR10, BytesUnpickler
from tests.support.array_files import (
    CIFAR_CLASSES,
    cifar_batch,
    dump,
    in_bytes,
    refusal,
    write_cifar,
)

FOLDER = "cifar-10-batches-py"


def cifar(root, **fields):
    return CIFAR10(
        **{"name": "cifar10", "root": root, "image_size": 32, "labels": CIFAR_CLASSES, **fields}
    )


@pytest.mark.parametrize("keys", [dict, in_bytes])
@pytest.mark.parametrize("protocol", [None, 2, 4, 5])
def test_reads_pickles_of_python_2_and_3(tmp_path, protocol, keys):
    written = write_cifar(tmp_path, protocol, keys)
    data = cifar(tmp_path).load()
    np.testing.assert_array_equal(data.images.transpose(0, 2, 3, 1), written.pixels)
    np.testing.assert_array_equal(data.targets.argmax(1), written.classes)


@pytest.mark.parametrize("protocol", [None, 2])
def test_an_old_name_of_numpy_makes_no_warning(tmp_path, protocol):
    write_cifar(tmp_path, protocol)
    assert (protocol is None) == (
        b"numpy.core.multiarray" in (tmp_path / FOLDER / "test_batch").read_bytes()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cifar(tmp_path).load()


def test_reads_the_very_opcodes_of_python_2(tmp_path):
    write_cifar(tmp_path)
    red, green = [
        bytes(255 * (plane == here) for plane in range(3) for _ in range(1024)) for here in (0, 1)
    ]
    corner = bytes(
        [7, 8, *[0] * 30, 9, *[0] * 3039]
    )  # two pixels of the top row, then the first of the next row
    (tmp_path / FOLDER / "test_batch").write_bytes(
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15testing batch 1 of 1 q\x03"
        b"U\x06labelsq\x04]q\x05(K\x03K\x08K\x09e"
        b"U\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
        b"(K\x01K\x03M\x00\x0c\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T\x00\x24\x00\x00" + red + green + corner + b"tb"
        b"U\x09filenamesq\x0c]q\x0d(U\x05a.pngU\x05b.pngU\x05c.pngeu."
    )
    data = cifar(tmp_path).load()
    images = data.images[-3:]
    np.testing.assert_array_equal(
        images[0], np.array([255, 0, 0])[:, None, None] * np.ones((3, 32, 32))
    )
    np.testing.assert_array_equal(
        images[1], np.array([0, 255, 0])[:, None, None] * np.ones((3, 32, 32))
    )
    assert [images[2, 0, 0, 0], images[2, 0, 0, 1], images[2, 0, 1, 0], images[2].sum()] == [
        7,
        8,
        9,
        24,
    ]
    assert [data.labels[column] for column in data.targets[-3:].argmax(1)] == [
        "cat",
        "ship",
        "truck",
    ]


def test_an_array_by_columns_is_read_as_such(tmp_path):
    written = write_cifar(tmp_path)
    batch = cifar_batch(written.pixels[written.test], written.classes[written.test])
    for protocol in (2, 5):
        dump(
            tmp_path / FOLDER / "test_batch",
            {**batch, "data": np.asfortranarray(batch["data"])},
            protocol,
        )
        np.testing.assert_array_equal(
            cifar(tmp_path).load().images.transpose(0, 2, 3, 1), written.pixels
        )


@pytest.mark.filterwarnings("ignore:numpy.core")
def test_equals_torchvisions_reader(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision.datasets.cifar")
    monkeypatch.setattr(torchvision, "check_integrity", lambda *_: True)
    write_cifar(tmp_path)
    ours = cifar(tmp_path, split="official").load()
    for train in (True, False):
        theirs = torchvision.CIFAR10(str(tmp_path), train=train)
        rows = ours.split == (-1 if train else 2)
        np.testing.assert_array_equal(ours.images[rows].transpose(0, 2, 3, 1), theirs.data)
        np.testing.assert_array_equal(ours.targets[rows].argmax(1), theirs.targets)
        assert list(ours.labels) == theirs.classes


class Call:
    """Pickled as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def harms(marker):
    """Contents that write `marker` while they are unpickled without care."""
    run = Call(os.system, f"touch '{marker}'")
    write = f"open({str(marker)!r}, 'w').close()"
    return {
        "instead of the mapping": run,
        "as a value": {"labels": run},
        "beside the values": {"batch_label": [{"deep": (run,)}]},
        "as a key": {Call(os.system, f"touch '{marker}'"): 1},
        "with eval": {"data": Call(builtins.eval, write)},
        "beside an array": {
            "data": np.zeros((2, 3072), np.uint8),
            "labels": [1, 2],
            "extra": Call(builtins.exec, write),
        },
        "in an array of objects": {"data": np.array([run, None], dtype=object)},
        "among the bytes": {
            "data": [b"_codecs.encode", b"numpy.ndarray", Call(builtins.eval, write)]
        },
    }


@pytest.mark.parametrize("protocol", [None, 4])
@pytest.mark.parametrize("file", ["data_batch_3", "batches.meta"])
@pytest.mark.parametrize("where", harms(""))
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path, where, file, protocol):
    write_cifar(tmp_path)
    marker, planted = tmp_path / "marker", tmp_path / FOLDER / file
    dump(planted, harms(marker)[where], protocol)
    pickle.loads(planted.read_bytes(), encoding="latin1")
    assert marker.exists(), "the trap is no trap"
    marker.unlink()
    message = refusal(cifar(tmp_path))
    assert not marker.exists()
    assert str(planted) in message
    assert "no array needs" in message


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("os", "system"),
        ("posix", "system"),
        ("_codecs", "decode"),
        ("_codecs", "register"),
        ("codecs", "encode"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "fromfile"),
        ("numpy.core.numeric", "fromfunction"),
        ("numpy", "ndarray.tofile"),
        ("numpy._core.multiarray", "_reconstruct.__self__"),
        ("numpy.core.", "_core.multiarray._reconstruct"),
        ("mlu.data.sets.cifar", "Plan"),
        ("no\tsuch module", "name"),
    ],
)
def test_any_other_name_is_refused_before_it_is_imported(tmp_path, module, name):
    write_cifar(tmp_path)
    names = (
        b"\x8c"
        + bytes([len(module)])
        + module.encode()
        + b"\x8c"
        + bytes([len(name)])
        + name.encode()
        + b"\x93"
    )
    for content in (
        b"\x80\x04" + names + b".",
        b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n.",
    ):
        (tmp_path / FOLDER / "test_batch").write_bytes(content)
        message = refusal(cifar(tmp_path))
        assert "no array needs" in message
        assert repr(f"{module}.{name}") in message


def test_of_numpy_and_of_this_project_nothing_can_be_called():
    """numpy follows the pointers of an array of objects that a forged dtype has made of bytes."""
    unpickler = BytesUnpickler(io.BytesIO())
    for module, name in [
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
    ]:
        assert not unpickler.find_class(module, name).__module__.startswith("numpy")


class ForgedType:
    """Pickled as the dtype of Python objects, with a state that says it is of plain numbers."""

    def __reduce__(self):
        return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)


@pytest.mark.parametrize("keys", [dict, in_bytes])
def test_a_forged_pointer_is_refused(tmp_path, keys):
    write_cifar(tmp_path)
    for protocol in (None, 2, 5):
        # As a shape: numpy would look at the elements while the pickle is read, and crash.
        forged = Call(np.ndarray, Call(np.ndarray, (1,), ForgedType(), b"\x41" * 8))
        dump(tmp_path / FOLDER / "test_batch", keys({"data": forged, "labels": [1]}), protocol)
        assert "test_batch" in refusal(cifar(tmp_path))


def batch(**changes):
    return {**cifar_batch(np.zeros((3, 32, 32, 3), np.uint8), np.arange(3)), **changes}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (batch(labels=[1, 2]), ["2 labels", "3 images"]),
        (batch(labels=[1, 2, 3, 4]), ["4 labels", "3 images"]),
        (batch(labels=[1, 2, 10]), ["image 2", "label 10", "0 to 9"]),
        (batch(labels=[-1, 2, 1]), ["image 0", "label -1"]),
        (batch(labels=[1, "2", 1]), ["image 1", "2"]),
        (batch(labels=[1, None, 1]), ["image 1", "None"]),
        (batch(labels=[1, [2], 1]), ["image 1", "[2]"]),
        (batch(labels=[1, 2.5, 1]), ["image 1", "2.5"]),
        (batch(labels=None), ["labels", "list", "NoneType"]),
        (batch(data=None), ["data", "NoneType"]),
        (batch(data=np.zeros((3, 3071), np.uint8)), ["(3, 3071)", "(n, 3072)"]),
        (batch(data=np.zeros((3, 3, 1024), np.uint8)), ["(3, 3, 1024)"]),
        (batch(data=np.zeros(3072, np.uint8)), ["(3072,)"]),
        (batch(data=np.zeros((3, 3072), np.int8)), ["'i1'", "uint8"]),
        (batch(data=np.zeros((3, 3072), np.float32)), ["'f4'", "uint8"]),
        ({"labels": [1]}, ["data", "NoneType"]),
        ([1, 2], ["list", "dict"]),
    ],
)
@pytest.mark.parametrize("protocol", [None, 4, 5])
def test_a_malformed_batch_is_named(tmp_path, content, says, protocol):
    write_cifar(tmp_path)
    file = tmp_path / FOLDER / "data_batch_4"
    dump(file, content, protocol)
    message = refusal(cifar(tmp_path))
    assert all(word in message for word in [str(file), *says, "intact"]), message


@pytest.mark.parametrize(
    "names", [[*CIFAR_CLASSES[1:], "airplane"], list(CIFAR_CLASSES[:9]), None, "truck"]
)
def test_other_classes_are_refused(tmp_path, names):
    write_cifar(tmp_path)
    dump(tmp_path / FOLDER / "batches.meta", {"label_names": names})
    message = refusal(cifar(tmp_path))
    assert all(
        word in message for word in ["batches.meta", "label_names", "airplane, automobile"]
    ), message


@pytest.mark.parametrize(
    "content",
    [b"not a pickle", b"\x80\x02}q", b"\x80\x09.", b"\x80\x02P1\n.", b"\x80\x02\x82\x01."],
)
def test_a_damaged_pickle_is_named(tmp_path, content):
    write_cifar(tmp_path)
    (tmp_path / FOLDER / "test_batch").write_bytes(content)
    message = refusal(cifar(tmp_path))
    assert str(tmp_path / FOLDER / "test_batch") in message


def test_a_shape_that_the_bytes_do_not_have_is_named(tmp_path):
    write_cifar(tmp_path)
    file = tmp_path / FOLDER / "test_batch"
    content = file.read_bytes()
    assert content.count(b"K\x14M\x00\x0c\x86") == 1  # 20 x 3072
    file.write_bytes(content.replace(b"K\x14M\x00\x0c\x86", b"K\x15M\x00\x0c\x86"))
    assert "test_batch" in refusal(cifar(tmp_path))


def test_a_folder_in_place_of_a_file_is_missing(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / FOLDER / "test_batch").unlink()
    (tmp_path / FOLDER / "test_batch").mkdir()
    assert "no test_batch in" in refusal(cifar(tmp_path))
