"""The command line: Hydra around the pipeline, and faults as one line."""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.build import build
from mlu.launch.check import check_config, check_dataset, check_values
from mlu.launch.compose import check_overrides, composed, explain, register_resolvers
from mlu.launch.options import CONF
from mlu.launch.sweep import SweepSummary, broken_off, clear, launcher_of, record_failure
from mlu.system.errors import USAGE_ERROR, Arguments, UserError, first_line, plain_fault
from mlu.system.process import tune_process

FAILURE = 1

# Those in conf/hydra/launcher build on their plugins' own of the same name. Hydra 1.3 does that,
# with a warning, which processes of a launcher would repeat: so it is kept quiet wherever `job` is
# imported.
warnings.filterwarnings(
    "ignore", r"(?s).*is validated against ConfigStore schema with the same name"
)


class Fault:
    """What ended a run of its own; Hydra would write lines of its own about a fault that reaches
    it."""

    found: Exception | None = None


class Gate(Callback):
    """Ends a run of its own that its configuration shows to be wrong, before Hydra makes a folder
    for it.

    Jobs of a sweep are checked one by one, each in its own folder.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        # As Hydra does a moment later: values may refer to it.
        HydraConfig.instance().set_config(config)
        try:
            check_config(config)
        except UserError as fault:
            stop(str(fault))


def job(config: DictConfig) -> Any:
    """One job; returns its objective. In a sweep a fault is recorded, so that the others go on."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweep = hydra_config.mode == RunMode.MULTIRUN
    # Here, since a launcher may start it in a process of its own. Joblib and Ray limit its threads,
    # submitit does not.
    tune_process(threads=hydra_config.launcher.get("cpus_per_task") if sweep else None)
    clear(folder)
    try:
        register_resolvers()
        check_config(config)
        experiment = build(
            config, folder, group=Path(hydra_config.sweep.dir).name if sweep else None
        )
        from mlu.pipeline.run import run
        from mlu.runs.results import objective_of

        return objective_of(run(experiment), config.objective)
    except Exception as fault:
        found = plain_fault(fault)
        if not isinstance(found, UserError):
            traceback.print_exc()
        Fault.found = found
        if sweep:
            record_failure(folder, hydra_config, found)
        # No objective: a sweeper that optimises takes it for a trial that failed, and goes on.
        return None


def main() -> None:
    """Entry point of `python launch.py`, `python -m mlu` and `mlu`."""
    # Else Hydra prints faults of composition in its own way and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_resolvers()
    # Hydra's parser would add its usage to what it refuses.
    given = Arguments("python launch.py", parents=[get_args_parser()], add_help=False).parse_args()
    try:
        check_overrides(given.overrides)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except UserError as fault:
        stop(str(fault))
    except (HydraException, OmegaConfBaseException) as fault:
        stop(explain(fault))
    except Exception as fault:
        sweep, found = SweepSummary.under_way, plain_fault(fault)
        if sweep is None and isinstance(found, UserError):
            stop(str(found))
        if sweep is None or (launcher_of(sweep) == "basic" and not isinstance(found, UserError)):
            # Of two flags that exclude each other. Faults of a job stay in it.
            if isinstance(fault, ValueError):
                stop(first_line(fault))
            raise
        # The launcher's own: jobs answer for theirs.
        if "Unknown plugin class" in str(fault):
            stop(f"hydra/launcher={launcher_of(sweep)} needs pip install 'mlu[cluster]'")

        stop(broken_off(sweep, found), FAILURE)

    if SweepSummary.failed:
        sys.exit(FAILURE)
    if isinstance(Fault.found, UserError):
        stop(str(Fault.found))
    if Fault.found is not None:
        sys.exit(FAILURE)


def dataset_command(module: str, purpose: str, work: Callable[[DictConfig], int]) -> None:
    """Entry point of a command about a data set; it takes the same overrides as a run.

    Args:
        module: Name of the command, as in `python -m <module> dataset=celeba`.
        purpose: What it does.
        work: Does it with the composed configuration; returns the exit code.
    """
    tune_process()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    overrides = sys.argv[1:]
    if {"-h", "--help"} & set(overrides):
        print(
            f"{purpose}\n\n  python -m {module} dataset=NAME [dataset.root=FOLDER] [dataset.KEY=VALUE ...]"
        )
        sys.exit()
    if not overrides:
        stop(
            f"name a data set: python -m {module} dataset=NAME [dataset.root=FOLDER] [dataset.KEY=VALUE ...]"
        )

    try:
        config = composed(overrides)
        check_values(config)
        check_dataset(config)
        sys.exit(work(config))
    except (HydraException, OmegaConfBaseException) as fault:
        stop(explain(fault))
    except Exception as fault:
        found = plain_fault(fault)
        if not isinstance(found, UserError):
            raise
        stop(str(found))


def stop(line: str, code: int = USAGE_ERROR) -> None:
    """End with one line."""
    print(line, file=sys.stderr)
    sys.exit(code)
