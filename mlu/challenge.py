"""A challenge for who enters it, `replicates_of`, and for who judges it, `mlu.audit`."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlu.launch.challenge_words import KEY, SUBMISSION, refuse_known_people, replicate_values
from mlu.runs.challenge import Challenge, Replicate, read_challenge, title_of_challenge
from mlu.runs.rating_files import RANKING_PAGE, Ratings
from mlu.runs.ratings import (
    Rating,
    in_order,
    ranking_table,
    rules_of_ranking,
)
from mlu.runs.submission import Submission, read_submission, submission_folders
from mlu.system.errors import USAGE_ERROR, UserError
from mlu.system.home import at_home
from mlu.system.owned import Owned

if TYPE_CHECKING:
    from mlu.auditing.inquiry import Inquiry
    from mlu.data.base import Dataset
    from mlu.data.split import Split
    from mlu.models.backbones import Backbone
    from mlu.models.network import Network

Inquiring = Callable[[Mapping[str, Any]], "Inquiry"]
"""Makes the audit of a configuration."""

_CODES = {"shown": 0, "exceeded": 1, "not shown": 3}
"""Exit code of a word, where nothing was lost: as of an audit."""
_LOST = 1

_PLACES = ("after", "retrain", "out", KEY, SUBMISSION)
"""Keys that say where files lie, and no more."""

_KNOWN_PEOPLE = (
    "Judged by people whose seeds everybody has: whoever trains on them, or against these readers, "
    "shows nothing, and this page cannot see it."
)
_OTHER_PEOPLE = "Judged by other people than those of the challenge, by a seed of the judge's own."


@dataclass(frozen=True)
class HandedOut:
    """One replicate of a challenge, for who enters it.

    Attributes:
        challenge: What it belongs to.
        replicate: Its number and its seeds.
        dataset: Draws its images.
        backbone: Of its models.
        labels: Name of each output.
        forgotten: Names of those to forget.
    """

    challenge: Challenge
    replicate: Replicate
    dataset: "Dataset"
    backbone: "Backbone"
    labels: tuple[str, ...]
    forgotten: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name that its unlearned weights must have."""
        return self.replicate.file

    @cached_property
    def splits(self) -> "Mapping[str, Split]":
        """`train`, `validation` and `test`: `split[rows]` has images, uint8, and their targets.

        Submissions learn from `train`; readers from `validation`, and `test` judges them.
        """
        from mlu.data.split import partition

        return partition(self.dataset.load(), self.replicate.seed)

    def original(self) -> "Network":
        """The model that knows all labels: uint8 images or floats in [0, 1] to logits."""
        return self._network(self.challenge.original(self.replicate))

    def retrain(self) -> "Network":
        """The model that never saw the label: the mark, and nothing to start from."""
        return self._network(self.challenge.retrain(self.replicate))

    def save(self, net: "Network", folder: str | Path) -> Path:
        """Write unlearned weights into the folder of a submission; returns the file.

        Raises:
            UserError: If somebody else's file has that name there.
        """
        from mlu.system.disk import write_tensors

        place = Owned(Path(at_home(str(folder))))
        place.refuse_foreign([self.file], "name another folder")
        write_tensors(place.fresh_drafts() / self.file, net.state_dict())
        place.settle(self.file)
        place.drop_drafts()

        return place.folder / self.file

    def _network(self, file: Path) -> "Network":
        from mlu.models.weights import load_trained

        net = replace(self.backbone, weights=None).build(len(self.labels))
        load_trained(net, file)

        return net.eval()


def replicates_of(folder: str | Path, root: str | Path | None = None) -> list[HandedOut]:
    """The replicates of a challenge, with their models and their data.

    Args:
        folder: Of the challenge.
        root: Where drawn images are kept; None for `outputs/cache/datasets`.

    Raises:
        UserError: If the folder has no challenge, or not all of it.
    """
    from mlu.launch.audit_words import AUDIT_WORDS
    from mlu.launch.build import made
    from mlu.launch.check import as_names
    from mlu.launch.home import words_at_home
    from mlu.system.commands import override

    words = [override("challenge", str(folder))]
    if root is not None:
        words.append(override("dataset.root", str(root)))
    values = AUDIT_WORDS.values(words_at_home(words), ())
    challenge = read_challenge(Path(values["challenge"]))

    found = []
    for replicate in challenge.facts.replicates:
        own = replicate_values(values, replicate, {})
        found.append(
            HandedOut(
                challenge,
                replicate,
                made(own, "dataset"),
                made(own, "backbone"),
                tuple(as_names(own["dataset"]["labels"])),
                tuple(as_names(own["forget_label"]["names"])),
            )
        )

    return found


