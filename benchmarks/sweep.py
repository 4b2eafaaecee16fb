"""What a further job of a sweep takes where everything is in the cache, and how soon --help
answers.

As a shell sees it: jobs of one process, all alike, with the default data. Those of `original` train
and attack nothing; those of `wp` unlearn anew, and are held against what their unlearning alone
took.
"""

import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.measure import Comparison, launch, seconds, sweep, within

ROUNDS, JOBS = 5, 4
JOB_SECONDS, HELP_SECONDS = 3.0, 2.0
"""Allowed."""


def run() -> list[Comparison]:
    job, _ = further_job("original")
    unlearning, alone = further_job("wp")
    answer = statistics.median(seconds(lambda: launch("--help")) for _ in range(ROUNDS))
    return [
        within("a further job of a sweep, method=original", "s", job, JOB_SECONDS),
        Comparison(
            "a further job of a sweep, method=wp",
            "its unlearning alone",
            "s",
            unlearning,
            alone,
            unlearning / alone,
        ),
        within("launch.py --help", "s", answer, HELP_SECONDS),
    ]


def further_job(method: str) -> tuple[float, float]:
    """Seconds of each job but the first of a sweep, and of unlearning in it: medians over sweeps of
    one and of four."""
    with tempfile.TemporaryDirectory() as folder:
        sweep(method, 1, f"{folder}/warm")
        jobs, alone = [], []
        for turn in range(ROUNDS):
            one, all_of_them = (
                seconds(
                    lambda count=count, turn=turn: sweep(method, count, f"{folder}/{turn}_{count}")
                )
                for count in (1, JOBS)
            )
            jobs.append((all_of_them - one) / (JOBS - 1))
            results = json.loads(Path(folder, f"{turn}_{JOBS}", "1", "results.json").read_text())
            alone.append(results["seconds"]["unlearn"])
    return statistics.median(jobs), statistics.median(alone)
