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
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlu.config import CONF, build, check, check_values, composed, explain, register_resolvers
from mlu.errors import UserError
from mlu.process import tune_process
from mlu.sweep import SweepSummary, broken_off, clear, launcher_of, record_failure

USAGE_ERROR, FAILURE = 2, 1

# Those in conf/hydra/launcher build on their plugins' own of the same name. Hydra 1.3 does that, with a warning, which
# processes of a launcher would repeat: so it is kept quiet wherever `job` is imported.
warnings.filterwarnings("ignore", r"(?s).*is validated against ConfigStore schema with the same name")


class Fault:
    """What ended a run of its own; Hydra would write lines of its own about a fault that reaches it."""

    found: Exception | None = None


def job(config: DictConfig) -> Any:
    """One job; returns its objective. In a sweep a fault is recorded, so that the others go on."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweep = hydra_config.mode == RunMode.MULTIRUN
    # Here, since a launcher may start it in a process of its own. Joblib and Ray limit its threads, submitit does not.
    tune_process(threads=hydra_config.launcher.get("cpus_per_task") if sweep else None)
    clear(folder)
    try:
        register_resolvers()
        check(config)
        experiment = build(config, folder, group=Path(hydra_config.sweep.dir).name if sweep else None)
        from mlu.pipeline import run
        from mlu.results import objective_of

        return objective_of(run(experiment), config.objective)
    except Exception as fault:
        if sweep:
            record_failure(folder, list(hydra_config.overrides.task), fault)
        Fault.found = fault
        if not isinstance(fault, UserError):
            traceback.print_exc()
        # No objective: a sweeper that optimises takes it for a trial that failed, and goes on.
        return None


def main() -> None:
    """Entry point of `python launch.py`, `python -m mlu` and `mlu`."""
    # Else Hydra prints faults of composition in its own way and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_resolvers()
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except UserError as fault:
        stop(str(fault))
    except (HydraException, OmegaConfBaseException) as fault:
        stop(explain(fault))
    except Exception as fault:
        sweep = SweepSummary.under_way
        if sweep is None or launcher_of(sweep) == "basic":
            raise
        # The launcher's own: jobs answer for theirs.
        if "Unknown plugin class" in str(fault):
            stop(f"hydra/launcher={launcher_of(sweep)} needs pip install 'mlu[cluster]'")
        stop(broken_off(sweep, fault), FAILURE)
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
    if not overrides or {"-h", "--help"} & set(overrides):
        print(f"{purpose}\n\n  python -m {module} dataset=NAME [dataset.root=FOLDER] [dataset.KEY=VALUE ...]")
        sys.exit(0 if overrides else USAGE_ERROR)
    try:
        config = composed(overrides)
        check_values(config)
        sys.exit(work(config))
    except UserError as fault:
        stop(str(fault))
    except (HydraException, OmegaConfBaseException) as fault:
        stop(explain(fault))


def stop(line: str, code: int = USAGE_ERROR) -> None:
    """End with one line."""
    print(line, file=sys.stderr)
    sys.exit(code)
