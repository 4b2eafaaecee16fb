"""Commands about a data set, which take the overrides of a run: the doctor and its like."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.check import check_dataset, check_values
from mlu.launch.cli import as_meant
from mlu.launch.compose import composed, described_group, explain, values_of
from mlu.launch.options import CONF
from mlu.system.commands import compose_by, folder_flags, run_command
from mlu.system.errors import Arguments, UserError, plain_fault, stop
from mlu.system.interruption import interruptible
from mlu.system.process import tune_process
from mlu.system.terminal import tolerant_streams

_WORDS = "dataset=NAME [dataset.root=FOLDER] [dataset.KEY=VALUE ...]"


@interruptible()
def dataset_command(module: str, purpose: str, work: Callable[[Mapping[str, Any]], int]) -> None:
    """Entry point of a command about a data set.

    Args:
        module: Name of the command, as in `python -m <module> dataset=celeba`.
        purpose: What it does.
        work: Does it with the configuration's values; returns the exit code.
    """
    tolerant_streams()
    tune_process()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = dataset_arguments(module, purpose)
    given = parser.parse_intermixed_args(as_meant(sys.argv[1:]))
    folders = () if given.config_dir is None else (given.config_dir.absolute(),)
    if not given.overrides and not given.help:
        stop(f"name a data set: {parser.prog} {_WORDS}")

    try:
        refuse_missing(folders)
        config = composed(given.overrides, folders)
        compose_by([*folder_flags(folders), *given.overrides])
        if given.help:
            print(parser.format_help(), described_group("dataset", config, folders), sep="\n")
            sys.exit()
        sys.exit(work_with(work, config, folders))
    except (HydraException, OmegaConfBaseException) as fault:
        stop(explain(fault, (*folders, CONF)))
    except Exception as fault:
        found = plain_fault(fault)
        if not isinstance(found, UserError):
            raise
        stop(str(found))


def dataset_arguments(module: str, purpose: str) -> Arguments:
    """The words of such a command."""
    parser = Arguments(
        f"python -m {module}",
        description=purpose,
        usage=f"python -m {module} [--config-dir FOLDER] {_WORDS}",
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


def work_with(
    work: Callable[[Mapping[str, Any]], int], config: DictConfig, folders: Sequence[Path]
) -> int:
    """Check a configuration and do the work with its values; returns the exit code."""
    everywhere = (*folders, CONF)
    values = values_of(config, everywhere)
    check_dataset(values, check_values(values, everywhere))
    return work(values)
