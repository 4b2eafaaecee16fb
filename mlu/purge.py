"""python -m mlu.purge RUN: what still knows a forgotten label, and with --remove its end."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlu.system.errors import FAILED, Arguments, UserError, plain_fault, printable, stop
from mlu.system.home import home_path
from mlu.system.interruption import interruptible
from mlu.system.terminal import tolerant_streams

if TYPE_CHECKING:
    from mlu.runs.purging import Forgetting, PurgeOutcome, PurgePlan


@interruptible()
def main(words: Sequence[str] | None = None) -> None:
    """Entry point; exit code 1 for what is held or does not fit, 2 for what cannot be used."""
    tolerant_streams()
    parser = purge_arguments()
    given = parser.parse_args(words)
    if (given.run is None) == (given.check is None):
        parser.error("give either RUN, or --check and a ledger")

    try:
        if given.check is not None:
            sys.exit(check(given.check))
        sys.exit(clear(given.run, given.outputs, given.remove, given.also_needed, given.who))
    except (UserError, OSError) as fault:
        plain = plain_fault(fault)
        if not isinstance(plain, UserError):
            raise
        stop(str(plain))


def purge_arguments() -> Arguments:
    parser = Arguments(
        "python -m mlu.purge",
        description="Show what in the cache still knows what a run forgot, and remove it.",
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        type=home_path,
        help="folder of a run, such as outputs/runs/<time>",
    )
    parser.add_argument("--remove", action="store_true", help="remove it; else it is only shown")
    parser.add_argument(
        "--also-needed",
        action="store_true",
        help="also what another run needs, which then trains anew when it is run again",
    )
    parser.add_argument(
        "--who", metavar="TEXT", help="who asked for it, in your words; stands in the ledger"
    )
    parser.add_argument(
        "--outputs",
        metavar="FOLDER",
        type=home_path,
        help="folder that holds the cache and the ledger; default: that of RUN",
    )
    parser.add_argument(
        "--check",
        metavar="LEDGER",
        type=home_path,
        help="say whether every line of a ledger (requests.jsonl) fits the line before",
    )

    return parser


def clear(run: Path, outputs: Path | None, remove: bool, also_needed: bool, who: str | None) -> int:
    """Show what a purge would do, or do it; returns the exit code."""
    from mlu.runs.purging import forgetting_of, plan_of, purge

    asked = forgetting_of(run, outputs)
    if not remove:
        say([*first_lines(asked), *listed(asked, plan_of(asked, also_needed), done=False)])
        print("nothing was removed: that takes --remove")
        return 0

    outcome = purge(asked, also_needed, who)
    say([*first_lines(asked), *listed(asked, outcome.plan, done=True), *ending(asked, outcome)])

    return FAILED if outcome.held else 0


def first_lines(asked: "Forgetting") -> Iterator[str]:
    about = asked.run.results.run
    yield f"{asked.run.folder} forgot {', '.join(asked.forgotten)} of {about.dataset}"
    yield f"cache: {asked.cache}"


def listed(asked: "Forgetting", plan: "PurgePlan", done: bool) -> Iterator[str]:
    """The three lists, line by line."""
    from mlu.runs.purging import UNTOLD

    # What has been removed has no size any more, and no files to name.
    yield "removed:" if done else "to be removed:"
    for entry in plan.removed:
        yield f"  {entry.name}" if done else f"  {entry.name}  {entry.size() / 1e6:,.1f} MB"
    if not plan.removed:
        yield "  nothing"

    if plan.kept:
        yield "kept (--also-needed removes it as well):"
    for keep in plan.kept:
        needed = ", ".join(keep.needed_by)
        verb = "needs" if len(keep.needed_by) == 1 else "need"
        why = f"because {needed} {verb} it" if needed else f"because {UNTOLD}"
        files = ", ".join(file.name for file in keep.entry.files())
        yield f"  {keep.entry.name} ({files}), {why}"

    yield "not touched:"
    for one in plan.untouched:
        yield f"  {one.name}: {one.tells}"


def ending(asked: "Forgetting", outcome: "PurgeOutcome") -> Iterator[str]:
    """The last lines: what came in the way, and where all is written down."""
    for name in outcome.held:
        yield f"still there, since a running process holds it: {name}; purge again at its end"
    for name in outcome.left:
        yield f"its files are gone, but others than mlu's are there: {asked.cache / name}"
    if outcome.line is not None:
        yield f"line {outcome.line['line']} of {asked.ledger.file}, hash {outcome.line['hash']}"


def say(lines: Sequence[str]) -> None:
    for line in lines:
        print(printable(line))


def check(file: Path) -> int:
    """Say whether a ledger fits; returns the exit code."""
    from mlu.runs.ledger import Ledger

    if not file.is_file():
        raise UserError(f"there is no ledger {file}: give a requests.jsonl, as a purge writes it")

    lines, misfit = Ledger(file).examine()
    if misfit is not None:
        line = f"line {misfit.number} of {file} does not fit: {misfit.reason}"
        print(printable(line), file=sys.stderr)
        return FAILED

    last = f", the last one with hash {lines[-1]['hash']}" if lines else ""
    print(printable(f"{file}: {len(lines)} lines fit{last}"))

    return 0


if __name__ == "__main__":
    main()
