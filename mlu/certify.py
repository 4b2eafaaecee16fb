"""python -m mlu.certify RUN: a certificate of what a run made a model forget, and its check."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlu.runs.layout import CERTIFICATE, CERTIFICATE_PAGE
from mlu.system.errors import FAILED, Arguments, UserError, first_line, printable, stop
from mlu.system.home import home_path
from mlu.system.interruption import interruptible
from mlu.system.owned import Owned
from mlu.system.process import tune_process
from mlu.system.terminal import tolerant_streams


@interruptible()
def main(words: Sequence[str] | None = None) -> None:
    """Entry point; exit code 1 for a certificate that does not hold, 2 for what cannot be read."""
    tolerant_streams()
    given = certify_arguments().parse_args(words)
    tune_process()

    try:
        sys.exit(
            verify(given.run, given.verify, given.ledger)
            if given.verify
            else issue(given.run, given.out or given.run, given.ledger)
        )
    except UserError as fault:
        stop(str(fault))


def certify_arguments() -> Arguments:
    parser = Arguments(
        "python -m mlu.certify", description="Certify what a run made a model forget."
    )
    parser.add_argument(
        "run", metavar="RUN", type=home_path, help="folder of a run, such as outputs/runs/<time>"
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=home_path,
        help=f"where {CERTIFICATE} and {CERTIFICATE_PAGE} go; default: RUN",
    )
    parser.add_argument(
        "--verify",
        metavar=CERTIFICATE.upper(),
        type=home_path,
        help="check a certificate against RUN instead",
    )
    parser.add_argument(
        "--ledger",
        metavar="FILE",
        type=home_path,
        help="ledger of requests (requests.jsonl); default: that in RUN's folder of outputs",
    )

    return parser


def issue(run: Path, out: Path, ledger: Path | None = None) -> int:
    """Write both files; returns the exit code."""
    from mlu.runs.certificate import certificate_of, certificate_page  # here: --help needs no torch

    refuse_lost(ledger)
    certificate, place = certificate_of(run, ledger), Owned(out)
    place.refuse_foreign((CERTIFICATE, CERTIFICATE_PAGE), "name another folder with --out")
    try:
        place.write(CERTIFICATE, json.dumps(certificate, indent=1, allow_nan=False))
        place.write(CERTIFICATE_PAGE, certificate_page(certificate))
    except OSError as fault:
        raise UserError(
            f"{out} cannot be written to: {first_line(fault)}; choose another with --out"
        ) from fault

    print(f"{out / CERTIFICATE} and {out / CERTIFICATE_PAGE}")

    return 0


def verify(run: Path, file: Path, ledger: Path | None) -> int:
    """Say whether a certificate holds of a run's files; returns the exit code."""
    from mlu.runs.certificate import differences

    refuse_lost(ledger)
    faults = list(differences(read(file), run, ledger))
    for fault in faults:
        print(printable(fault), file=sys.stderr)

    if not faults:
        print(f"{file} holds of {run}")

    return FAILED if faults else 0


def refuse_lost(ledger: Path | None) -> None:
    """Raises UserError where a ledger is named and not there."""
    if ledger is not None and not ledger.is_file():
        raise UserError(f"there is no ledger {ledger}: name a requests.jsonl with --ledger")


def read(file: Path) -> dict[str, Any]:
    """A certificate, from the file that holds it."""
    try:
        stated = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as fault:
        raise UserError(f"{file} is no certificate: {first_line(fault)}") from fault
    if not isinstance(stated, dict) or not isinstance(stated.get("files"), dict):
        raise UserError(f"{file} is no certificate: it states no files")
    return stated


if __name__ == "__main__":
    main()
