"""What a run leaves, for whoever writes or reads it: names of files, and what `results.json` holds."""

from collections.abc import Mapping
from typing import Any

RESULTS, FAILURE, CONFIG, LABELS = "results.json", "failure.json", "config.yaml", "labels.json"
WEIGHTS = "unlearned.safetensors"
SCHEMA = 1
UNDECISIVE = ("outputs", "logger", "objective", "experiment", "budget")
"""Keys of a configuration that decide no figure: what a budget means stands under `training`."""
PLACES = ("root", "prepared", "attributes", "download")
"""Keys of a data set that say where its files are, and no more."""


def figures_of(results: Mapping[str, Any]) -> dict[str, float | None]:
    """All numbers of a run by their path: metrics, `seconds/...`, `work/...`, `speedup` and `work_ratio`."""
    seconds = {f"seconds/{key}": value for key, value in results["seconds"].items()}
    work = {
        f"work/{stage}/{key}": value
        for stage, passes in results["work"].items()
        for key, value in (passes or {}).items()
    }
    ratios = {key: results.get(key) for key in ("speedup", "work_ratio")}
    return {**results["metrics"], **seconds, **work, **ratios}
