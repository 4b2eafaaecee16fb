"""python -m mlu.export RUN: a folder to publish, with the unlearned model and its card."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlu.runs.layout import CONFIG, LABELS, ONNX, RESULTS, WEIGHTS
from mlu.system.errors import Arguments, UserError, plain_fault, stop
from mlu.system.home import home_path
from mlu.system.interruption import interruptible
from mlu.system.owned import Owned
from mlu.system.process import tune_process
from mlu.system.store import checksum
from mlu.system.terminal import tolerant_streams

FOLDER = "export"
"""Folder in RUN, where no other is named."""

_ELSEWHERE = "name another folder with --out"


@interruptible()
def main(words: Sequence[str] | None = None) -> None:
    """Entry point; exit code 2 and one line for what cannot be used or written."""
    tolerant_streams()
    given = export_arguments().parse_args(words)
    tune_process()

    try:
        sys.exit(publish(given.run, given.out or given.run / FOLDER, given.onnx))
    except (UserError, OSError) as fault:
        plain = plain_fault(fault)
        if not isinstance(plain, UserError):
            raise
        stop(str(plain))


def export_arguments() -> Arguments:
    parser = Arguments(
        "python -m mlu.export", description="A folder to publish: the unlearned model and its card."
    )
    parser.add_argument(
        "run", metavar="RUN", type=home_path, help="folder of a run, such as outputs/runs/<time>"
    )
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="as ONNX, for use without torch; else as safetensors",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=home_path, help=f"where it goes; default: RUN/{FOLDER}"
    )

    return parser


def publish(run: Path, out: Path, onnx: bool) -> int:
    """Write the folder, all of it or nothing; returns the exit code."""
    if (out / RESULTS).exists():
        raise UserError(f"{out} is the folder of a run, whose files are its own: {_ELSEWHERE}")

    # Here: --help needs no torch.
    from mlu.models.onnx_files import CLOSE, refuse_without, write_onnx
    from mlu.runs.card import CARD, card_of
    from mlu.runs.certificate import certificate_of
    from mlu.runs.files import config_of
    from mlu.runs.model import load

    if onnx:
        refuse_without()
    certificate, model, place = certificate_of(run), load(run), Owned(out)
    weights = ONNX if onnx else WEIGHTS
    names = (weights, LABELS, CONFIG, CARD)
    place.refuse_foreign(names, _ELSEWHERE)
    facts = {
        "labels": list(model.labels),
        "forgotten": list(model.forgotten),
        "task": certificate["task"],
        "image_size": model.image_size,
    }

    drafts = place.fresh_drafts()
    try:
        if onnx:
            difference = write_onnx(model.net, drafts / ONNX, model.image_size, facts)
        else:
            shutil.copyfile(run / WEIGHTS, drafts / WEIGHTS)

        means = {key: facts[key] for key in ("labels", "task")}
        (drafts / LABELS).write_text(json.dumps(means, indent=1))
        (drafts / CONFIG).write_text(yaml.safe_dump(bare_config(config_of(run)), sort_keys=False))
        sums = {weights: checksum(drafts / weights)} | sums_beside(place, weights)
        card = card_of(certificate, model.image_size, dict(sorted(sums.items())))
        (drafts / CARD).write_text(card, encoding="utf-8")
        place.settle(*names)
    finally:
        place.drop_drafts()

    print(f"{out}: {', '.join(names)}")
    if onnx:
        print(f"{ONNX} says what the network says, but for {difference:.1g} ({CLOSE:g} is allowed)")

    return 0


def sums_beside(place: Owned, weights: str) -> dict[str, str]:
    """SHA-256 of the other file of weights, where an earlier command has written it."""
    (other,) = {WEIGHTS, ONNX} - {weights}
    is_ours = (place.folder / other).is_file() and not place.foreign([other])
    return {other: checksum(place.folder / other)} if is_ours else {}


def bare_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that the model is made from: no paths, nothing of the machine."""
    dataset = {key: config["dataset"][key] for key in ("name", "image_size")}
    return {
        "backbone": {**config["backbone"], "weights": None},
        "dataset": dataset,
        "forget_label": {"names": config["forget_label"]["names"]},
        "requests": config.get("requests"),
    }


if __name__ == "__main__":
    main()
