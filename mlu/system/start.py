"""The start of a command: Ctrl-C is heard before anything else is imported, which takes seconds."""

import sys


def hear_module_start() -> None:
    """`hear_start` where Python is about to run a module of this package."""
    module = sought_module()
    if module is not None and module.partition(".")[0] == "mlu":
        hear_start()


def sought_module() -> str | None:
    """The module of `python -m` while Python still looks for it, and imports what it is in."""
    if sys.argv[:1] != ["-m"]:  # some who embed Python have no arguments at all
        return None
    return sys.orig_argv[-len(sys.argv)].removeprefix("-m")


def hear_start() -> None:
    """Until something else hears them, have the signals that end a command end it with one line."""
    sys.excepthook = end_first_imports
    import signal

    from mlu.system.ending import end_at_once, heard_signals

    # From here on nothing is raised: what is raised in a library while it is imported it may take
    # for something else.
    for number in heard_signals():
        signal.signal(number, end_at_once)


def end_first_imports(kind: type[BaseException], fault: BaseException, trace: object) -> None:
    """Say what nothing has caught: Python's own Ctrl-C by the line of a command."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, fault, fault.__traceback__)
        return

    import signal

    from mlu.system.ending import end_at_once

    end_at_once(signal.SIGINT)
