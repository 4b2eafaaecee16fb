"""Commands about a data set, which take the overrides of a run: the doctor and its like."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.check import check_dataset, check_values
from mlu.launch.cli import as_meant
from mlu.launch.compose import composed, described_part, explain, values_of
from mlu.launch.keys import RUN
from mlu.launch.options import CONF
from mlu.system.commands import compose_by, folder_flags, run_command
from mlu.system.errors import Arguments, UserError, plain_fault, stop
from mlu.system.interruption import interruptible
from mlu.system.process import tune_process
from mlu.system.terminal import tolerant_streams


@dataclass(frozen=True)
class Words:
    """The words that a command about a data set takes.

    Attributes:
        usage: Of them, in its help.
        base: The file of CONF whose keys stand in no group.
        shown: Groups and keys that its help describes.
        meant: What the words stand for as overrides, which they nearly are.
        check: Refuses values that only this command cannot work with.
    """

    usage: str = "dataset=NAME [dataset.root=FOLDER] [dataset.KEY=VALUE ...]"
    base: str = RUN
    shown: tuple[str, ...] = ("dataset",)
    meant: Callable[[Sequence[str]], list[str]] = list
    check: Callable[[Mapping[str, Any]], None] | None = None

    def composed(self, overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
        """The configuration of some words; UserError for what Hydra cannot compose.

        Args:
            overrides: The words.
            folders: Of a user's own files, before ours.
        """
        try:
            return composed(self.meant(overrides), folders, self.base)
        except (HydraException, OmegaConfBaseException) as fault:
            raise UserError(explain(fault, (*folders, CONF), self.base)) from fault

    def values(self, overrides: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
        """The checked values of some words; arguments are as for `composed`."""
        config, everywhere = self.composed(overrides, folders), (*folders, CONF)
        compose_by([*folder_flags(folders), *overrides])
        values = values_of(config, everywhere, self.base)
        check_dataset(values, check_values(values, everywhere, self.base))
        if self.check is not None:
            self.check(values)

        return values


OF_DATA = Words()


@interruptible()
def dataset_command(
    module: str,
    purpose: str,
    work: Callable[[Mapping[str, Any]], int],
    words: Words = OF_DATA,
) -> None:
    """Entry point of a command about a data set.

    Args:
        module: Name of the command, as in `python -m <module> dataset=celeba`.
        purpose: What it does.
        work: Does it with the configuration's values; returns the exit code.
        words: That it takes.
    """
    tolerant_streams()
    tune_process()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = dataset_arguments(module, purpose, words)
    given = parser.parse_intermixed_args(as_meant(sys.argv[1:]))
    folders = () if given.config_dir is None else (given.config_dir.absolute(),)
    if not given.overrides and not given.help:
        stop(f"name a data set: {parser.prog} {words.usage}")

    try:
        refuse_missing(folders)
        if given.help:
            config = words.composed(given.overrides, folders)
            print(parser.format_help())
            print(described_part(words.shown, config, folders, words.base))
            sys.exit()
        sys.exit(work(words.values(given.overrides, folders)))
    except Exception as fault:
        found = plain_fault(fault)
        if not isinstance(found, UserError):
            raise
        stop(str(found))


def dataset_arguments(module: str, purpose: str, words: Words = OF_DATA) -> Arguments:
    """The parser of such a command."""
    parser = Arguments(
        f"python -m {module}",
        description=purpose,
        usage=f"python -m {module} [--config-dir FOLDER] {words.usage}",
        epilog=f"{run_command('--help')} shows all keys of all groups, --cfg job what they are.",
        add_help=False,
        allow_abbrev=False,
    )

    parser.add_argument("overrides", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "--config-dir",
        "-cd",
        type=Path,
        metavar="FOLDER",
        help="folder of configurations of your own",
    )

    parser.add_argument(
        "--help", "-h", action="store_true", help="show this, and the keys of the data set"
    )

    return parser


def refuse_missing(folders: Sequence[Path]) -> None:
    """Refuse a folder of configurations that there is not."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"--config-dir={folder} is no folder: give the path of one")
