"""The folder of configurations that ships with the package."""

from pathlib import Path

CONF = next(
    folder
    for folder in (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")
    if (folder / "config.yaml").is_file()
)
"""In the wheel below the package, in a checkout beside it."""
