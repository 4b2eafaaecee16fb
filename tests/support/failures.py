"""A plugin of pytest: what failed tests said is left in a file, whose name is the last line.

A green run leaves none, nor what an earlier run has left there.
"""

from pathlib import Path

import pytest

FILE = Path(".pytest") / "failures.txt"


def pytest_unconfigure(config: pytest.Config) -> None:
    # The workers of xdist have no reporter: theirs is that of the process that started them.
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return

    file = config.rootpath / FILE
    failed = [*reporter.stats.get("error", ()), *reporter.stats.get("failed", ())]
    if failed:
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n\n".join(map(told, failed)) + "\n")
        reporter.write_line(f"what {len(failed)} failed tests said: {file}")
    else:
        file.unlink(missing_ok=True)
        if file.parent.is_dir() and not list(file.parent.iterdir()):
            file.parent.rmdir()


def told(report: pytest.TestReport) -> str:
    """Name of a test, why it failed, and all that it printed."""
    parts = [f"{report.nodeid} ({getattr(report, 'when', 'collect')})", report.longreprtext]
    for title, text in report.sections:
        parts.append(f"--- {title}\n{text}")
    return "\n".join(parts)
