"""The card says what the certificate says, in the form in which the hub reads it."""

import re

import pytest
import yaml

from mlu.runs.card import card_of, front_matter
from mlu.runs.certificate import certificate_of, figure_text
from mlu.system.errors import printable
from tests.support.forgotten_runs import forgot

SUMS = {"unlearned.onnx": "a1" * 32, "unlearned.safetensors": "b2" * 32}


@pytest.fixture
def certificate(tmp_path):
    return certificate_of(forgot(tmp_path, "one"))


def parts_of(card):
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_front_matter_is_what_the_hub_reads(certificate, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    file = tmp_path / "README.md"
    file.write_text(card_of(certificate, 64, SUMS))
    card = hub.ModelCard.load(file)
    assert card.data.license is None
    assert {"machine-unlearning", "image-classification"} <= set(card.data.tags)
    assert card.data.model_name == "tiny without Male"
    results = {one.metric_name: one for one in card.data.eval_results}
    accuracy = results["retained labels, accuracy"]
    assert (accuracy.metric_type, accuracy.dataset_name) == ("accuracy", "faces")
    assert accuracy.metric_value == certificate["figures"][0]["unlearned"]["value"] == 0.9


def test_the_license_is_the_user_s(certificate):
    card = card_of(certificate, 64, SUMS)
    assert "\n# license: yours to choose; nothing is stated here\n" in card
    assert "license" not in parts_of(card)[0]


def test_it_states_figures_with_intervals_the_verdict_and_the_limits(certificate):
    body = parts_of(card_of(certificate, 64, SUMS))[1].replace("\\", "")
    assert "made to forget **Male**, by the method wf (seed 1)" in body
    assert "in this order: Bald, Brown_Hair, Male, Young" in body
    assert certificate["verdict"]["said"] in body
    for line in certificate["not_claimed"]:
        assert f"- {line}" in body
    for one in certificate["figures"]:
        cells = [figure_text(one[key]) for key in ("original", "unlearned", "retrain", "excess")]
        assert f"| {one['question']} | {' | '.join(cells)} |" in body
    assert "0.900 [0.880, 0.920]" in body
    for name, sum_ in SUMS.items():
        assert f"- `{name}`, SHA-256 `{sum_}`" in body


def test_it_shows_how_to_use_what_is_there(certificate):
    both = card_of(certificate, 64, SUMS)
    assert "mlu.load" in both
    assert "onnxruntime" in both
    assert "(images, 3, 64, 64)" in both
    alone = card_of(certificate, 64, {"unlearned.safetensors": "b2"})
    assert "onnxruntime" not in alone


def test_what_is_silent_is_no_figure_of_the_hub(certificate):
    figures = certificate["figures"]
    names = [
        one["name"] for one in front_matter(certificate)["model-index"][0]["results"][0]["metrics"]
    ]
    assert figures[1]["question"] in names
    figures[1]["silent"] = True
    found = front_matter(certificate)["model-index"][0]["results"][0]["metrics"]
    assert figures[1]["question"] not in [one["name"] for one in found]
    assert "silent by construction" in card_of(certificate, 64, SUMS)


def test_names_from_files_are_text(certificate):
    evil = "<script>|`x`\n---\nlicense: mit"
    certificate |= {"model": evil, "forgotten": [evil], "labels": [evil, "Male"]}
    certificate["data"]["name"] = evil
    front, body = parts_of(card_of(certificate, 64, SUMS))
    assert "license" not in front
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == printable(evil)
    assert not re.search(r"(?<!\\)<script", body)
    assert "\nlicense" not in body
