"""python -m mlu.audit after=FILE dataset=csv ...: does a model show what it should not?"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlu.challenge import judge_submissions
from mlu.launch.audit_words import AUDIT_WORDS, MODELS, check_models
from mlu.launch.dataset_command import dataset_command
from mlu.system.errors import UserError

if TYPE_CHECKING:
    from mlu.auditing.inquiry import Inquiry, Source
    from mlu.auditing.run import Audited

_PURPOSE = (
    "Audit a trained model for a label that it was to forget, or for any other column of the "
    "table; or judge and rank what was handed in to a challenge. Exit code 0: the policy is kept; "
    "1: broken; 3: neither is shown; 2: something cannot be read."
)


def main() -> None:
    """Entry point."""
    dataset_command("mlu.audit", _PURPOSE, audit_of_words, AUDIT_WORDS)


def audit_of_words(values: Mapping[str, Any]) -> int:
    """Audit the models that a configuration names; returns the exit code."""
    if values["challenge"] is not None:
        return judge_submissions(values, inquiry_of)

    check_models(values)
    from mlu.auditing.run import audited  # here: a refusal needs no torch

    return audited(inquiry_of(values)).code


def audit(
    *words: str,
    after: "Source | None" = None,
    before: "Source | None" = None,
    retrain: "Source | None" = None,
    baseline: "Source | None" = None,
    head: str | None = None,
    config_dir: str | Path | None = None,
) -> "Audited":
    """Audit models that Python has.

    A model is a torch module that ends in a linear layer with an output for each label, or a
    function from images to (features, outputs). Both are given float images in [0, 1], shape
    (images, 3, height, width), normalised where the words name `mean` and `std`. What is a file can
    be named by the words, as for the command.

    Args:
        *words: As the command takes them, such as `dataset=csv`, `forget_label.names=[Male]`.
        after: The model to audit.
        before: The model before it was to forget.
        retrain: One that never saw the label.
        baseline: One before any training, where there is no Retrain; else modules start anew.
        head: Name of the modules' last linear layer, where that is not found by itself.
        config_dir: Folder of configurations of your own.

    Returns:
        The word on the policy (`word`, `code`), its clauses, all figures (`run`) and the folder.

    Raises:
        UserError: If anything does not allow it; one line that says what to do.
    """
    from lightning.pytorch.utilities.seed import isolate_rng

    from mlu.auditing.run import audited
    from mlu.launch.home import words_at_home

    folders = () if config_dir is None else (Path(config_dir).absolute(),)
    models = {"after": after, "before": before, "retrain": retrain, "baseline": baseline}
    given = {key: model for key, model in models.items() if model is not None}

    values = AUDIT_WORDS.values(words_at_home(words), folders)
    if values["challenge"] is not None:
        raise UserError(
            f"challenge={values['challenge']}: judge submissions by python -m mlu.audit"
        )
    check_models(values, given)
    with isolate_rng():
        return audited(inquiry_of(values, given, head))


def inquiry_of(
    values: Mapping[str, Any], given: Mapping[str, "Source"] | None = None, head: str | None = None
) -> "Inquiry":
    """The audit of a checked configuration.

    Args:
        values: The whole configuration.
        given: Models that are no files, by key.
        head: Name of their last linear layer.
    """
    from mlu.auditing.inquiry import Inquiry
    from mlu.auditing.policy import Policy
    from mlu.launch.build import made, settled
    from mlu.launch.check import as_list, as_names, forgotten_names
    from mlu.runs.seeds import Seeds

    values = settled(values)
    models: dict[str, Source] = {
        key: Path(values[key]) for key in MODELS if values[key] is not None
    }
    models |= given or {}

    concepts, numbers = (
        tuple(as_names(as_list(values[key] or []))) for key in ("concept", "numbers")
    )
    time = f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    folder = values["out"] or Path(values["outputs"]) / "audits" / time
    mean, std = (None if values[key] is None else tuple(values[key]) for key in ("mean", "std"))
    reference = "retrain" if "retrain" in models else "none"

    return Inquiry(
        dataset=made(values, "dataset"),
        backbone=made(values, "backbone"),
        attacks=tuple(made(values, "attack").values()),
        forget=() if concepts or numbers else forgotten_names(values),
        concepts=concepts,
        numbers=numbers,
        models=models,
        head=head,
        features=None if values["features"] is None else Path(values["features"]),
        unseen=values["unseen"],
        mean=mean,
        std=std,
        policy=Policy(**values["policy"]),
        seeds=Seeds.of(values),
        accelerator=values["trainer"]["accelerator"],
        folder=Path(folder),
        config={**values, "reference": reference},
    )


if __name__ == "__main__":
    main()