def judge_submissions(values: Mapping[str, Any], inquiring: Inquiring) -> int:
    """Judge what was handed in to a challenge and rank it; returns the exit code.

    One submission has the code of its verdict. Of all that lie with the challenge what cannot be
    used is told, and the code is 2; else 0.

    Args:
        values: The checked configuration of an audit.
        inquiring: Makes the audit of one replicate.
    """
    challenge = read_challenge(Path(values["challenge"]))
    asked = values["submission"]
    folders = submission_folders(challenge) if asked is None else [Path(asked)]
    refuse_known_people(values, challenge)
    place = Ratings(challenge, Path(values["out"] or challenge.folder), values["people"])
    place.refuse_foreign_files()

    # All are looked at before the first is judged, which takes minutes.
    found: list[tuple[Submission, Rating | None]] = []
    refused, ratings = list[str](), list[Rating]()
    for folder in folders:
        with told_later(refused, asked is None):
            submission = read_submission(folder, challenge)
            found.append((submission, place.rating_of(submission)))
    for submission, known in found:
        with told_later(refused, asked is None):
            ratings.append(known or judged_now(values, place, submission, inquiring))

    show_ranking(place)
    for line in refused:
        print(line, file=sys.stderr)

    if refused:
        return USAGE_ERROR
    return code_of_rating(ratings[0]) if asked is not None else 0


@contextmanager
def told_later(refused: list[str], several: bool) -> Iterator[None]:
    """A block whose refusal is one of several, and ends only what is alone."""
    try:
        yield
    except UserError as fault:
        if not several:
            raise
        refused.append(str(fault))


def judged_now(
    values: Mapping[str, Any], place: Ratings, submission: Submission, inquiring: Inquiring
) -> Rating:
    """The rating of a submission, left in its place with all figures behind it."""
    from lightning.pytorch.utilities.seed import isolate_rng

    from mlu.auditing.leave import leave_run
    from mlu.auditing.submitted import rated

    challenge, inquiries = place.challenge, []
    for replicate in challenge.facts.replicates:
        models = {
            "after": str(submission.folder / replicate.file),
            "retrain": str(challenge.retrain(replicate)),
            "out": str(place.folder_of(submission.name) / f"replicate-{replicate.number}"),
        }
        inquiries.append(without_places(inquiring(replicate_values(values, replicate, models))))

    with isolate_rng():
        rating, runs = rated(submission, challenge, inquiries)
    rating = replace(rating, people=place.people)
    for run in runs:
        leave_run(run, run.folder)
    place.leave(rating)

    return rating


def without_places(inquiry: "Inquiry") -> "Inquiry":
    """An audit that notes nothing of where files lie: a report takes replicates for one setting."""
    kept = {key: value for key, value in inquiry.config.items() if key not in _PLACES}
    return replace(inquiry, config=kept)


def show_ranking(place: Ratings) -> None:
    """Write the ranking of all that was judged, and show it."""
    from mlu.report.ranking import ranking_page
    from mlu.runs.tables import show_line, show_table, text_of

    facts = place.challenge.facts
    ratings, notes = place.found()
    placed = in_order(ratings)
    bound = float(facts.settings["policy.max_excess"])  # type: ignore[arg-type]
    rules = rules_of_ranking(facts.limits, len(facts.replicates), bound)
    about = _KNOWN_PEOPLE if place.people is None else _OTHER_PEOPLE
    page = ranking_page(title_of_challenge(facts), about, rules, placed, notes)
    place.leave_ranking(page, placed)

    show_table(ranking_table(title_of_challenge(facts), placed))
    for one in placed:
        if not one.rating.ours:
            show_line(text_of(f"{one.rating.name}: {one.rating.said}"))
    for note in (about, *notes, f"the ranking is in {place.folder / RANKING_PAGE}"):
        show_line(text_of(note))


def code_of_rating(rating: Rating) -> int:
    """The exit code of a rating: 0 shown, 1 exceeded or not kept, 3 not shown or not ranked."""
    if rating.copied:
        return _CODES["not shown"]
    return _LOST if rating.lost else _CODES[rating.word]
