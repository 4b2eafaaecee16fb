"""Files of ONNX say what the networks say from which they were written."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlu.models import onnx_files
from mlu.models.backbones import ResNet, Tiny
from mlu.models.onnx_files import (
    as_pixels,
    load_onnx,
    refuse_other,
    refuse_without,
    write_onnx,
)
from mlu.system.errors import UserError

SIZE, LABELS = 32, 5
FACTS = {"labels": ["a", "b", "c", "d", "ä"], "task": "multilabel"}
"""What is written into each file."""


def net_of(backbone, seed=0):
    torch.manual_seed(seed)
    net = backbone.build(LABELS).eval()
    # As after training: else every batch norm does nothing.
    for name, value in net.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(std=0.1)
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return net


@pytest.fixture(scope="module", params=["tiny", "resnet18"])
def written(request, tmp_path_factory):
    """A network, and the file that was written of it."""
    backbone = {
        "tiny": Tiny(name="tiny", weights=None),
        "resnet18": ResNet(name="resnet18", weights=None),
    }[request.param]
    net, file = net_of(backbone), tmp_path_factory.mktemp("onnx") / "net.onnx"
    if request.param == "tiny":
        # With a stage that was added to forget.
        net.erase(0.5 * torch.eye(net.head.in_features), torch.ones(net.head.in_features))
    assert write_onnx(net, file, SIZE, FACTS) < 1e-4
    return net, file


@pytest.mark.parametrize("count", [1, 3, 70])
def test_it_says_the_same_of_any_number_of_images(written, count):
    net, file = written
    images = torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(count))
    logits, features = load_onnx(file)(images)
    with torch.no_grad():
        torch.testing.assert_close(logits, net(images), rtol=0, atol=1e-4)
        torch.testing.assert_close(features, net.features(images), rtol=0, atol=1e-4)
    assert logits.std() > 1e-3


def test_bytes_and_arrays_are_images_as_well(written):
    net, file = written
    images = torch.randint(256, (4, 3, SIZE, SIZE)).to(torch.uint8)
    model = load_onnx(file)
    with torch.no_grad():
        expected = net(images)
    for given in (images, images.numpy(), images.float() / 255, images.numpy() / 255):
        torch.testing.assert_close(model(given).logits, expected, rtol=0, atol=1e-4)
    assert model(images[:0]).logits.shape == (0, LABELS)


def test_its_features_are_what_the_head_reads(written):
    net, file = written
    logits, features = load_onnx(file)(torch.rand(4, 3, SIZE, SIZE))
    with torch.no_grad():
        torch.testing.assert_close(net.head(features), logits, rtol=0, atol=1e-4)


def test_it_names_its_input_and_outputs_and_what_they_mean(written):
    model = load_onnx(written[1])
    (taken,) = model.session.get_inputs()
    assert taken.name == "images"
    assert isinstance(taken.shape[0], str)
    assert taken.shape[1:] == [3, SIZE, SIZE]
    assert [output.name for output in model.session.get_outputs()] == ["logits", "features"]
    assert model.facts == FACTS


def test_it_tells_nothing_of_the_machine(written):
    content = written[1].read_bytes()
    for words in (b"site-packages", b".py", b"stack_trace", str(Path.cwd()).encode()):
        assert words not in content


def test_a_planted_difference_is_refused(written, tmp_path, monkeypatch):
    net, file = written
    assert refuse_other(net, file, SIZE) < 1e-4
    before = net.head.bias.detach().clone()
    with torch.no_grad():
        net.head.bias[2] += 0.01
    try:
        with pytest.raises(UserError, match=r"says something else .* logits differ by 0\.01"):
            refuse_other(net, file, SIZE)
        # So is a file that says something else as soon as it is written: nothing is left.
        content = file.read_bytes()
        monkeypatch.setattr(onnx_files, "onnx_content", lambda *_: content)
        with pytest.raises(UserError, match="says something else"):
            write_onnx(net, tmp_path / "net.onnx", SIZE, FACTS)
        assert list(tmp_path.iterdir()) == []
    finally:
        with torch.no_grad():
            net.head.bias.copy_(before)


@pytest.mark.parametrize("written", ["tiny"], indirect=True)
def test_features_that_differ_are_refused_though_the_logits_agree(written):
    net, file = written
    images = torch.rand(2, 3, SIZE, SIZE)
    before = net(images)
    with torch.no_grad():
        scale(net, 2)
        torch.testing.assert_close(net(images), before)
        try:
            with pytest.raises(UserError, match="features differ"):
                refuse_other(net, file, SIZE)
        finally:
            scale(net, 0.5)


def scale(net, factor):
    """Scale what the head reads, and its weights by the inverse: powers of two round nothing."""
    net.body.erase.weight.mul_(factor)
    net.body.erase.bias.mul_(factor)
    net.head.weight.div_(factor)


def test_other_images_than_it_takes_are_refused(written):
    model = load_onnx(written[1])
    with pytest.raises(UserError, match="the ONNX model takes images of shape"):
        model(torch.rand(2, 3, SIZE + 1, SIZE))
    for images in (torch.rand(2, 1, SIZE, SIZE), np.zeros((3, SIZE, SIZE))):
        with pytest.raises(UserError, match="images must have shape"):
            model(images)


def test_what_is_no_onnx_is_refused_in_one_line(tmp_path):
    for content in (b"", b"no model", b"\x08\x08"):
        (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as ONNX") as refused:
            load_onnx(tmp_path / "net.onnx")
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        load_onnx(tmp_path / "none.onnx")


def made_by_hand(file, inputs, outputs=("said",), metadata=None):
    """A file of somebody else's, which gives its input's mean over the pixels."""
    from onnx import TensorProto, helper

    shapes = {"x": ["n", 3, 4, 4], "flat": ["n", 3]}
    nodes = [helper.make_node("GlobalAveragePool", [inputs[0]], ["pooled"]),
             helper.make_node("Flatten", ["pooled"], [outputs[0]])]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes["x"]) for name in inputs],
        [helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, shapes["flat"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    file.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("metadata", [{}, {"mlu": "[1]"}, {"mlu": "{"}, {"mlu": "[" * 9_999}])
def test_a_file_of_somebody_else_is_read_too(tmp_path, metadata):
    made_by_hand(tmp_path / "net.onnx", ["x"], metadata=metadata)
    model = load_onnx(tmp_path / "net.onnx")
    images = torch.rand(3, 3, 4, 4)
    said = model(images)
    torch.testing.assert_close(said.logits, images.mean((2, 3)))
    assert said.features is None
    assert model.facts == {}


def test_a_file_that_takes_something_else_is_refused(tmp_path):
    made_by_hand(tmp_path / "net.onnx", ["x", "y"])
    with pytest.raises(UserError, match="where one input of shape"):
        load_onnx(tmp_path / "net.onnx")


def test_a_network_that_cannot_be_written_is_refused(tmp_path):
    net = net_of(Tiny(name="tiny", weights=None))

    def fails(module, inputs):
        raise RuntimeError("no graph\nof this")

    next(iter(net.body)).register_forward_pre_hook(fails)
    with pytest.raises(UserError, match="cannot be written as ONNX"):
        write_onnx(net, tmp_path / "net.onnx", SIZE, FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_missing_is_named_with_the_extra(monkeypatch, tmp_path):
    refuse_without()
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None if "script" in name else 1)
    with pytest.raises(UserError, match=r"^ONNX needs onnxscript: pip install 'mlu\[onnx\]'$"):
        write_onnx(net_of(Tiny(name="tiny", weights=None)), tmp_path / "net.onnx", SIZE, FACTS)
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^ONNX needs onnxruntime: pip install 'mlu\[onnx\]'$"):
        load_onnx(tmp_path / "net.onnx")


def test_images_become_floats_as_the_network_makes_them():
    images = torch.randint(256, (2, 3, 4, 4)).to(torch.uint8)
    np.testing.assert_array_equal(as_pixels(images), (images.float() / 255).numpy())
    assert as_pixels(images.double() / 255).dtype == np.float32
