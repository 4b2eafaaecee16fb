"""Whole runs on small data."""

import json

import pytest

from mlu.pipeline import run as pipeline


@pytest.fixture
def run(experiment, tmp_path):
    """Runs the pipeline on small data; returns its results."""

    def from_overrides(
        *overrides: str, dataset: str = "faces", folder: str = "run", group: str | None = None
    ):
        (tmp_path / folder).mkdir()
        built = experiment(*overrides, dataset=dataset, folder=tmp_path / folder, group=group)
        return pipeline.run(built).to_json()

    return from_overrides


@pytest.fixture
def results_of(finished):
    """The results of a run that nothing but its results is wanted of: each is carried out once."""

    def from_overrides(*overrides: str, dataset: str = "faces"):
        folder = finished(*overrides, dataset=dataset)
        return json.loads((folder / "results.json").read_text())

    return from_overrides
