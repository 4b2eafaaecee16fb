"""python -m mlu.doctor dataset=celeba: is this data set fit to train on and to measure with?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlu.launch.build import made
from mlu.launch.dataset_command import dataset_command
from mlu.runs.seeds import Seeds


def main() -> None:
    dataset_command(
        "mlu.doctor", "Look at every image and label of a data set and say what is wrong.", examined
    )


def examined(values: Mapping[str, Any]) -> int:
    """Examine the configured data set; returns the exit code."""
    from mlu.pipeline.checkup import check_up  # here: a refusal needs no torch

    data = made(values, "dataset").load()
    folder = Path(values["outputs"]) / "doctor" / data.name

    return check_up(data, Seeds.of(values).split, folder, values["policy"]["max_excess"])


if __name__ == "__main__":
    main()
