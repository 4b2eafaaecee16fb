"""Networks as files of ONNX, for use without torch, and such files read back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mlu.models.network import Network
from mlu.system.errors import UserError, first_line

IMAGES, LOGITS, FEATURES = "images", "logits", "features"
"""Names of the graph's input and of its outputs."""

CLOSE = 1e-4
"""Largest difference between what torch and the file say, absolute and relative to what is said."""

_FACTS = "mlu"
"""Key of a file's metadata, under which stands as JSON what its outputs mean."""

_WRITING = ("onnx", "onnxscript", "onnxruntime")
_READING = ("onnxruntime",)
_BATCH = 64
_TRIED = (2, 5)
"""Numbers of images in the batches by which a file is checked."""


class OnnxSaid(NamedTuple):
    """The outputs of a network in a file, of some images.

    Attributes:
        logits: float32, shape (images, labels).
        features: What the head reads, float32, shape (images, features); None where the file does
            not give them.
    """

    logits: Tensor
    features: Tensor | None


class WithFeatures(nn.Module):
    """A network that gives its features as well, computed once."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features of float images in [0, 1]."""
        features = self.net.features(images)
        return self.net.head(features), features


@dataclass(frozen=True)
class OnnxModel:
    """A network in a file of ONNX.

    Attributes:
        session: Of onnxruntime, on the CPU.
        facts: What its outputs mean, as it was written with it; empty where somebody else wrote it.
    """

    session: Any
    facts: Mapping[str, Any]

    def __call__(self, images: Tensor | np.ndarray) -> OnnxSaid:
        """Its outputs of images, uint8 or float in [0, 1], shape (images, 3, height, width).

        Raises:
            UserError: If images have another shape than the file takes.
        """
        pixels = as_pixels(images)
        parts: list[OnnxSaid] = []
        for start in range(0, max(len(pixels), 1), _BATCH):
            parts.append(self.run(pixels[start : start + _BATCH]))

        logits = torch.cat([part.logits for part in parts])
        features = [part.features for part in parts if part.features is not None]

        return OnnxSaid(logits, torch.cat(features) if features else None)

    def run(self, pixels: np.ndarray) -> OnnxSaid:
        """Its outputs of one batch, float32."""
        names = [output.name for output in self.session.get_outputs()]
        (taken,) = self.session.get_inputs()
        try:
            found = self.session.run(names, {taken.name: pixels})
        except Exception as fault:  # onnxruntime has a kind for each
            raise UserError(
                f"the ONNX model takes images of shape {tuple(taken.shape)}, got {pixels.shape}: "
                f"{first_line(fault)}"
            ) from fault

        said = {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}

        return OnnxSaid(said.get(LOGITS, said[names[0]]), said.get(FEATURES))


def as_pixels(images: Tensor | np.ndarray) -> np.ndarray:
    """Images as a file takes them: float32 in [0, 1]."""
    pixels = images.numpy(force=True) if isinstance(images, Tensor) else np.asarray(images)
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise UserError(f"images must have shape (images, 3, height, width), got {pixels.shape}")

    scale = 255 if pixels.dtype == np.uint8 else 1

    return np.ascontiguousarray(pixels.astype(np.float32) / np.float32(scale))


