"""The card of a released model: README.md in the form in which the Hugging Face hub reads it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from mlu.runs.certificate import figure_text, reasons_of
from mlu.runs.layout import ONNX, WEIGHTS
from mlu.runs.markdown import escaped_markdown
from mlu.runs.results import SILENT
from mlu.system.errors import printable

CARD = "README.md"

_TAGS = ("image-classification", "machine-unlearning", "privacy", "mlu")
_LICENSE = "# license: yours to choose; nothing is stated here\n"
_COLUMNS = {
    "original": "before",
    "unlearned": "after",
    "retrain": "Retrain",
    "excess": "after − Retrain",
}

_WITH_MLU = """\
import mlu

model = mlu.load(".")  # this folder
probs = model.predict(files)  # image files; label -> probability of each
"""
_WITH_ONNX = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
# images: RGB, float32 in [0, 1], shape (images, 3, {size}, {size})
logits, features = session.run(["logits", "features"], {{"images": images}})
{probs}"""
_PROBS = {
    "multilabel": "probs = 1 / (1 + np.exp(-logits))\n",
    "singlelabel": (
        "odds = np.exp(logits - logits.max(1, keepdims=True))\n"
        "probs = odds / odds.sum(1, keepdims=True)\n"
    ),
}


def card_of(certificate: Mapping[str, Any], image_size: int, files: Mapping[str, str]) -> str:
    """The content of `README.md`.

    Args:
        certificate: Of the run.
        image_size: Height and width of its images, in pixels.
        files: SHA-256 of each file of weights in the folder, by name.
    """
    return card_text(front_matter(certificate), paragraphs(certificate, image_size, files))


def card_text(front: Mapping[str, Any], parts: Iterable[str]) -> str:
    """A card: what the hub reads, then paragraphs for people."""
    head = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)
    return "\n\n".join([f"---\n{_LICENSE}{head}---", *parts]) + "\n"


def front_matter(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """The part that the hub reads: tags and figures. The license is for the user to add."""
    metrics: list[dict[str, Any]] = []
    for one in certificate["figures"]:
        if one["unlearned"]["value"] is not None and not one["silent"]:
            kind = "accuracy" if not metrics else one["path"].rpartition("/")[2]
            name, value = printable(one["question"]), one["unlearned"]["value"]
            metrics.append({"type": kind, "name": name, "value": value})

    # In one line: three dashes at the beginning of another would end what the hub reads.
    data = printable(certificate["data"]["name"])
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": data},
        "metrics": metrics,
    }

    return {
        **general_front(),
        "metrics": ["accuracy"],
        "model-index": [{"name": title_of(certificate), "results": [result]}],
    }


def title_of(certificate: Mapping[str, Any]) -> str:
    """The name of the model, in one line."""
    return printable(f"{certificate['model']} without {', '.join(certificate['forgotten'])}")


def paragraphs(
    certificate: Mapping[str, Any], image_size: int, files: Mapping[str, str]
) -> Iterator[str]:
    """The text of a card, part by part; whatever comes from a file is shown as it is."""
    kind = "labels" if certificate["task"] == "multilabel" else "classes"
    labels = escaped_markdown(", ".join(certificate["labels"]))
    forgotten = escaped_markdown(", ".join(certificate["forgotten"]))
    model = escaped_markdown(certificate["model"])
    method, data = certificate["method"], certificate["data"]

    yield f"# {escaped_markdown(title_of(certificate))}"
    yield (
        f"A classifier of images ({model}) that was trained on {escaped_markdown(data['name'])} "
        f"and then made to forget **{forgotten}**, by the method "
        f"{escaped_markdown(method['name'])} (seed {method['seed']}). Its outputs are {kind}, in "
        f"this order: {labels}. What the output of a forgotten one says is no prediction."
    )

    yield "## Use"
    if WEIGHTS in files:
        yield f"```python\n{_WITH_MLU}```"
    if ONNX in files:
        probs = _PROBS[certificate["task"]]
        code = _WITH_ONNX.format(file=ONNX, size=image_size, probs=probs)
        yield f"```python\n{code}```"

    yield "## What was forgotten"
    yield escaped_markdown(certificate["verdict"]["said"])
    yield "\n".join(figure_rows(certificate))
    yield (
        "Before: the original. Retrain: a model trained without the label, the mark that "
        "forgetting is held against. In brackets: 95 % intervals over test people."
    )
    if reasons := reasons_of(certificate["figures"]):
        yield f"Not measured: {escaped_markdown('; '.join(reasons))}."

    yield "## Limits"
    yield "\n".join(f"- {escaped_markdown(line)}" for line in certificate["not_claimed"])

    yield "## Files"
    yield file_lines(files)


def general_front() -> dict[str, Any]:
    """The part that the hub reads of every model of ours."""
    return {
        "library_name": "mlu",
        "pipeline_tag": "image-classification",
        "tags": list(_TAGS),
    }


def file_lines(files: Mapping[str, str]) -> str:
    """Files with their checksums, a line each."""
    return "\n".join(f"- `{name}`, SHA-256 `{sum_}`" for name, sum_ in files.items())


def figure_rows(certificate: Mapping[str, Any]) -> Iterator[str]:
    """The table of figures, line by line."""
    yield f"| | {' | '.join(_COLUMNS.values())} |"
    yield f"|---|{'---|' * len(_COLUMNS)}"
    for one in certificate["figures"]:
        digits = 0 if one["path"].endswith("/steps") else 3
        cells = [figure_text(one[key], digits) for key in _COLUMNS]
        question = one["question"] + (f" ({SILENT})" if one["silent"] else "")
        yield f"| {escaped_markdown(question)} | {' | '.join(map(escaped_markdown, cells))} |"
