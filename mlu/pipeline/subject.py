"""The name and place of a run on a dashboard, within the limits of W&B.

What its variables of the environment say (WANDB_NAME, WANDB_TAGS, ...) comes before what a run
would be called by itself.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlu.system.home import at_home

LONGEST_NAME, LONGEST_TAG = 128, 64
"""Characters that W&B takes of a name and of a tag."""


@dataclass(frozen=True)
class Subject:
    """Name and place of a run on a dashboard.

    Attributes:
        title: Its name.
        group: The sweep, or the experiment, that it belongs to; None for a run of its own.
        method: What kind of job it is.
        tags: What to filter by.
        in_sweep: Whether it is one of several jobs, which share the environment.
    """

    title: str
    group: str | None
    method: str
    tags: tuple[str, ...]
    in_sweep: bool = False


def called(subject: Subject, folder: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `wandb.init` that say what a run is.

    A name and an id in the environment are meant for one run. Of a sweep each job's own title
    stands behind that name, and a digest of its folder behind that id: else W&B would take all jobs
    for one run.

    Args:
        subject: What the run would be called by itself.
        folder: Where the run writes.
        environ: The variables of the environment; an empty one says nothing.
    """
    name = environ.get("WANDB_NAME") or environ.get("WANDB_RUN_NAME")
    own_id, resume = environ.get("WANDB_RUN_ID"), environ.get("WANDB_RESUME")
    title = name or subject.title
    several: dict[str, Any] = {}

    if subject.in_sweep and name:
        title = f"{name}: {subject.title}"
    if subject.in_sweep and own_id:
        several["id"] = f"{own_id}-{short_digest(str(folder))}"
    if subject.in_sweep and resume:
        # That there is such a run, or that it is the last one, cannot be said of all jobs.
        several["resume"] = "allow"

    group, files = environ.get("WANDB_RUN_GROUP") or subject.group, environ.get("WANDB_DIR")

    return {
        "name": at_most(title, LONGEST_NAME),
        "group": group and at_most(group, LONGEST_NAME),
        "job_type": environ.get("WANDB_JOB_TYPE") or subject.method,
        "tags": tags_within([*subject.tags, *named_tags(environ)]),
        "dir": Path(at_home(files, "WANDB_DIR=")) if files else folder,
        **several,
    }


def named_tags(environ: Mapping[str, str]) -> list[str]:
    """The tags that the environment names, one after another with commas between."""
    return tags_within(word.strip() for word in environ.get("WANDB_TAGS", "").split(","))


def tags_within(words: Iterable[str]) -> list[str]:
    """Words as tags, each once."""
    return list(dict.fromkeys(at_most(word, LONGEST_TAG) for word in words if word))


def at_most(text: str, most: int) -> str:
    """A text of so many characters at most; different texts stay different.

    Of a longer one an ellipsis with a digest stands for the middle.

    >>> at_most("wf: " + "a+" * 60 + ", faces, seed 42", 40)
    'wf: a+a+a+a+a+a+a+a+…719a7e04…s, seed 42'
    """
    # Half of a pair of surrogates, as in a name that is not UTF-8, cannot be sent.
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= most:
        return text

    mark = f"…{short_digest(text)}…"
    kept = most - len(mark)
    end = kept // 3

    return text[: kept - end] + mark + text[-end:]


def short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