def refuse_without(names: tuple[str, ...] = _WRITING) -> None:
    """Raises UserError where one of some libraries is not installed: they are optional."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {' and '.join(missing)}: pip install 'mlu[onnx]'")


def write_onnx(net: Network, file: Path, image_size: int, facts: Mapping[str, Any]) -> float:
    """Write a network, and hold what the file says against what the network says.

    Its input is IMAGES, float32 in [0, 1], of any number and of one size; its outputs are LOGITS
    and FEATURES.

    Args:
        net: In evaluation mode, on the CPU.
        file: To write; it is left there only if it says the same.
        image_size: Height and width in pixels.
        facts: What the outputs mean, as JSON values; written into the file.

    Returns:
        The largest difference.

    Raises:
        UserError: If a library is missing, if the network cannot be written as ONNX, or if the file
            says something else.
    """
    refuse_without()
    file.write_bytes(onnx_content(net, image_size, facts))
    try:
        return refuse_other(net, file, image_size)
    except UserError:
        file.unlink()
        raise


def onnx_content(net: Network, image_size: int, facts: Mapping[str, Any]) -> bytes:
    """The bytes of a file that holds a network."""
    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2, 3, image_size, image_size)
    try:
        program = torch.onnx.export(
            WithFeatures(net).eval(),
            (example,),
            input_names=[IMAGES],
            output_names=[LOGITS, FEATURES],
            dynamic_shapes={IMAGES: {0: batch}},
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        model = program.model_proto
        forget_origin(model)
        entry = model.metadata_props.add()
        entry.key, entry.value = _FACTS, json.dumps(facts)
        content: bytes = model.SerializeToString()
    except Exception as fault:  # torch has kinds of its own for what it cannot write
        raise UserError(f"the network cannot be written as ONNX: {first_line(fault)}") from fault

    return content


def forget_origin(model: Any) -> None:
    """Take out of a graph what torch notes of its origin: lines of code, and where they lie."""
    functions = [*model.functions]
    for part in (model, model.graph, *functions):
        del part.metadata_props[:]

    for graph in (model.graph, *functions):
        for one in (*graph.node, *graph.value_info):
            del one.metadata_props[:]
            one.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""


@torch.no_grad()
def refuse_other(net: Network, file: Path, image_size: int) -> float:
    """The largest difference between what a network and a file say, in batches of several sizes.

    Raises:
        UserError: If it is more than CLOSE.
    """
    model, generator = load_onnx(file), torch.Generator().manual_seed(0)
    largest = 0.0
    for count in _TRIED:
        shape = (count, 3, image_size, image_size)
        images = torch.randint(256, shape, generator=generator).to(torch.uint8)
        logits, features = WithFeatures(net).eval()(images)
        said = model(images)
        for name, ours, theirs in (
            (LOGITS, logits, said.logits),
            (FEATURES, features, said.features),
        ):
            if theirs is None or theirs.shape != ours.shape:
                raise UserError(f"{file} gives no {name} of shape {tuple(ours.shape)}")
            difference = (ours - theirs).abs().max().item()
            largest = max(largest, difference)
            if not torch.allclose(ours, theirs, rtol=CLOSE, atol=CLOSE):
                raise UserError(
                    f"{file} says something else than the network: {name} differ by "
                    f"{difference:.2g} on {count} images of {image_size} pixels, "
                    f"where {CLOSE:g} is allowed"
                )

    return largest


def load_onnx(file: str | Path) -> OnnxModel:
    """The network in a file of ONNX, whoever wrote it, on the CPU.

    It takes one input, images in [0, 1], and gives logits: the output of that name, else the first.
    Nothing is read but this file, and no code is run but onnxruntime's.

    Raises:
        UserError: If a library is missing, or the file cannot be read or takes other inputs.
    """
    refuse_without(_READING)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        content = Path(file).read_bytes()
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as fault:  # onnxruntime has a kind for each
        raise UserError(f"{file} cannot be read as ONNX: {first_line(fault)}") from fault

    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = [f"{one.name} {tuple(one.shape)}" for one in inputs]
        raise UserError(
            f"{file} takes {', '.join(shapes) or 'nothing'}, where one input of shape "
            "(images, 3, height, width) is needed"
        )

    return OnnxModel(session, facts_in(session))


def facts_in(session: Any) -> dict[str, Any]:
    """The meaning of a file's outputs, as it says itself; empty where that cannot be read."""
    try:
        facts = json.loads(session.get_modelmeta().custom_metadata_map[_FACTS])
    except (KeyError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
