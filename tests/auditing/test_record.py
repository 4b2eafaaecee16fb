"""The figures of an audit in the form of a run's: what decides it, and what does not."""

import pytest

from mlu.auditing.population import population_of
from mlu.auditing.record import config_of_audit, given_models, run_of_audit
from mlu.metrics.findings import Finding
from mlu.runs.layout import AUDITED, is_configuration
from mlu.runs.results import Results
from mlu.system.store import checksum
from tests.support.audited import inquiry_with, write_people, write_weights

MALE = "forget_label.names=[Male]"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_people(tmp_path_factory.mktemp("people"))
    for seed, name in enumerate(("after", "other")):
        write_weights(folder / f"{name}.pt", seed)
    return folder


def recorded(place, *words, after="after"):
    inquiry = inquiry_with(place, f"after={place / f'{after}.pt'}", MALE, *words)
    found = [
        Finding("unlearned/test/retained/accuracy", 0.9, 0.8, 0.95),
        Finding("x", None, missing="why"),
    ]
    return inquiry, run_of_audit(inquiry, population_of(inquiry), found, 1.5, "a CPU")


def test_it_is_read_as_a_run(place):
    inquiry, run = recorded(place)
    again = Results.from_json(run.results.to_json())
    assert again == Results.from_json(again.to_json())
    assert again.run.method == AUDITED
    assert again.run.forget_label == ("Male",)
    assert again.figure("unlearned/test/retained/accuracy").high == 0.95
    assert again.figure("x").reason == "why"
    assert is_configuration(run.config)
    assert run.config["method"] == {"name": AUDITED}
    assert "training" not in config_of_audit(inquiry)
    assert run.config["reference"] == "none"


def test_the_hash_knows_the_models_and_not_where_they_lie(place, tmp_path):
    first = recorded(place)[1].results.run.config_hash
    assert recorded(place)[1].results.run.config_hash == first
    assert recorded(place, after="other")[1].results.run.config_hash != first
    assert recorded(place, "policy.max_excess=0.1")[1].results.run.config_hash == first


def test_models_are_known_by_their_checksums(place):
    inquiry, _ = recorded(place)
    assert given_models(inquiry) == {
        "after": {"file": "after.pt", "sha256": checksum(place / "after.pt")}
    }
